"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest
import seg_vis
from helpers.modules import modules_of

MODULES = modules_of(seg_vis)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_name_has_an_example_or_needs_none() -> None:
    bare = [n for n in seg_vis.__all__ if n != "__version__" and ">>>" not in (getattr(seg_vis, n).__doc__ or "")]
    assert bare == []
