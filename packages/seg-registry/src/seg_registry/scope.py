"""A scope: another package's registries (`mmseg.FCNHead`, `default_scope='mmseg'`), asked without global state."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from seg_registry.catalog import Kind
from seg_registry.config_dict import ConfigDict
from seg_registry.entry_points import installed_as
from seg_registry.judge import OURS, is_never

__all__ = ["Scope", "exists"]

_LOCK = threading.RLock()


def exists(name: str) -> bool:
    """Whether a name is a scope: an installed distribution that has a `registry` module."""
    from importlib.util import find_spec

    if not name.isidentifier() or is_never(name) or name in OURS or find_spec(name) is None:
        return False
    return installed_as(name)


class Scope:
    """The registries of one package, imported on the first look-up; imports that fail are kept for the error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures: list[BaseException] = []
        self._module: Any = None

    def registry(self, kind: Kind) -> Any:
        """The scope's registry of a kind, or None."""
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
        """The class that the scope's registry has under this name, or None."""
        registry = self.registry(kind)
        if registry is None or "." in name or self._is_module(name):
            return None
        try:
            with _LOCK:
                found = registry.get(name)
        except Exception as error:  # the scope imports its own modules now, which may fail in any way
            error.add_note(f"while {self.name}.registry looked up {name!r}")
            self.failures.append(error)
            return None
        return found if isinstance(found, type | FunctionType) and not is_never(found.__module__) else None

    def names(self, kind: Kind) -> list[str]:
        """The names that the scope's registry has by now."""
        return [str(name) for name in getattr(self.registry(kind), "module_dict", ())]

    @staticmethod
    def _is_module(name: str) -> bool:
        """MMEngine's registries import a module of that name when they miss; so such a name is not asked for."""
        from importlib.util import find_spec

        return not name.isidentifier() or find_spec(name) is not None

    def build(self, kind: Kind, cfg: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> Any:
        """Let the scope's own registry build, so that parts nested inside are found in that scope too."""
        registry = self.registry(kind)
        part = ConfigDict({**defaults, **cfg, "type": name})
        part.pop("_delete_", None)
        part.setdefault("_scope_", self.name)
        with _LOCK:
            return registry.build(part)
