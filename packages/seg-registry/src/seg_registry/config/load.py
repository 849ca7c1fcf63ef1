"""Loading a config and its bases: read, fill in, parse, evaluate, merge. Nothing is executed or imported."""

from __future__ import annotations

from typing import NamedTuple

from seg_registry.config.bases import union
from seg_registry.config.evaluate import evaluate
from seg_registry.config.parse import Parsed, parse
from seg_registry.config.read import Cache, Source, read
from seg_registry.config.templates import fill_in
from seg_registry.errors import ConfigError, LimitError
from seg_registry.values.budget import MAX_BYTES, Budget
from seg_registry.values.config_dict import ConfigDict, to_config_dict
from seg_registry.values.marked_dict import DottedName, MarkedDict
from seg_registry.values.merge import merge_over

__all__ = ["Loader"]

_MAX_FILES = 1000  # of a chain of bases; every mention counts
_MOST_BYTES = 32 * MAX_BYTES  # of all of them
_CACHE: Cache[Parsed] = Cache()
"""Files that depend on nothing but their own text, by path and whether they have origins; evaluated."""


class Loaded(NamedTuple):
    """A file merged over its bases. Its parts may be shared with the cache: never changed."""

    values: MarkedDict
    imported: dict[str, DottedName]
    """The names that its imports bound, which go on to a file that has it as a new-style base."""


class Loader:
    """Loads one config with all its bases.

    Args:
        predefined: Fill in `{{ fileDirname }}` and its like.
        environment: Fill in `{{$ENV:default}}`.
        trusted: Execute Python files as Python, instead of evaluating them.
        origins: Record where each value is from.
        keep: Use the cache of files; with `trusted` it is never used.
        alone: Refuse every other file that the config names.

    Attributes:
        texts: Path and bytes of every file that was read, the config first.
        notes: Remarks, each with its file and line.
        variables: The environment variables that templates took in.
    """

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
        self.texts: list[tuple[str, bytes]] = []
        self.notes: list[tuple[str, int, str]] = []
        self.variables: dict[str, str] = {}
        self._predefined = predefined
        self._environment = environment
        self._trusted = trusted
        self._origins = origins
        self._keep = keep and not trusted
        self._alone = alone
        self._open: dict[tuple[int, int], str] = {}  # files that are being loaded now, the config first: finds circles
        self._bytes = 0
        self._budget = Budget()

    def load(self, path: str) -> ConfigDict:
        """Return the values of a file, merged over those of its bases."""
        return _own_copy(self._load_file(path).values)

    def load_text(self, text: str, path: str) -> ConfigDict:
        """Return the values of a text, as if it lay at `path`."""
        try:
            return _own_copy(self._load(Source(path, text.encode(errors="surrogatepass"))).values)
        except RecursionError as error:
            raise ConfigError("values or bases are nested too deeply", file=path, line=1) from error

    def _load_file(self, path: str, asked_by: tuple[str, int] | None = None) -> Loaded:
        """Load a file; of a base, `asked_by` is the file and line that name it."""
        file, line = asked_by or (None, None)
        if self._alone and asked_by is not None:
            message = f"a config that is loaded alone (such as that of a checkpoint) reads no other file: {path}"
            raise ConfigError(message, file=file, line=line)
        source = read(path, asked_by)
        if source.identity in self._open:
            circle = [*self._open.values(), path][list(self._open).index(source.identity) :]
            raise ConfigError(f"the bases form a circle: {' -> '.join(circle)}", file=file, line=line)
        self._open[source.identity] = path
        try:
            return self._load(source)
        except RecursionError as error:
            raise ConfigError("too many bases on top of one another", file=path, line=1) from error
        finally:
            del self._open[source.identity]

    def _load(self, source: Source) -> Loaded:
        """Fill in, parse, evaluate and merge a file that was read; its bases are loaded before it is evaluated."""
        self._count(source)
        key = (source.path, self._origins)
        parsed = kept = _CACHE.get(key, source.data) if self._keep else None
        if parsed is None:
            filled = fill_in(source, predefined=self._predefined, environment=self._environment)
            self.variables |= filled.variables
            parsed = parse(filled, trusted=self._trusted)
        base, imports = self._load_bases(parsed), self._load_imports(parsed)
        evaluated = evaluate(parsed, base, imports, trusted=self._trusted, origins=self._origins)
        self.notes += [(source.path, line, note) for line, note in evaluated.notes]
        if kept is None and self._keep and evaluated.reusable:
            done = parsed._replace(content=evaluated.values, imported=evaluated.imported, notes=evaluated.notes)
            _CACHE.put(key, source.data, done)
        values = evaluated.values if evaluated.base is None else merge_over(evaluated.values, evaluated.base)
        return Loaded(values, evaluated.imported)

    def _load_bases(self, parsed: Parsed) -> MarkedDict | None:
        """Return what the files that `_base_` names say together."""
        if not parsed.bases:
            return None
        asked_by = (parsed.path, parsed.line)
        parts = []
        for base in parsed.bases:
            parts.append((base, self._load_file(base.path, asked_by).values))
        return union(parts, self._budget, *asked_by)

    def _load_imports(self, parsed: Parsed) -> dict[str, MarkedDict]:
        """Return what the files say that are imported inside `with read_base():`, by path."""
        imports: dict[str, MarkedDict] = {}
        for node, path in parsed.imports:
            if path not in imports:
                values, imported = self._load_file(path, (parsed.path, node.lineno))
                imports[path] = values.with_values({**imported, **values})
        return imports

    def _count(self, source: Source) -> None:
        """Note that a file was read; refuse a chain that names files again and again."""
        self.texts.append((source.path, source.data))
        self._bytes += len(source.data)
        limit = f"{_MAX_FILES} files" if len(self.texts) > _MAX_FILES else f"{_MOST_BYTES} bytes"
        if len(self.texts) > _MAX_FILES or self._bytes > _MOST_BYTES:
            raise LimitError(f"the chain of bases reads more than {limit}", file=source.path, line=1)


def _own_copy(values: MarkedDict) -> ConfigDict:
    """Return what was loaded as a ConfigDict that is the caller's own."""
    try:
        return to_config_dict(values)
    except LimitError as error:
        raise LimitError(error.message, file=values._file_, line=1) from error
