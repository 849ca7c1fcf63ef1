"""Registry: names for classes and functions, with every way of registering, and a miss that explains itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from seg_registry.errors import DuplicateNameError, NotAllowedError, RegistryError
from seg_registry.registry.dotted_names import is_at, resolve
from seg_registry.registry.entry_points import entries
from seg_registry.suggest import did_you_mean

__all__ = ["Location", "Registry"]

Item = TypeVar("Item")


class Location(NamedTuple):
    """Where a registered object is defined."""

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.module} ({self.file}:{self.line})"


class Registry:
    """Maps names to classes or functions, and builds objects from configs with a `type`.

    Args:
        name: What is registered here, in the singular: 'hook', 'model'.
        build_func: Called as `build_func(cfg, *args, registry=self, **kwargs)` instead of the plain building.
        parent: Where names that are not here are looked for.
        scope: A prefix under which this registry is reached from its parent: `scope.Name`; by default the package
            that makes the registry.
        locations: Modules to import before the first look-up, because importing them registers.
        group: Entry-point group that offers further names; by default none.

    >>> BACKBONES = Registry("backbone")
    >>> @BACKBONES.register_module()
    ... class Tiny:
    ...     def __init__(self, width=8):
    ...         self.width = width
    >>> BACKBONES.build(dict(type="Tiny", width=16)).width
    16
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
        *,
        group: str = "",
    ) -> None:
        self.name = name
        self.parent = parent
        # frame 1: the module that makes the registry
        self.scope = scope or sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
        self.group = group
        self.build_func: Callable[..., Any] | None = build_func or getattr(parent, "build_func", None)
        self.children: dict[str, Registry] = {}
        self.failures: list[BaseException] = []
        self._locations = list(locations)
        self._pending = list(locations)
        self._items: dict[str, Any] = {}
        self._doubles: dict[str, Any] = {}
        if parent is not None:
            parent._add_child(self)

    def _add_child(self, child: Registry) -> None:
        if child.scope in self.children:
            raise RegistryError(f"the registry {self.name!r} already has a child with the scope {child.scope!r}")
        self.children[child.scope] = child

    @property
    def module_dict(self) -> Mapping[str, Any]:
        """Return what was registered in this process, by name."""
        return dict(self._items)

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: object = None
    ) -> Any:
        """Register a class or function: as a decorator, or at once with `module=`.

        `name` gives it another name, or several. A second object under a known name is reported when that name is
        looked up, with both places; `force=True` replaces the first.
        """
        names = _checked_names(name, force)
        if module is not None:
            self._register(module, names, force)
            return module

        def decorate(item: Item) -> Item:
            self._register(item, names, force)
            return item

        return decorate

    def _register(self, item: object, names: list[str] | None, force: bool) -> None:
        if not callable(item):
            raise TypeError(f"only classes and functions can be registered, got {type(item).__name__}: {item!r}")
        if names is None:
            names = [_own_name(item)]
        for each in names:
            old = self._items.get(each)
            if old is None or force or old is item or locate(old)[1:] == locate(item)[1:] != ("", 0):
                self._items[each] = item
                self._doubles.pop(each, None)
            else:
                self._doubles[each] = item

    def get(self, key: str | type | Callable[..., Any]) -> Any:
        """Return the object of this name, from this process, an entry point or a parent; the error for a miss explains.

        `scope.Name` reaches the child registry of that scope; a dotted path is taken where every config may use it
        (`seg_registry.builder` also takes what its caller allows). A class or function is returned as it is.
        """
        if not isinstance(key, str):
            if not callable(key):
                raise TypeError(f"expected a name, a class or a function, got {type(key).__name__}: {key!r}")
            return key
        found = self.find_here(key)
        return self._dotted(key) if found is None else found

    def _dotted(self, key: str) -> Any:
        if "." not in key and ":" not in key:
            raise self.miss(key)
        found = self.find_by_path(key)
        if found is not None:
            return found
        try:
            return resolve(key)
        except (NotAllowedError, ImportError) as error:
            raise self.miss(key, failures=[error]) from error

    def find_here(self, key: str) -> Any:
        """Return the object of this name, or None: this registry, its entry points, its parents, a child by scope."""
        scope, _, rest = key.partition(".")
        found = self._own(key)
        if found is None and rest and scope == self.scope:
            found = self._own(rest)
        if found is None and rest and scope in self.root.children:
            found = self.root.children[scope].find_here(rest)
        if found is None and self.parent is not None:
            found = self.parent.find_here(key)
        return found

    def find_by_path(self, path: str) -> Any:
        """Return what is registered, or an entry point, under its dotted path; the path itself imports nothing.

        >>> Registry("block", scope="none").find_by_path("os.system") is None
        True
        """
        self._import_locations()
        dotted = path.replace(":", ".", 1)
        last = dotted.rpartition(".")[2]
        named = [entry.name for entry in entries(self.group).values() if entry.value.endswith((f":{last}", f".{last}"))]
        loaded = [(entries(self.group)[name].value.replace(":", "."), self._from_entry_point(name)) for name in named]
        known = [("", item) for item in self._items.values()] + loaded
        for value, item in known:
            if item is not None and (dotted == value or is_at(dotted, item)):
                return item
        return self.parent.find_by_path(path) if self.parent is not None else None

    @property
    def root(self) -> Registry:
        """Return the topmost parent."""
        return self if self.parent is None else self.parent.root

    def _own(self, name: str) -> Any:
        self._import_locations()
        if name in self._doubles:
            raise self._doubled(name)
        found = self._items.get(name)
        return found if found is not None else self._from_entry_point(name)

    def _from_entry_point(self, name: str) -> Any:
        entry = entries(self.group).get(name)
        if entry is None:
            return None
        try:
            return entry.load()
        except Exception as error:
            error.add_note(f"while loading the entry point {name} = {entry.value!r} of {self.group}")
            self._failed(error)
            return None

    def _import_locations(self) -> None:
        from importlib import import_module

        while self._pending:
            module = self._pending.pop(0)
            try:
                import_module(module)
            except Exception as error:
                error.add_note(f"while importing {module!r}, a location of the registry {self.name!r}")
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if str(error) not in {str(each) for each in self.failures}:
            self.failures.append(error)

    def _doubled(self, name: str) -> DuplicateNameError:
        places = " and ".join(str(locate(each)) for each in (self._items[name], self._doubles[name]))
        return DuplicateNameError(
            f"{name!r} is registered twice in {self.name!r}: {places}; "
            "rename one, register it with force=True, or give the class itself as type"
        )

    def miss(
        self,
        key: str,
        searched: Sequence[str] = (),
        failures: Sequence[BaseException] = (),
        more_names: Sequence[str] = (),
    ) -> RegistryError:
        """Return the error for a name that is not there, with every import that failed as its cause."""
        names = sorted({*self.names(), *more_names})
        where = ", ".join(self._searched(searched)) or "nothing else"
        all_failures = [*self.failures, *failures]
        message = f"{key!r} is not in the {self.name} registry ({len(names)} names); {did_you_mean(key, names)}"
        message = f"{message.rstrip('; ')}{'' if message.endswith('?') else '.'} Searched: this process, {where}"
        if all_failures:
            message += f". {len(all_failures)} attempt(s) failed: " + "; ".join(map(_one_line, all_failures))
        error = RegistryError(message)
        if all_failures:
            error.__cause__ = all_failures[0] if len(all_failures) == 1 else _group(all_failures)
        return error

    def _searched(self, more: Sequence[str]) -> list[str]:
        found = [f"entry points {self.group}"] if self.group else []
        return [*found, *self._locations, *more]

    def names(self) -> list[str]:
        """Return every name that can be looked up here, registered or offered by an entry point."""
        above = self.parent.names() if self.parent is not None else []
        return sorted({*self._items, *entries(self.group), *above})

    def find(self, name: str) -> Location:
        """Return where the object of this name is defined: module, file, line."""
        return locate(self.get(name))

    def build(self, cfg: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return an object from a config with a `type`; keyword arguments fill in keys that the config lacks."""
        if self.build_func is not None:
            return self.build_func(cfg, *args, **kwargs, registry=self)
        from seg_registry.registry.construct import build_from_cfg

        defaults = {**(args[0] if args else {}), **kwargs.pop("default_args", {}), **kwargs}
        return build_from_cfg(cfg, self.get, defaults)

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self.find_here(key) is not None
        except DuplicateNameError:
            return True

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._items))

    def __repr__(self) -> str:
        lines = [f"Registry {self.name!r}, {len(self._items)} registered:"]
        return "\n".join(lines + [f"  {name}: {locate(item)}" for name, item in sorted(self._items.items())])


def _checked_names(name: object, force: object) -> list[str] | None:
    if callable(name):
        raise TypeError("write @registry.register_module() with parentheses")
    if not isinstance(force, bool):
        raise TypeError(f"force must be True or False, got {force!r}")
    if name is None:
        return None
    names = [name] if isinstance(name, str) else name
    if not isinstance(names, Sequence) or not names or not all(isinstance(each, str) for each in names):
        raise TypeError(f"name must be a string or several strings, got {name!r}")
    return list(names)


def _own_name(item: object) -> str:
    name = getattr(item, "__name__", None)
    if name is None:
        raise TypeError(f"{item!r} has no name of its own; give name='...'")
    return str(name)


def locate(item: Callable[..., object]) -> Location:
    """Return module, file and line of a class or function; empty where Python does not know."""
    import inspect

    module = getattr(item, "__module__", None) or type(item).__module__
    try:
        return Location(module, inspect.getsourcefile(item) or "", inspect.getsourcelines(item)[1])
    except (OSError, TypeError):
        return Location(module, "", 0)


def _one_line(error: BaseException) -> str:
    notes = " ".join(getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error} ({notes})" if notes else f"{type(error).__name__}: {error}"


def _group(failures: list[BaseException]) -> BaseException:
    return BaseExceptionGroup("imports that failed", failures)
