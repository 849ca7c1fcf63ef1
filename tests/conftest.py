"""What all tests share: running the code of a README. Needs only pytest and hypothesis, which every environment has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from helpers.order import slowest_first

# A pull request is judged on the same examples each time; everywhere else new ones are drawn. No time limit decides.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

# One thread for the tiny nets of the tests: on a busy machine two mostly wait for each other. Read before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A wandb that fails in a test reports it to nobody.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

# Commands are printed as a user without the wrapper `./run` types them.
os.environ.pop("SEG_COMMAND_PREFIX", None)

ROOT = Path(__file__).resolve().parent.parent
SECONDS = ROOT / "tests/seconds.json"
"""What `./run test --measure` writes."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, begin with the files that take longest."""
    if hasattr(config, "workerinput") and SECONDS.is_file():
        items[:] = slowest_first(items, json.loads(SECONDS.read_text(encoding="utf-8"))["files"])


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


def _check(works: bool, word: str, name: str, make: Callable[[], object]) -> None:
    words = None
    try:
        make()
    except (TypeError, ValueError) as error:
        words = "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert works == (words is None), f"{name}={word}: {words or 'taken'}"
    assert words is None or name in words


@pytest.fixture
def check() -> Callable[[bool, str, str, Callable[[], object]], None]:
    """Whether a value works, or is refused by an error of the right kind that has the name in it."""
    return _check
