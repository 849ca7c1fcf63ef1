"""New-style configs: imports as dotted names that import nothing, and the files that `read_base()` brings in."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from seg_registry.errors import ConfigError, ConfigFileError
from seg_registry.evaluator.evaluator import Evaluator, refuse
from seg_registry.values.marked_dict import DottedName, MarkedDict
from seg_registry.values.origins import chain_of

__all__ = ["BaseImport", "base_imports", "imports", "package_folder", "read_base"]

_PURE = frozenset({"copy"})  # of which the evaluator knows what a config needs
_FORBIDDEN = frozenset({"builtins", "pip", "setuptools", "pkg_resources", "_distutils_hack"}) | sys.stdlib_module_names


def imports(ev: Evaluator, node: ast.Import | ast.ImportFrom) -> None:
    """Bind C to the dotted name 'a.b.C' for `from a.b import C`, m to 'a.b' for `import a.b as m`."""
    if isinstance(node, ast.ImportFrom):
        _import_from(ev, node)
        return
    for each in node.names:
        _check(each.name)
        name = each.asname or each.name.split(".")[0]
        _bind(ev, name, each.name if each.asname else name)


def _import_from(ev: Evaluator, node: ast.ImportFrom) -> None:
    if node.module == "__future__":
        return
    if node.level or node.module is None:
        raise ConfigError("a relative import brings in a base; put it inside 'with read_base():'")
    _check(node.module)
    for each in node.names:
        if each.name == "*":
            raise refuse("'import *' outside 'with read_base():'")
        if each.name != "read_base":
            _bind(ev, each.asname or each.name, f"{node.module}.{each.name}")


def _check(module: str) -> None:
    if module.split(".")[0] in _FORBIDDEN - _PURE:
        raise refuse(f"the import of {module}")


def _bind(ev: Evaluator, name: str, dotted: str) -> None:
    ev.bind(name, DottedName(dotted))
    ev.imported[name] = ev.names[name]


class BaseImport(NamedTuple):
    """An import inside `with read_base():`, and the file that it means."""

    node: ast.ImportFrom
    path: str


def base_imports(tree: ast.Module, file: str) -> list[BaseImport]:
    """Return what the `with read_base():` of a file import, so that those files can be loaded first."""
    nodes = [each for block in _with_blocks(tree.body) if _is_read_base(block) for each in block.body]
    return [BaseImport(each, _path_of(file, each)) for each in nodes if isinstance(each, ast.ImportFrom)]


def _with_blocks(statements: list[ast.stmt]) -> Iterator[ast.With]:
    for each in statements:
        if isinstance(each, ast.With):
            yield each
        elif isinstance(each, ast.If | ast.For):
            yield from _with_blocks([*each.body, *each.orelse])


def _is_read_base(node: ast.With) -> bool:
    only = node.items[0]
    return len(node.items) == 1 and only.optional_vars is None and ast.unparse(only.context_expr) == "read_base()"


def read_base(ev: Evaluator, node: ast.With) -> None:
    """Evaluate `with read_base(): from .x import *`: the names of other config files become names of this one."""
    if not _is_read_base(node):
        raise refuse("a with statement other than 'with read_base():'")
    for statement in node.body:
        ev.line = statement.lineno
        if not isinstance(statement, ast.ImportFrom):
            raise ConfigError("only 'from <config> import <names>' may stand inside 'with read_base():'")
        _take_names(ev, statement)


def _take_names(ev: Evaluator, node: ast.ImportFrom) -> None:
    found = ev.included[node]
    for each in node.names:
        if each.name != "*" and each.name not in found:
            raise ConfigError(f"the base {_path_of(ev.file, node)} has no name {each.name!r}")
    wanted = {each.name: each.asname or each.name for each in node.names}
    for key in found if "*" in wanted else wanted:
        _take(ev, found, key, wanted.get(key, key), node.lineno)


def _take(ev: Evaluator, found: MarkedDict, key: str, name: str, line: int) -> None:
    value = found[key]
    ev.bind(name, value, chain_of(found, key) or line)
    if type(value) is DottedName:
        ev.imported[name] = value


def _path_of(file: str, node: ast.ImportFrom) -> str:
    parts = node.module.split(".") if node.module else []
    if node.level:
        folder = os.path.dirname(file)
        for _ in range(node.level - 1):
            folder = os.path.dirname(folder)
        return os.path.join(folder, *parts) + ".py"
    try:
        return os.path.join(package_folder(parts[0]), *parts[1:]) + ".py"
    except ConfigFileError as error:
        raise ConfigFileError(error.message, file=file, line=node.lineno) from error


def package_folder(name: str) -> str:
    """Return where an installed package lies, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec(name) if name.isidentifier() and name not in _FORBIDDEN else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigFileError(f"a base lies in the package {name!r}, which is not installed")
    return next(iter(spec.submodule_search_locations))
