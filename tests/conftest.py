"""What all tests share: running the code of a README. Needs nothing but pytest, so it works in every environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture
def python_blocks() -> Callable[[str], list[str]]:
    """The fenced python blocks of a Markdown file, by its path from the root, in order."""

    def blocks(path: str) -> list[str]:
        text = (ROOT / path).read_text(encoding="utf-8")
        return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)

    return blocks
