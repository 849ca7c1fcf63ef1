"""Which modules can be imported, found out without importing any."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["absent_part", "module_name"]


def absent_part(dotted: str, roots: Sequence[Path] = ()) -> str:
    """Return the first part of a module's name that is not there; empty where the module is.

    Args:
        dotted: The module.
        roots: Folders that are looked into first, the project's.

    >>> absent_part("os.path"), absent_part("json.decoder.x"), absent_part("no_such_thing.at_all")
    ('', '', 'no_such_thing')
    """
    top, *rest = dotted.split(".")
    if top in sys.stdlib_module_names:
        return ""
    here = [folder / top for folder in roots if is_module(folder / top)]
    folders = [str(here[0])] if here else installed(top)
    if folders is None:  # a folder without __init__.py is a package where there is no other one
        folders = [str(folder / top) for folder in roots if (folder / top).is_dir()]
        return missing_below(top, folders, rest) if folders else top
    return missing_below(top, list(folders), rest)


def is_module(path: Path) -> bool:
    """Tell whether a path, without its ending, is a module or a package."""
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@lru_cache(maxsize=4096)
def installed(top: str) -> tuple[str, ...] | None:
    """Return the folders of an importable package; none for a single module, None for one that is not there."""
    if top in sys.modules:
        found = getattr(sys.modules[top], "__spec__", None)
        if found is None:
            return ()
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):  # a broken installation, or a module without a spec
        return ()
    return None if spec is None else tuple(spec.submodule_search_locations or ())


def missing_below(name: str, folders: list[str], rest: Sequence[str]) -> str:
    """Return the first module below a package that is not there; a package may make names of its own as it runs."""
    for part in rest:
        if not folders:
            return ""
        spec = importlib.machinery.PathFinder.find_spec(part, folders)
        name = f"{name}.{part}"
        if spec is None:
            return "" if name in sys.modules else name
        folders = list(spec.submodule_search_locations or ())
    return ""


def module_name(path: Path, root: Path) -> str:
    """Return the name that a file of the project is imported by.

    >>> module_name(Path("/p/pkg/hooks.py"), Path("/p")), module_name(Path("/p/pkg/__init__.py"), Path("/p"))
    ('pkg.hooks', 'pkg')
    """
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
