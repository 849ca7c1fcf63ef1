"""The modules of a package, whose docstrings hold examples that run."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType


def modules_of(package: ModuleType) -> list[str]:
    """Return the dotted names of all modules in all folders, without configs (data) and what runs at import."""
    (folder,) = map(Path, package.__path__)
    files = [path.relative_to(folder.parent).with_suffix("") for path in folder.rglob("*.py")]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files if "configs" not in file.parts]
    return sorted(name for name in names if not name.endswith(".__main__"))
