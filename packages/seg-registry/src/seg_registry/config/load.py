"""Loading a chain of config files: parse, evaluate, merge over the bases. Nothing is executed or imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from seg_registry.config.bases import base_of_module, paths, scope_of, union
from seg_registry.config.source_files import Shelf, decoded, read
from seg_registry.config.templates import Templates
from seg_registry.errors import ConfigError, ConfigFileError, LimitError
from seg_registry.evaluator.evaluator import Evaluator, parse
from seg_registry.values.budget import MAX_BYTES, Budget
from seg_registry.values.config_dict import ConfigDict, thaw
from seg_registry.values.draft import Dotted, Draft
from seg_registry.values.merge import merged

__all__ = ["Loaded", "Loader"]

MAX_FILES = 1000  # of a chain of bases; every mention counts
_SHELF = Shelf()


class Loaded:
    """What one file says: its own values, the bases it names, and remarks. Shared between configs, never changed."""

    __slots__ = ("entries", "imported", "line", "notes", "own", "paths", "variables")

    def __init__(self, own: Draft, entries: list[str], line: int = 1) -> None:
        self.own = own
        self.entries = entries
        self.line = line
        self.paths: list[str] | None = None
        self.notes: list[tuple[int, str]] = []
        self.imported: dict[str, Dotted] = {}
        self.variables: dict[str, str] = {}


class _Shared:
    """What all loaders of one chain share: the files being loaded, and how much was read."""

    def __init__(self) -> None:
        self.above: dict[tuple[int, int], str] = {}
        self.files = 0
        self.size = 0
        self.budget = Budget()

    def count(self, path: str, data: bytes) -> None:
        """Refuse a chain that names files again and again."""
        self.files += 1
        self.size += len(data)
        if self.files > MAX_FILES or self.size > 32 * MAX_BYTES:
            raise LimitError(f"the chain of bases reads more than {MAX_FILES} files", file=path, line=1)


class Loader:
    """Loads one config with all its bases; `texts` and `files` then hold what was read, bases first."""

    def __init__(
        self,
        *,
        predefined: bool = True,
        environment: bool = True,
        trusted: bool = False,
        origins: bool = True,
        keep: bool = True,
        alone: bool = False,
    ) -> None:
        self.options = {"predefined": predefined, "environment": environment}
        self.trusted = trusted
        self.alone = alone
        self.origins = origins
        self.keep = keep and not trusted
        self.texts: list[tuple[str, bytes]] = []
        self.notes: list[tuple[str, int, str]] = []
        self.variables: dict[str, str] = {}
        self._shared = _Shared()
        self._imports: dict[str, dict[str, Dotted]] = {}

    def load(self, path: str, asked_by: tuple[str, int] | None = None) -> Draft:
        """The merged values of a file and its bases."""
        file, line = asked_by or (None, None)
        if self.alone and asked_by is not None:
            raise ConfigError(f"it comes from elsewhere, so it reads no other file: {path}", file=file, line=line)
        data, identity = read(path, file, line)
        if identity in self._shared.above:
            above = list(self._shared.above)
            circle = [self._shared.above[each] for each in above[above.index(identity) :]]
            raise ConfigError(f"the bases form a circle: {' -> '.join([*circle, path])}", file=file, line=line)
        self._shared.above[identity] = path
        try:
            return self._over_bases(path, self._evaluated(path, data))
        except RecursionError as error:
            raise ConfigError("too many bases on top of one another", file=path, line=1) from error
        finally:
            del self._shared.above[identity]

    def thawed(self, table: Draft) -> ConfigDict:
        """What was loaded, as a ConfigDict that is the caller's own."""
        try:
            return thaw(table)
        except LimitError as error:
            raise LimitError(error.message, file=table._file_, line=1) from error

    def load_text(self, text: str, path: str) -> Draft:
        """The merged values of a text, as if it lay at `path`."""
        data = text.encode(errors="surrogatepass")
        try:
            return self._over_bases(path, self._evaluated(path, data))
        except RecursionError as error:
            raise ConfigError("nested too deeply", file=path, line=1) from error

    def _over_bases(self, path: str, loaded: Loaded) -> Draft:
        self.notes += [(path, line, note) for line, note in loaded.notes]
        self.variables.update(loaded.variables)
        self._imports[path] = loaded.imported
        if loaded.paths is None:
            loaded.paths = paths(loaded.entries, path, loaded.line)
        base = self._base(path, loaded.entries, loaded.line, loaded.paths)
        return merged(loaded.own, base) if base is not None else loaded.own

    def _base(self, path: str, entries: list[str], line: int, base_paths: list[str] | None = None) -> Any:
        if not entries:
            return None
        parts = []
        for entry, base_path in zip(entries, base_paths or paths(entries, path, line), strict=True):
            part = self.load(base_path, (path, line))
            parts.append(scoped(part, scope_of(entry)) if "::" in entry else part)
        try:
            return union(parts, self._shared.budget, path, line)
        except LimitError as error:
            raise LimitError(error.message, file=path, line=line) from error

    def _evaluated(self, path: str, data: bytes) -> Loaded:
        self.texts.append((path, data))
        self._shared.count(path, data)
        key = (path, self.origins)
        kept: Loaded | None = _SHELF.get(key, data) if self.keep else None
        if kept is not None:
            return kept
        loaded, reusable = self._fresh(path, decoded(data, path))
        if reusable and self.keep:
            _SHELF.put(key, data, loaded)
        return loaded

    def _fresh(self, path: str, text: str) -> tuple[Loaded, bool]:
        """The evaluated file, and whether it may be kept: nothing but its own text went into it."""
        suffix = os.path.splitext(path)[1].lower()
        templates = Templates(path, **self.options)
        if suffix == ".py":
            loaded, reusable = self._python(path, text, templates)
        elif suffix in (".json", ".yaml", ".yml", ".toml"):
            from seg_registry.config.read_data import load_data

            own, entries = load_data(templates.fill(text, quote=True), path, suffix)
            loaded, reusable = Loaded(own, entries), True
            if templates.placeholders:
                self._fill_data(path, loaded, templates.placeholders)
        else:
            raise ConfigFileError(
                f"a config is .py, .json, .yaml, .yml or .toml, not {suffix or 'a file without suffix'}", file=path
            )
        loaded.variables = templates.variables
        return loaded, reusable and "{{" not in text

    def _python(self, path: str, text: str, templates: Templates) -> tuple[Loaded, bool]:
        tree = parse(templates.fill(text), path)
        entries, line, notes = base_of_module(tree, path)
        included: list[str] = []
        ev = Evaluator(
            path,
            base=self._base_value(path, entries, line),
            include=self._includer(path, included),
            placeholders=templates.placeholders,
            origins=self.origins,
        )
        if self.trusted:
            from seg_registry.evaluator.trusted import execute

            own = execute(tree, ev)
        else:
            own = ev.run(tree)
        loaded = Loaded(own, entries, line)
        loaded.notes = [*notes, *ev.notes]
        loaded.imported = ev.imported
        if entries and included:
            raise ConfigError("_base_ and read_base() cannot be used in one file", file=path, line=line)
        if ev.base_value is not None:
            return _merged_already(loaded, ev.base_value), False
        return loaded, not included and not self.trusted

    def _base_value(self, path: str, entries: list[str], line: int) -> Callable[[], ConfigDict]:
        def value() -> ConfigDict:
            found = self._base(path, entries, line)
            return thaw(found) if found is not None else ConfigDict()

        return value

    def _includer(self, path: str, included: list[str]) -> Callable[[str, int], Draft]:
        def include(base_path: str, line: int) -> Draft:
            included.append(base_path)
            inner = Loader(**self.options, trusted=self.trusted, origins=self.origins, keep=False, alone=self.alone)
            inner._shared = self._shared
            found, imported = inner.load_names(base_path, (path, line))
            self.texts += inner.texts
            self.notes += inner.notes
            return Draft({**imported, **found}, file=found._file_, marks=found._marks_)

        return include

    def load_names(self, path: str, asked_by: tuple[str, int]) -> tuple[Draft, dict[str, Dotted]]:
        """A base of a new-style config: its values, and the imports that go on to the child."""
        found = self.load(path, asked_by)
        return found, self._imports[path]

    def _fill_data(self, path: str, loaded: Loaded, placeholders: dict[str, str]) -> None:
        """Put base values where a JSON, YAML or TOML file has `{{_base_.x}}`."""
        ev = Evaluator(
            path, base=self._base_value(path, loaded.entries, 1), placeholders=placeholders, origins=self.origins
        )
        try:
            loaded.own = _filled(loaded.own, ev)
        except ConfigError as error:
            raise type(error)(error.message, file=error.file or path, line=error.line) from error
        except (LookupError, TypeError, NameError) as error:
            raise ConfigError(f"{type(error).__name__}: {error}", file=path, line=1) from error
        if ev.base_value is not None:
            _merged_already(loaded, ev.base_value)


def _filled(value: Any, ev: Evaluator) -> Any:
    if isinstance(value, Draft):
        pairs = {key: _filled(each, ev) for key, each in value.items()}
        return Draft(pairs, file=value._file_, marks=value._marks_)
    if isinstance(value, list | tuple):
        return type(value)([_filled(each, ev) for each in value])
    return ev.filled(value) if type(value) is str else value


def _merged_already(loaded: Loaded, base: ConfigDict) -> Loaded:
    """The file changed or read `_base_`, so its values are merged over that very base, changes included."""
    loaded.own = merged(loaded.own, base)
    loaded.entries = []
    return loaded


def scoped(table: Draft, scope: str) -> Draft:
    """A base from another package: each outermost dict with a `type` gets `_scope_`."""
    return Draft({key: _scoped(value, scope) for key, value in table.items()}, file=table._file_, marks=table._marks_)


def _scoped(value: Any, scope: str) -> Any:
    if isinstance(value, Draft):
        if "type" in value:
            return Draft({"_scope_": scope, **value}, file=value._file_, marks=value._marks_)
        return scoped(value, scope)
    if isinstance(value, list | tuple):
        return type(value)([_scoped(each, scope) for each in value])
    return value
