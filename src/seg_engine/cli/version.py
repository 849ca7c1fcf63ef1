"""What `seg --version` shows: the six packages, Python and torch, read from their files without importing them."""

from __future__ import annotations

import argparse
import ast
import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["ShowVersions", "versions"]

PACKAGES = ("seg-engine", "seg-registry", "seg-optim", "seg-hooks", "seg-runner", "seg-vis")


def versions() -> dict[str, str]:
    """Return name -> version; 'not installed' where there is none.

    What is read is `__version__` in the files that would be imported: metadata of an editable installation is as old
    as the installation, and importing torch takes seconds, or fails just where somebody wants to know the version.
    """
    found = {name: declared(name.replace("-", "_"), "__about__.py") for name in PACKAGES}
    return {**found, "Python": platform.python_version(), "torch": declared("torch", "version.py")}


def declared(module: str, file: str) -> str:
    """Return the text that a file of a module assigns to `__version__`."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return "not installed"
    text = Path(spec.origin).with_name(file).read_text(encoding="utf-8")
    return next((value for line in ast.parse(text).body if (value := assigned(line))), "unknown")


def assigned(line: ast.stmt) -> str | None:
    """Return the text that a line assigns to `__version__`, or None.

    >>> assigned(ast.parse("__version__ = '1.2.0'").body[0])
    '1.2.0'
    """
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    value = getattr(line, "value", None)
    if any(isinstance(each, ast.Name) and each.id == "__version__" for each in targets):
        return str(value.value) if isinstance(value, ast.Constant) else None
    return None


class ShowVersions(argparse.Action):
    """Prints the versions and ends the command."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and leave."""
        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        parser.exit()
