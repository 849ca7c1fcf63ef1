"""Importing the package is light: the standard library only, and nothing that is not needed yet."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
before = set(sys.modules)
import seg_registry
from seg_registry import Config, Registry
print(*sorted(set(sys.modules) - before))
"""


def test_import_brings_the_standard_library_only() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in run.stdout.split()}
    assert tops - set(sys.stdlib_module_names) <= {"seg_registry"}
    late = {"argparse", "importlib.metadata", "inspect", "json", "difflib", "logging", "yaml"}
    late.add("seg_registry.registry.builder")
    assert not late & set(run.stdout.split())


def test_loading_a_config_imports_nothing_foreign(tmp_path: object) -> None:
    code = CODE.replace("print", "Config.fromstring('from torch.nn import ReLU\\nx = dict(type=ReLU)')\nprint")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names) <= {"seg_registry"}
