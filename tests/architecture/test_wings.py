"""The wings: few files a folder, few floors a package, no circle, no exception to a rule."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers.tree import PACKAGES, ROOT, source_files

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS = {contract["containers"][0]: contract for contract in CONTRACTS if contract["type"] == "layers"}
FLOORS = {"seg_runner": 10}
"""The most floors that a package may have; 6 where it is not named."""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_holds_at_most_20_files(package: str) -> None:
    counts = Counter(path.parent for path in source_files(package))
    many = {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 20}
    assert not many


@pytest.mark.parametrize("package", PACKAGES)
def test_the_layers_read_like_a_table_of_contents(package: str) -> None:
    """Each module and each wing stands in the contract, which has few lines and no exception."""
    contract = LAYERS[package]
    folders = Counter(path.parent for path in source_files(package))
    floors, most = len(contract["layers"]), max(folders.values())
    print(f"{package}: {floors} floors, {len(folders)} folders of at most {most} files")
    assert floors <= FLOORS.get(package, 6)
    assert contract["exhaustive"]
    assert not contract.get("ignore_imports")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_a_detour(package: str) -> None:
    """Imports inside functions and those for the type checker count too: whoever reads one must read the other."""
    modules = {_dotted(package, path): path for path in source_files(package)}
    graph = {name: _imports(path, modules) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _dotted(package: str, path: Path) -> str:
    parts = path.relative_to(PACKAGES[package].parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules that a file names in its imports; `from a import b` is `a.b` where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
    return found & set(modules)
