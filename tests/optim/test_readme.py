"""The README's code runs, in the order in which it stands there."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import seg_optim
from helpers.modules import modules_of
from torch import nn


def test_the_readme_runs(python_blocks: Callable[[str], list[str]], vit: nn.Module) -> None:
    """The first block by itself, as it is pasted; the others with a vision transformer."""
    names: dict[str, Any] = {}
    for number, block in enumerate(python_blocks("packages/seg-optim/README.md")):
        exec(compile(block, "README.md", "exec"), names)
        if number == 0:
            names["net"] = vit
    assert names["schedule"].last_step == 4


@pytest.mark.parametrize("module", modules_of(seg_optim))
def test_examples_in_docstrings_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
