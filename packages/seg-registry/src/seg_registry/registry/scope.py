"""A scope: another package's registries (`mmseg.FCNHead`, `default_scope='mmseg'`), asked without global state."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from seg_registry.registry.catalog import KINDS, Kind
from seg_registry.registry.dotted_names import is_at, is_class, is_forbidden, is_own, why_forbidden
from seg_registry.registry.entry_points import is_installed
from seg_registry.values.config_dict import ConfigDict

__all__ = ["Scope", "exists", "help_for", "how_to_find", "is_module", "names_inside"]

_MMSEG = (
    "MMSegmentation without a compiled mmcv: call seg_engine.mmseg.prepare() before anything imports it (the command "
    "`seg` does), after "
    '`pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"`'
)
_HELP = dict.fromkeys(("mmseg", "mmdet", "mmpretrain"), _MMSEG)

_LOCK = threading.RLock()


_NO_SCOPES = ("torch", "numpy", "cv2")


def exists(name: str) -> bool:
    """Tell whether a name is a scope: a package that has a `registry` module, and that somebody has put there.

    It belongs to an installed distribution, or lies in a folder that the caller's `PYTHONPATH` names, as a clone does.
    Imports nothing.
    """
    if not name.isidentifier() or is_forbidden(name) or is_own(name) or name in _NO_SCOPES:
        return False
    return (is_installed(name) or _is_on_pythonpath(name)) and any(map(_has_registry, folders_of(name)))


def _has_registry(folder: str) -> bool:
    return (Path(folder) / "registry.py").is_file() or (Path(folder) / "registry" / "__init__.py").is_file()


def _is_on_pythonpath(name: str) -> bool:
    """Tell whether a package lies in a folder of `PYTHONPATH`: the word of the caller, which no config can give.

    An empty entry means the current folder, but mostly by mistake (`$PYTHONPATH:/more`): it counts where it is written
    out (`PYTHONPATH=.`).
    """
    if sys.flags.ignore_environment:
        return False
    named = {Path(each).resolve() for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    folders = folders_of(name)
    return bool(folders) and all(Path(each).parent.resolve() in named for each in folders)


def how_to_find(name: str) -> str:
    """Return what makes a scope of a clone in the current folder; empty where there is none."""
    here = name.isidentifier() and not is_forbidden(name) and _has_registry(str(Path.cwd() / name))
    return f" (the clone in this folder counts with PYTHONPATH={Path.cwd()})" if here else ""


def help_for(package: str, error: Exception | None = None) -> str:
    """Return what makes a package importable that often is not, by its name or by the error of an import, or "".

    >>> help_for("mmseg.models")[:40]
    'MMSegmentation without a compiled mmcv: '
    >>> help_for("mine", ModuleNotFoundError("No module named 'mmcv._ext'")) == help_for("mmseg")
    True
    """
    by_error = any(word in str(error).lower() for word in ("mmcv", "torchvision::"))
    return _HELP.get(package.partition(".")[0], _MMSEG if by_error else "")


def folders_of(package: str) -> list[str]:
    """Return the folders of a package; none where there is no such package."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except ValueError:  # a module without a spec, such as a script that is run
        return []
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def names_inside(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Return every key of a config that says what to build (`type`, `resize_type`, `_scope_`), with its string."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from names_inside(inner, name if isinstance(name, str) else "")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from names_inside(inner, key)
    elif isinstance(value, str) and (key.endswith("type") or key == "_scope_"):
        yield key, value


class Scope:
    """The registries of one package, imported on the first look-up; imports that fail are kept for the error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures: list[BaseException] = []
        self._module: Any = None

    def registry(self, kind: Kind) -> Any:
        """Return the scope's registry of a kind, or None."""
        from importlib import import_module

        if self._module is None and not self.failures:
            try:
                with _LOCK:
                    self._module = import_module(f"{self.name}.registry")
            except Exception as error:  # some packages check versions with assert while they are imported
                error.add_note(f"while importing {self.name}.registry for the scope {self.name!r}")
                self.failures.append(error)
        found = getattr(self._module, kind.attribute, None)
        return found if hasattr(found, "get") else None

    def find(self, kind: Kind, name: str) -> Any:
        """Return the class that the scope's registry has under this name, or None."""
        registry = self.registry(kind)
        if registry is None or is_module(name):
            return None
        try:
            with _LOCK:
                found = registry.get(name)
        except Exception as error:  # the scope imports its own modules now, which may fail in any way
            error.add_note(f"while {self.name}.registry looked up {name!r}")
            self.failures.append(error)
            return None
        return found if (is_class(found) or type(found) is FunctionType) and why_forbidden(found) is None else None

    def find_by_path(self, kind: Kind, path: str) -> Any:
        """Return what the scope's registry has, under its dotted path instead of its name."""
        if path.partition(".")[0] != self.name:
            return None
        found = self.find(kind, path.replace(":", ".").rpartition(".")[2])
        return found if found is not None and is_at(path, found) else None

    def offers(self, name: str) -> bool:
        """Tell whether a name means a registered part; for its own module, the package would give out anything."""
        top = sys.modules.get(self.name) if any(self.registry(kind) is not None for kind in KINDS.values()) else None
        return top is not None and (
            not hasattr(top, name) or any(self.find(kind, name) is getattr(top, name) for kind in KINDS.values())
        )

    def names(self, kind: Kind) -> list[str]:
        """Return the names that the scope's registry has by now."""
        return [str(name) for name in getattr(self.registry(kind), "module_dict", ())]

    def build(self, kind: Kind, cfg: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> Any:
        """Let the scope's own registry build, so that parts nested inside are found in that scope too."""
        registry = self.registry(kind)
        part = ConfigDict({**defaults, **cfg, "type": name})
        part.pop("_delete_", None)
        part.setdefault("_scope_", self.name)
        with _LOCK:
            return registry.build(part)


def is_module(name: str) -> bool:
    """Tell whether a module has this name: MMEngine's registries import it on a miss, so they are not asked for it."""
    from importlib.util import find_spec

    return not name.isidentifier() or find_spec(name) is not None
