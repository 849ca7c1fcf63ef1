"""JSON, YAML and TOML configs as data with line numbers: no tags that construct objects, no expansion bombs."""

from __future__ import annotations

import re
from typing import Any, Protocol

from seg_registry.config.bases import base_entries
from seg_registry.errors import ConfigError, ConfigSyntaxError, ConfigTypeError, LimitError
from seg_registry.values.budget import Budget, check_size
from seg_registry.values.marked_dict import MAX_DEPTH, MarkedDict

__all__ = ["parse_data", "yaml_module"]

_MAX_YAML = 64 * 1024  # PyYAML takes about a second for 100 KiB
_UNITS = 100_000  # values in a data file, aliases counted as what they stand for


def parse_data(text: str, path: str, suffix: str) -> tuple[MarkedDict, list[str]]:
    """Return the values of a JSON, YAML or TOML file, and its `_base_` entries."""
    reader = {".json": _read_json, ".toml": _read_toml}.get(suffix, _read_yaml)
    try:
        own = reader(text, path)
        Budget(_UNITS).spend_on(own)
    except ConfigError as error:
        raise type(error)(error.message, file=path, line=error.line or 1) from error.__cause__
    except (RecursionError, MemoryError) as error:
        raise LimitError("values are nested too deeply", file=path, line=1) from error
    except ValueError as error:
        raise ConfigSyntaxError(str(error), file=path, line=getattr(error, "lineno", 1)) from error
    if not isinstance(own, MarkedDict):
        message = f"a config must be a mapping of keys to values, got {type(own).__name__}"
        raise ConfigTypeError(message, file=path, line=1)
    base = own.pop("_base_", [])
    return own, base_entries(base, path, 1)


def _read_json(text: str, path: str) -> Any:
    """Parse with the standard reader; a second walk over the text finds the line of each key."""
    from json import loads

    value = loads(text, object_pairs_hook=_Pairs)
    return _marked(value, path, _KeyLines(text))


class _Pairs(list[Any]):
    """The keys and values of a JSON object, doubled keys too, so that lines can be counted off."""


class _KeyLines:
    """The lines of the keys of a JSON text, in the order in which the reader meets them."""

    _TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"\s*(:)?|\n', re.DOTALL)

    def __init__(self, text: str) -> None:
        self._lines = self._find(text)

    def _find(self, text: str) -> Any:
        line, at = 1, 0
        for match in self._TOKEN.finditer(text):
            line += text.count("\n", at, match.start())
            at = match.start()
            if match[1]:
                yield line

    def next(self) -> int:
        """Return the line of the next key."""
        return int(next(self._lines, 1))


def _marked(value: object, path: str, lines: _KeyLines) -> Any:
    if isinstance(value, _Pairs):
        pairs, marks = {}, {}
        for key, each in value:
            marks[key] = lines.next()
            pairs[key] = _marked(each, path, lines)
        return MarkedDict(pairs, file=path, marks=marks)
    return [_marked(each, path, lines) for each in value] if isinstance(value, list) else value


class _YamlMark(Protocol):
    line: int


class _YamlNode(Protocol):
    """What is read of a node of PyYAML, which ships no types."""

    id: str
    tag: str
    value: Any
    start_mark: _YamlMark


class _YamlLoader(Protocol):
    def construct_object(self, node: _YamlNode, /) -> object: ...

    def flatten_mapping(self, node: _YamlNode, /) -> None: ...


def yaml_module() -> Any:
    """Return PyYAML; where it is missing, the error says how to get it."""
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("YAML configs need PyYAML: pip install pyyaml") from error
    return yaml


def _read_yaml(text: str, path: str) -> Any:
    yaml = yaml_module()
    if len(text) > _MAX_YAML:
        raise LimitError(
            f"a YAML config may have at most {_MAX_YAML:,} characters, this one has {len(text):,}; "
            ".json and .py may be larger"
        )
    _check_brackets(text)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return MarkedDict(file=path) if node is None else _from_yaml(loader, node, path, Budget(_UNITS), 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigSyntaxError(problem, file=path, line=mark.line + 1 if mark else 1) from error
    finally:
        loader.dispose()


def _check_brackets(text: str) -> None:
    """Count the brackets first, because PyYAML takes quadratic time over deep ones."""
    depth = 0
    for match in re.finditer(r"[\[\]{}]", text):
        depth += 1 if match[0] in "[{" else -1
        if depth > 2 * MAX_DEPTH:
            line = text.count("\n", 0, match.start()) + 1
            raise LimitError(f"more than {2 * MAX_DEPTH} brackets are open at once", line=line)


def _from_yaml(loader: _YamlLoader, node: _YamlNode, path: str, budget: Budget, depth: int) -> Any:
    """Return the value of a node; an alias costs as much as what it stands for, so that bombs end early."""
    budget.spend(1)
    if depth > MAX_DEPTH:
        raise LimitError(f"values are nested more than {MAX_DEPTH} deep", line=node.start_mark.line + 1)
    tag = node.tag.rpartition(":")[2]
    if node.id == "scalar":
        return node.value if tag == "timestamp" else _scalar(loader, node, tag)
    if node.id == "sequence":
        if tag not in ("seq", "python/tuple"):
            raise ConfigSyntaxError(f"the YAML tag {node.tag} is not allowed", line=node.start_mark.line + 1)
        items = [_from_yaml(loader, each, path, budget, depth + 1) for each in node.value]
        return tuple(items) if tag == "python/tuple" else items
    if tag not in ("map", "set"):
        raise ConfigSyntaxError(f"the YAML tag {node.tag} is not allowed", line=node.start_mark.line + 1)
    return _table_from_yaml(loader, node, path, budget, depth, tag)


def _scalar(loader: _YamlLoader, node: _YamlNode, tag: str) -> Any:
    if not node.tag.startswith("tag:yaml.org,2002:") or tag not in ("null", "bool", "int", "float", "str", "binary"):
        raise ConfigSyntaxError(f"the YAML tag {node.tag} is not allowed", line=node.start_mark.line + 1)
    try:
        value = loader.construct_object(node)
        return check_size(value) if type(value) is int else value
    except LimitError as error:
        raise LimitError(error.message, line=node.start_mark.line + 1) from error
    except (ValueError, ArithmeticError) as error:
        raise ConfigSyntaxError(str(error), line=node.start_mark.line + 1) from error


def _table_from_yaml(loader: _YamlLoader, node: _YamlNode, path: str, budget: Budget, depth: int, tag: str) -> Any:
    budget.spend(len(node.value) + _merged_size(node, {}))
    loader.flatten_mapping(node)
    budget.spend_on_keys(len(node.value))
    result, marks = MarkedDict(file=path), {}
    for key_node, value_node in node.value:
        key = _from_yaml(loader, key_node, path, budget, depth + 1)
        if isinstance(key, list | dict | set):
            message = "a key must be a single value, not a list or a mapping"
            raise ConfigSyntaxError(message, line=key_node.start_mark.line + 1)
        result[key] = _from_yaml(loader, value_node, path, budget, depth + 1)
        marks[key] = key_node.start_mark.line + 1
    result._marks_ = marks
    return set(result) if tag == "set" else result


def _merged_size(node: _YamlNode, known: dict[int, int]) -> int:
    """Return how many pairs a mapping has once its merge keys (`<<`) are unfolded, which happens to all at once.

    What is merged twice into one mapping is taken once.
    """
    if id(node) not in known:
        known[id(node)] = 0  # one that contains itself
        merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        for value in merged:
            if value.id == "sequence":
                value.value = list({id(part): part for part in value.value}.values())
        parts = [part for value in merged for part in (value.value if value.id == "sequence" else [value])]
        known[id(node)] = len(node.value) + sum(_merged_size(part, known) for part in parts if part.id == "mapping")
    return known[id(node)]


def _read_toml(text: str, path: str) -> Any:
    import tomllib

    _check_dots(text)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise ConfigSyntaxError(str(error), file=path, line=int(found[1]) if found else 1) from error
    return _placed(values, path, _toml_lines(text), ())


def _check_dots(text: str) -> None:
    """Count the parts of keys first, because the reader takes quadratic memory over a key of many parts."""
    parts = 0
    for piece in text.split("."):
        parts = parts + 1 if re.fullmatch(r"""[\w"'-]+""", piece.strip(" \t")) else 0
        if parts > MAX_DEPTH:
            raise LimitError(f"a key has more than {MAX_DEPTH} parts")


def _placed(value: object, path: str, lines: dict[tuple[Any, ...], int], at: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        pairs = {key: _placed(each, path, lines, (*at, key)) for key, each in value.items()}
        marks = {key: _nearest_line(lines, (*at, key)) for key in value}
        return MarkedDict(pairs, file=path, marks=marks)
    if isinstance(value, list):
        return [_placed(each, path, lines, (*at, index)) for index, each in enumerate(value)]
    if type(value) is int:
        return check_size(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _nearest_line(lines: dict[tuple[Any, ...], int], at: tuple[Any, ...]) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)


def _toml_lines(text: str) -> dict[tuple[Any, ...], int]:
    """Return the line of each key path, for keys and tables that begin a line."""
    lines: dict[tuple[Any, ...], int] = {}
    table: tuple[Any, ...] = ()
    counts: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        text_of_key, equals, _ = line.partition("=")
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            table = _parts(stripped.strip("[").partition("]")[0])
            if stripped.startswith("[["):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif equals and re.fullmatch(r"""[\w.\-"' \t]+""", text_of_key):
            lines.setdefault((*table, *_parts(text_of_key)), number)
    return lines


def _parts(key: str) -> tuple[Any, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))
