"""The README's code runs, its first block being the quick start."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import seg_registry
from helpers.modules import modules_of


def test_the_readme_runs(
    python_blocks: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    printed = []
    for number, block in enumerate(python_blocks("packages/seg-registry/README.md")):
        exec(compile(block, f"README block {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith("configs/base.py:1 -> override optim_wrapper.optimizer.lr=0.02")
    assert "optimizer.lr: 0.1 -> 0.2" in printed[1]
    assert "can never use 'os'" in printed[3]


MODULES = modules_of(seg_registry)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_every_public_name_is_there_and_documented() -> None:
    assert len([name for name in seg_registry.__all__ if not name.isupper()]) <= 30  # registries are not counted
    for name in seg_registry.__all__:
        assert getattr(seg_registry, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        seg_registry.nothing
