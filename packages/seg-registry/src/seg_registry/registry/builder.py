"""The builder: (kind, config) -> part. Found by others through the entry point `seg_engine.build`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from seg_registry.errors import NotAllowedError, RegistryError
from seg_registry.registry import scope as scopes
from seg_registry.registry.catalog import KINDS, Kind, kind_of
from seg_registry.registry.construct import add_note, arguments, as_mapping, construct
from seg_registry.registry.custom_imports import Imported, allowed_packages, import_custom_modules
from seg_registry.registry.dotted_names import resolve
from seg_registry.registry.user_classes import ENGINE, has_scope, is_imported, registered_by_users
from seg_registry.values.origins import place_of

__all__ = ["Builder", "builder"]


def builder(cfg: object = None, *, allow: Sequence[str] = (), allow_imports: bool = False) -> Builder:
    """Return a builder for one config: its `default_scope` and `custom_imports` count.

    Args:
        cfg: The registered config, or None.
        allow: Packages, or dotted paths, that the caller trusts, beyond what every config may use; '*' is every
            package (`--trust-config`). The standard library, pip and setuptools stay out of reach.
        allow_imports: Import the config's `custom_imports` (each is logged first; never the standard library).

    >>> builder().get("hook", "NoSuchHook")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    seg_registry.errors.RegistryError: 'NoSuchHook' is not in the hook registry ...
    """
    return Builder(cfg, allow=allow, allow_imports=allow_imports)


class Builder:
    """Turns names into objects: registered names, entry points, a scope's names, allowed dotted paths, classes.

    >>> class Blue: ...
    >>> isinstance(builder().build("model", dict(type=Blue)), Blue)
    True
    """

    def __init__(self, cfg: object = None, *, allow: Sequence[str] = (), allow_imports: bool = False) -> None:
        values = {} if cfg is None else as_mapping(cfg)
        self.default_scope: str = values.get("default_scope") or ""
        self._scopes: dict[str, scopes.Scope | None] = {}
        filename, entry = getattr(cfg, "filename", None), values.get("custom_imports")
        self.allow = allowed_packages(allow, filename)
        self.imported = Imported()
        if entry:
            self.imported = import_custom_modules(entry, filename, self.allow, all_of_them=allow_imports)
        self.failures: list[BaseException] = list(self.imported.failures)

    def get(self, kind: str, name: object) -> Any:
        """Return the class or function of this name in the registry of this kind; an object is returned as it is."""
        return self._find(kind_of(kind), name)[0] if isinstance(name, str) else name

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: object) -> Any:
        """Return an object from a config with a `type`; `defaults` fill in keys that the config lacks.

        An exception of the constructor passes through with one note: config path, `file:line`, class, signature.
        """
        table = as_mapping(cfg)
        name, kwargs = arguments(table, defaults)
        if not isinstance(name, str):
            return construct(name, kwargs, table)
        try:
            target, scope, short = self._find(kind_of(kind), name, table.get("_scope_") or self.default_scope)
        except RegistryError as error:
            raise self._at(error, table) from error.__cause__
        if scope is None or not hasattr(scope.registry(kind_of(kind)), "build"):
            return construct(target, kwargs, table)
        try:
            self._check_nested(table)
        except RegistryError as error:
            raise self._at(error, table) from error.__cause__
        try:
            return scope.build(kind_of(kind), table, short, defaults)
        except Exception as error:
            add_note(error, target, kwargs, table)
            raise

    @staticmethod
    def _at(error: RegistryError, table: Mapping[str, Any]) -> RegistryError:
        where, path = place_of(table), getattr(table, "_path_", "")
        prefix = f"{where}: " if where else ""
        return type(error)(f"{prefix}{error}" + (f" (at '{path}' of the config)" if path else ""))

    def _find(self, kind: Kind, name: str, default_scope: str = "") -> tuple[Any, scopes.Scope | None, str]:
        """Return the object, the scope whose registry has it (None: this project's), and its name there."""
        prefix, _, rest = name.partition(".")
        registered = kind.registry.find_here(name)
        explicit = bool(rest) and ":" not in name and "." not in rest and self._is_scope(prefix)
        wanted, short = (prefix, rest) if explicit else (default_scope or self.default_scope, name)
        users = registered_by_users(kind, short, wanted) if name not in list(kind.registry) else None
        if users is not None:
            return users[0], self._scope(wanted) or self._scope(users[1]), short
        if registered is not None and not (self._scope_first(kind, default_scope) and not rest):
            return registered, None, name
        scope = self._scope(wanted)
        found = self._ordered(kind, short, scope)
        if found is None and scope is None and is_imported(ENGINE):  # its own scope is the one that it takes by default
            scope = self._scope(ENGINE)
            found = self._ordered(kind, short, scope)
        if found is not None:
            return found
        of_scope = self._by_path(kind, name)
        if of_scope is not None:
            return of_scope
        if "." in name or ":" in name:
            return self._dotted(kind, name, rest), None, name
        raise self._miss(kind, name, scope)

    def _ordered(
        self, kind: Kind, name: str, scope: scopes.Scope | None
    ) -> tuple[Any, scopes.Scope | None, str] | None:
        own = (kind.registry.find_here(name), None, name) if not kind.scope_first else None
        if own is not None and own[0] is not None:
            return own
        of_scope = scope.find(kind, name) if scope is not None else None
        if of_scope is not None:
            return of_scope, scope, name
        found = kind.registry.find_here(name)
        return (found, None, name) if found is not None else None

    def _by_path(self, kind: Kind, name: str) -> tuple[Any, scopes.Scope, str] | None:
        """Return a scope's part under its dotted path: `mmseg.models.FCNHead`."""
        scope = self._scope(name.partition(".")[0]) if "." in name else None
        found = scope.find_by_path(kind, name) if scope is not None else None
        return (found, scope, name.rpartition(".")[2]) if scope is not None and found is not None else None

    def _check_nested(self, table: Mapping[str, Any]) -> None:
        """Refuse what a scope's registry would import for a part: any dotted path that a `type` inside it holds."""
        for key, name in scopes.names_inside({key: value for key, value in table.items() if key != "type"}):
            prefix, _, rest = name.replace(":", ".").partition(".")
            if key == "_scope_":
                if name and not self._is_scope(name) and not has_scope(KINDS.values(), name):
                    raise NotAllowedError(
                        f"_scope_={name!r} is not a scope: a package with registries, installed or in PYTHONPATH"
                    )
            elif not rest:
                if self._would_import(key, name):
                    raise NotAllowedError(f"{key}={name!r} is the name of a module, not of a registered part")
            elif scopes.is_module(prefix) and prefix.isidentifier():
                self._check_path(name, prefix, rest)

    def _would_import(self, key: str, name: str) -> bool:
        """Tell whether a scope's look-up of an undotted name would import a module of that name.

        Under other keys than `type`, such as `pad_type='reflect'`, a word may be an option: there a module counts
        that is not imported yet.
        """
        if not name.isidentifier() or (key != "type" and name in sys.modules) or not scopes.is_module(name):
            return False
        return not self._is_known(name)

    def _check_path(self, name: str, prefix: str, rest: str) -> None:
        scope = self._scope(prefix)
        if scope is not None and rest.isidentifier() and scope.offers(rest):
            return
        if not any(
            kind.registry.find_by_path(name) is not None or self._by_path(kind, name) is not None
            for kind in KINDS.values()
        ):
            resolve(name, self.allow, self.imported.opened)

    def _is_known(self, name: str) -> bool:
        held = [*self._scopes.values()]
        return any(
            kind.registry.find_here(name) is not None or any(name in each.names(kind) for each in held if each)
            for kind in KINDS.values()
        )

    def _scope_first(self, kind: Kind, default_scope: str) -> bool:
        return kind.scope_first and bool(default_scope or self.default_scope)

    def _is_scope(self, name: str) -> bool:
        return self._scope(name) is not None

    def _scope(self, name: str) -> scopes.Scope | None:
        if name and name not in self._scopes:
            self._scopes[name] = scopes.Scope(name) if scopes.exists(name) else None
            if self._scopes[name] is None and name == self.default_scope:
                hint = scopes.how_to_find(name)
                _log(f"the scope {name!r} is not installed{hint}; names are looked up in this project only")
        return self._scopes.get(name)

    def _dotted(self, kind: Kind, name: str, rest: str) -> Any:
        found = kind.registry.find_by_path(name)
        if found is not None:
            return found
        try:
            return resolve(name, self.allow, self.imported.opened)
        except ModuleNotFoundError as error:
            own = kind.registry.find_here(rest) if rest else None
            if own is None:
                self.failures.append(error)
                raise self._miss(kind, name, None) from error
            return self._use_own(name, own)
        except NotAllowedError as error:
            own = kind.registry.find_here(rest) if rest and "." not in rest else None
            if own is None and scopes.help_for(name) and not self._is_scope(name.partition(".")[0]):
                raise self._miss(kind, name, None) from error
            if own is None:
                raise
            return self._use_own(name, own)

    def _use_own(self, name: str, own: object) -> Any:
        _log(f"{name!r}: {name.partition('.')[0]!r} is not a scope here, so the part of {own.__module__} is used")
        return own

    def _miss(self, kind: Kind, name: str, scope: scopes.Scope | None) -> RegistryError:
        searched = [f"{scope.name}.registry"] if scope is not None else []
        failures = [*self.failures, *(scope.failures if scope is not None else ())]
        error = kind.registry.miss(name, searched, failures, scope.names(kind) if scope is not None else ())
        wanted = name.partition(".")[0] if "." in name else self.default_scope
        if scopes.help_for(wanted) and (failures or scope is None):
            error.args = (f"{error.args[0]}. {scopes.help_for(wanted)}",)
        if self.imported.left_out:
            error.args = (
                f"{error.args[0]}. custom_imports ({', '.join(self.imported.left_out)}) were not imported; "
                "to import them: --allow NAME on the command line, or builder(cfg, allow_imports=True)",
            )
        return error


def _log(message: str) -> None:
    import logging

    logging.getLogger("seg_registry").warning(message)
