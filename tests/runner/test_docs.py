"""The examples in docstrings run, and importing the package brings in nothing that it does not declare."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest
import seg_runner
import torch
from helpers.modules import modules_of

MODULES = modules_of(seg_runner)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch})
    assert outcome.failed == 0


def test_importing_brings_in_what_is_declared_and_no_more() -> None:
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import seg_runner; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    new = set(eval(done.stdout)) - set(sys.stdlib_module_names)
    torch_2_4 = {"sympy", "mpmath"}  # older torch imports what it requires later
    assert {name for name in new if not name.startswith("_")} <= {"seg_runner", "xxhash", "torch", "numpy", *torch_2_4}
