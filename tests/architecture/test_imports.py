"""What importing a package costs, and that no package reaches a sibling by a back door."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest
from helpers.tree import PACKAGES, ROOT, source_files
from projects import ISLANDS, Project

HEAVY = {
    "torch",
    "numpy",
    "cv2",
    "yaml",
    "tensorboard",
    "wandb",
    "mlflow",
    "matplotlib",
    "rich",
    "safetensors",
    "pandas",
}
MAY_IMPORT = {
    "seg_registry": set(),
    "seg_hooks": {"torch", "numpy"},
    "seg_optim": {"torch", "numpy"},
    "seg_runner": {"torch", "numpy"},
    "seg_vis": {"numpy"},
}


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after one statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_importing_a_package_pulls_in_nothing_heavy(package: str) -> None:
    torch_itself = modules_after("import torch") if "torch" in MAY_IMPORT[package] else set()
    loaded = {name.partition(".")[0] for name in modules_after(f"import {package}") - torch_itself}
    assert loaded & HEAVY <= MAY_IMPORT[package]
    assert not {name for name in loaded if name.startswith("seg_")} - {package}


def test_the_registry_imports_the_standard_library_only() -> None:
    bare = {name.partition(".")[0] for name in modules_after("pass")}
    loaded = {name.partition(".")[0] for name in modules_after("import seg_registry")} - bare
    assert loaded <= set(sys.stdlib_module_names) | {"seg_registry"}


def test_the_engine_import_stays_light() -> None:
    """Showing the version or the help of the command must not wait for torch."""
    loaded = {name.partition(".")[0] for name in modules_after("import seg_engine")}
    assert not loaded & HEAVY


@pytest.mark.parametrize("island", ISLANDS)
def test_no_sibling_is_imported_by_name(island: str) -> None:
    """import-linter does not see `importlib.import_module("seg_runner")`; this does."""
    own = Project(island).module
    siblings = tuple(name for name in PACKAGES if name != own)
    found = []
    for path in source_files(own):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                found += [f"{path.name}:{node.lineno} {w}" for w in words if w.startswith(siblings)]
    assert not found


@pytest.mark.parametrize("package", PACKAGES)
def test_only_one_module_of_a_package_knows_kinds_of_accelerators(package: str) -> None:
    """What asks for CUDA by name does not run on the other accelerators that torch reports."""
    known = re.compile(r"torch\.(cuda|mps|xpu)\b|\.is_cuda\b|device\.type [!=]= \"(?!cpu|meta)")
    found = [path for path in source_files(package) if known.search(path.read_text(encoding="utf-8"))]
    assert {path.name for path in found} <= {"device.py"}
