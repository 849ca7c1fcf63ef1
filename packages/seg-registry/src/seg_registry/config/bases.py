"""Which files a config builds on: the value of `_base_`, the paths that it names, and what they say together."""

from __future__ import annotations

import ast
import os
from typing import Any

from seg_registry.errors import ConfigError, ConfigFileError, ConfigKeyError, ConfigTypeError
from seg_registry.evaluator.evaluator import Evaluator
from seg_registry.evaluator.imports import package_folder
from seg_registry.values.budget import Budget
from seg_registry.values.draft import Draft
from seg_registry.values.origins import Mark, chain_of

__all__ = ["base_of_module", "checked", "paths", "scope_of", "union"]


def base_of_module(tree: ast.Module, file: str) -> tuple[list[str], int, list[tuple[int, str]]]:
    """The `_base_` entries of a syntax tree, the line they stand on, and remarks on those that do not count."""
    entries: list[str] | None = None
    at, notes = 1, []
    for place, statement in enumerate(tree.body):
        if not _sets_base(statement):
            continue
        if entries is not None:
            notes.append((statement.lineno, "a second _base_ is not taken; the first one counts"))
            continue
        at = statement.lineno
        entries = checked(_value(statement, tree.body[:place], file), file, at)
    unseen = "_base_ inside if or for, or as one of several targets, is not taken as a base"
    notes += [(node.lineno, unseen) for node in _hidden(tree)]
    return entries or [], at, notes


def _sets_base(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and any(
        target.__class__ is ast.Name and target.id == "_base_" for target in statement.targets
    )


def _hidden(tree: ast.Module) -> list[Any]:
    """Assignments to `_base_` that are not seen: inside a block, or as one of several targets."""
    blocks = [each for each in tree.body if isinstance(each, ast.If | ast.For)]
    inside = [each for block in blocks for each in ast.walk(block) if isinstance(each, ast.stmt) and _sets_base(each)]
    several = [target for each in tree.body if isinstance(each, ast.Assign) for target in each.targets]
    several = [target for target in several if isinstance(target, ast.Tuple | ast.List)]
    return inside + [each for target in several for each in ast.walk(target) if getattr(each, "id", "") == "_base_"]


def _value(statement: Any, before: list[ast.stmt], file: str) -> Any:
    """`_base_` is read before anything else; where its value uses names, so are the statements above it."""
    used = _names(statement.value, ast.Load) - _names(statement.value, ast.Store)
    made = {name for each in before for name in _names(each, ast.Store)}
    found = ast.copy_location(ast.Assign([ast.Name("base", ast.Store())], statement.value), statement)
    module = ast.Module([*(before if used & made else ()), found], [])
    try:
        return Evaluator(file, origins=False).run(module)["base"]
    except ConfigError as error:
        if error.line != statement.lineno:
            raise
        raise type(error)(f"in _base_: {error.message}", file=file, line=error.line) from error


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def checked(value: Any, file: str, line: int) -> list[str]:
    """The entries of a `_base_` value as a list."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(each, str) for each in entries):
        raise ConfigTypeError(f"_base_ must be a path or a list of paths, got {value!r}", file=file, line=line)
    return list(entries)


def paths(entries: list[str], file: str, line: int) -> list[str]:
    """Absolute paths of the entries: relative ones start at the folder of the file, `package::path` in a package."""
    folder = os.path.dirname(file)
    return [
        _in_package(entry, file, line) if "::" in entry else os.path.normpath(os.path.join(folder, entry))
        for entry in entries
    ]


def _in_package(entry: str, file: str, line: int) -> str:
    name, _, inside = entry.partition("::")
    if "::" in inside or not inside:
        raise ConfigError(f"{entry!r} is not of the form package::path/inside.py", file=file, line=line)
    try:
        folder = package_folder(name)
    except ConfigFileError as error:
        raise ConfigFileError(f"{entry!r}: {error.message}", file=file, line=line) from error
    tried = [os.path.join(folder, *place, inside) for place in ((".mim", "configs"), ("configs",), ())]
    for path in tried:
        if os.path.isfile(path):
            return path
    raise ConfigFileError(f"{entry!r} is none of: {', '.join(tried)}", file=file, line=line)


def scope_of(entry: str) -> str:
    """The package of a `package::path` entry, '' for a plain path."""
    return entry.partition("::")[0] if "::" in entry else ""


def union(parts: list[Any], budget: Budget, file: str, line: int) -> Any:
    """Several bases side by side; a top-level key in two of them is an error that shows both, unless they are equal.

    Equal are the keys of a base that is reached by two ways.
    """
    if len(parts) == 1:
        return parts[0]
    result = Draft(file=file)
    marks: dict[Any, Any] = {}
    for part in parts:
        doubled = [key for key in part if key in result and not _equal(part[key], result[key], budget)]
        if doubled:
            _refuse_doubled(doubled, result, marks, part, file, line)
        for key in part:
            if key not in result:
                result[key] = part[key]
                marks[key] = chain_of(part, key)
    result._marks_ = marks
    return result


def _equal(one: Any, other: Any, budget: Budget) -> bool:
    if one is other:
        return True
    from seg_registry.config.diff import diff  # for the few configs that need it

    budget.spend(budget.spend_on(one) + budget.spend_on(other))
    return not diff(one, other)


def _refuse_doubled(keys: list[Any], so_far: Any, marks: dict[Any, Any], part: Any, file: str, line: int) -> None:
    key = keys[0]
    places = [Mark(*chain[-1]) for chain in (marks.get(key, ()), chain_of(part, key)) if chain]
    shown = " and ".join(str(place) for place in places)
    names = ", ".join(repr(each) for each in keys)
    raise ConfigKeyError(
        f"two bases set the same top-level key {names} to different values{f' ({shown})' if shown else ''}; "
        "keep it in one of them",
        file=file,
        line=line,
    )
