"""New-style configs: imports as dotted names that import nothing, and the files that `read_base()` brings in."""

from __future__ import annotations

import ast
import os
import sys

from seg_registry.errors import ConfigError, ConfigFileError
from seg_registry.evaluator.evaluator import Evaluator, refuse
from seg_registry.values.config_dict import wrap
from seg_registry.values.draft import Dotted, Draft
from seg_registry.values.origins import chain_of

__all__ = ["imports", "read_base"]

_PURE = frozenset({"copy"})  # of which the evaluator knows what a config needs
_NEVER = frozenset({"builtins", "pip", "setuptools", "pkg_resources", "_distutils_hack"}) | sys.stdlib_module_names


def imports(ev: Evaluator, node: ast.Import | ast.ImportFrom) -> None:
    """`from a.b import C` binds C to the name 'a.b.C'; `import a.b as m` binds m to 'a.b'."""
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
    if module.split(".")[0] in _NEVER - _PURE:
        raise refuse(f"the import of {module}, which a config never needs,")


def _bind(ev: Evaluator, name: str, dotted: str) -> None:
    ev.bind(name, Dotted(dotted))
    ev.imported[name] = ev.names[name]


def read_base(ev: Evaluator, node: ast.With) -> None:
    """`with read_base(): from .x import *`: the names of other config files become names of this one."""
    call = node.items[0].context_expr
    if len(node.items) != 1 or ast.unparse(call) != "read_base()" or node.items[0].optional_vars is not None:
        raise refuse("a with statement other than 'with read_base():'")
    for statement in node.body:
        ev.line = statement.lineno
        if not isinstance(statement, ast.ImportFrom):
            raise ConfigError("only 'from <config> import <names>' may stand inside 'with read_base():'")
        _take_names(ev, statement)


def _take_names(ev: Evaluator, node: ast.ImportFrom) -> None:
    if ev.include is None:
        raise ConfigError("this text has no file, so it cannot have bases")
    path = _path_of(ev.file, node)
    found = ev.included.get(path)
    if found is None:
        found = ev.included[path] = _own(ev.include(path, node.lineno))
    for each in node.names:
        if each.name != "*" and each.name not in found:
            raise ConfigError(f"the base {path} has no name {each.name!r}")
    wanted = {each.name: each.asname or each.name for each in node.names}
    for key in found if "*" in wanted else wanted:
        _take(ev, found, key, wanted.get(key, key), node.lineno)


def _take(ev: Evaluator, found: Draft, key: str, name: str, line: int) -> None:
    value = found[key]
    ev.bind(name, value, chain_of(found, key) or line)
    if type(value) is Dotted:
        ev.imported[name] = value


def _own(found: Draft) -> Draft:
    """The values of a base as this file's own; imported twice, they are the same objects."""
    values = {key: value if type(value) is Dotted else wrap(value) for key, value in found.items()}
    return Draft(values, file=found._file_, marks=found._marks_)


def _path_of(file: str, node: ast.ImportFrom) -> str:
    parts = node.module.split(".") if node.module else []
    if node.level:
        folder = os.path.dirname(file)
        for _ in range(node.level - 1):
            folder = os.path.dirname(folder)
        return os.path.join(folder, *parts) + ".py"
    return os.path.join(package_folder(parts[0]), *parts[1:]) + ".py"


def package_folder(name: str) -> str:
    """Where an installed package lies, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec(name) if name.isidentifier() and name not in _NEVER else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigFileError(f"a base lies in the package {name!r}, which is not installed")
    return next(iter(spec.submodule_search_locations))
