"""The examples in docstrings run, and importing the package brings in nothing that it does not declare."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest
import seg_hooks
from helpers.modules import modules_of

MODULES = modules_of(seg_hooks)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, extraglobs={"torch": importlib.import_module("torch")})
    assert outcome.failed == 0


def test_importing_brings_in_torch_and_no_more() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import seg_hooks; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    new = set(eval(done.stdout)) - set(sys.stdlib_module_names)
    assert new == {"seg_hooks"}
