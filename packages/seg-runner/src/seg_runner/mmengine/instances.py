"""MMEngine's global instances (`MessageHub.get_current_instance()` and its like) are this run's own while it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType
from typing import Any, Protocol

__all__ = ["Instances"]

MODULES = {
    "mmengine.logging": {"MessageHub": "message_hub", "MMLogger": "logger"},
    "mmengine.visualization": {"Visualizer": "visualizer"},
    "mmengine.registry": {"DefaultScope": ""},
}
"""Where MMEngine has its classes with global instances, and which part of a run each of them stands for."""

TABLE = "_instance_dict"
"""Each such class keeps its instances in a dict of this name; the one that was added last is the current one."""


class Run(Protocol):
    """A run under way, or being built: what it does not have yet is not served yet."""

    @property
    def experiment_name(self) -> str:
        """The name under which MMEngine would keep the instances."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments; `default_scope` is one."""


class Instances(AbstractContextManager["Instances"]):
    """Gives code that was written for MMEngine this run's hub, log, visualizer and scope, while this context lasts.

    Where MMEngine is not imported there is nothing to do; where it is imported later, while a model is built or at a
    hook's first step, it is done then. At the end every table of instances is as it was. Visualizers that were made
    meanwhile write into this run's folder, so they are kept for it and are back when it goes on; other instances that
    were made stay, and what was current before is current again.

    Args:
        run: Whose parts they are; it may still be without a visualizer, see `put`.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._depth = 0
        self._before: dict[type, dict[str, Any]] = {}
        self._kept: dict[type, dict[str, Any]] = {}
        self._watch = _Watch(self)

    def __enter__(self) -> Instances:
        self._depth += 1
        if self._depth == 1:
            if any(name not in sys.modules for name in MODULES):
                sys.meta_path.insert(0, self._watch)
            self.put()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            if self._watch in sys.meta_path:
                sys.meta_path.remove(self._watch)
            for module, names in MODULES.items():
                for owner in (getattr(sys.modules.get(module), name, None) for name in names):
                    if owner in self._before:
                        self._put_back(owner)

    def put(self, *modules: str) -> None:
        """Make the parts that the run has by now the current instances; call it when a part is added.

        Args:
            *modules: Only those that these modules of MMEngine keep; none given: all.
        """
        for module in (modules or MODULES) if self._depth else ():
            for name, part in MODULES[module].items():
                owner = getattr(sys.modules.get(module), name, None)
                if isinstance(owner, type) and isinstance(getattr(owner, TABLE, None), dict):
                    self._put(owner, part)

    def _put(self, owner: type, part: str) -> None:
        tables = {kind: self._table(kind) for kind in _family(owner)}
        ours, name = (getattr(self._run, part, None) if part else _scope(owner, self._run)), self._run.experiment_name
        if ours is None:
            return
        if part == "visualizer":
            name = getattr(ours, "instance_name", None) or getattr(ours, "name", None) or name
        for kind, table in tables.items():
            if kind is owner or kind.__name__ == type(ours).__name__:  # their SegLocalVisualizer for ours, too
                for key in [key for key, value in table.items() if value is ours or key == name]:
                    del table[key]
                table[name] = ours  # as the last

    def _table(self, owner: type) -> dict[str, Any]:
        """Return the instances of a class, which are remembered as they were before the first change."""
        table: dict[str, Any] = getattr(owner, TABLE)
        if owner not in self._before:
            self._before[owner] = dict(table)
            table.update(self._kept.pop(owner, {}))
        return table

    def _put_back(self, top: type) -> None:
        run = self._run
        ours = [getattr(run, part, None) for names in MODULES.values() for part in names.values() if part]
        for owner in _family(top):
            before, table = self._before.pop(owner, {}), getattr(owner, TABLE)
            new = {key: value for key, value in table.items() if key not in before and key != run.experiment_name}
            new = {key: value for key, value in new.items() if not any(value is one for one in ours)}
            if top.__name__ == "Visualizer":
                self._kept[owner], new = new, {}
            table.clear()
            table.update({**new, **before})


def _scope(owner: Any, run: Run) -> Any:
    return owner(run.experiment_name, scope_name=run.arguments["default_scope"] or "mmengine")


def _family(owner: type) -> list[type]:
    """Return a class and all that derive from it: each has a table of its own."""
    below: list[type] = owner.__subclasses__()
    return [owner, *(one for kind in below for one in _family(kind))]


class _Watch:
    """Sees MMEngine being imported while a run is under way: a finder of modules that only listens."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what the other finders have, so changed that the instances are put once the module is there."""
        if name not in MODULES:
            return None
        after = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        for finder in after:  # of those before it none has the module; one may listen for a run inside of this one
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._instances)  # type: ignore[assignment]  # by shape
                return spec
        return None


class _Loader:
    """Loads a module as its own loader does, then puts the instances; leaves the module its own loader."""

    def __init__(self, loader: Any, instances: Instances) -> None:
        self._loader, self._instances = loader, instances

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Do as the module's own loader does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then put the instances."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._instances.put(module.__name__)
