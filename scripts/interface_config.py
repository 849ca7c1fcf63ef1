"""Entry points, config keys and command-line options of a package, asked of the package itself."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any, get_type_hints

from interface_names import Lines, Source

Points = Mapping[str, Mapping[str, str]]
"""Group -> name -> `module:object`, as `pyproject.toml` has them."""


def entry_points(points: Points) -> Lines:
    """Return a line for each entry point."""
    return {f"{group}.{name}": target for group, names in points.items() for name, target in names.items()}


def config_keys(package: str, points: Points) -> Lines:
    """Return the arguments of all that a config can name: a line for each entry point of ours, its call's signature.

    Options that a class hands on are listed too: those of a `TypedDict`, else those of the class above it. Arguments of
    torch's and other libraries' parts are theirs; each argument of a Runner has a line of its own.
    """
    lines = {}
    for group, names in points.items():
        kind = group.rpartition(".")[2]
        for name, target in names.items():
            module, _, attribute = target.partition(":")
            if module.partition(".")[0] == package:
                found = getattr(importlib.import_module(module), attribute)
                lines[f"{kind}.{name}"] = written(inspect.signature(found) if kind == "runners" else signature(found))
    return lines | (runner_keys() if "seg_engine.runners" in points else {})


def signature(part: Any) -> inspect.Signature:
    """Return what a call takes, with the options that it hands on, by name."""
    found = inspect.signature(part)
    parameters = {each.name: each for each in found.parameters.values()}
    for rest in [each for each in parameters.values() if each.kind is each.VAR_KEYWORD]:
        more = _of_table(part, rest) if str(rest.annotation).startswith("Unpack[") else _of_class_above(part, rest)
        if more is not None:
            del parameters[rest.name]
            new = sorted((each for each in more if each.name not in parameters), key=lambda each: each.kind)
            parameters |= {each.name: each for each in new}
    return found.replace(parameters=list(parameters.values()))


def _of_table(part: Any, rest: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the options of `**rest: Unpack[Table]`; their defaults stand elsewhere."""
    maker = next(each for each in part.__mro__ if "__init__" in vars(each))
    table = getattr(sys.modules[maker.__module__], str(rest.annotation)[len("Unpack[") : -1])
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(key, kind, default=..., annotation=annotation_of(table, key)) for key in get_type_hints(table)
    ]


def _of_class_above(part: Any, rest: inspect.Parameter) -> list[inspect.Parameter] | None:
    """Return what the class above takes by name; None where the rest is anybody's, or is left out."""
    above = [each for each in getattr(part, "__mro__", ())[1:] if "__init__" in vars(each)][:1]
    if (
        rest.name == "ignored"
        or not above
        or "__init__" not in vars(part)
        or not above[0].__module__.startswith("seg_")
    ):
        return None
    keyword = inspect.Parameter.KEYWORD_ONLY
    given = signature(above[0]).parameters.values()
    return [each if each.kind is each.VAR_KEYWORD else each.replace(kind=keyword) for each in given]


def annotation_of(table: type, key: str) -> str:
    """Return the type of a row of a `TypedDict` as it is written there, without what `Annotated` adds."""
    owner = next(
        each for each in (table, *getattr(table, "__orig_bases__", ())) if key in inspect.get_annotations(each)
    )
    found = inspect.get_annotations(owner)[key]
    tree = ast.parse(str(getattr(found, "__forward_arg__", found)), mode="eval").body
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == "Annotated" and isinstance(tree.slice, ast.Tuple):
        tree = tree.slice.elts[0]
    return ast.unparse(tree)


def written(call: inspect.Signature) -> str:
    """Return the arguments of a call as the source would have them."""
    parts = [
        each.replace(
            annotation=each.annotation if each.annotation is each.empty else Shown(str(each.annotation)),
            default=each.default if each.default is each.empty else Shown(shown(each.default)),
        )
        for each in call.parameters.values()
    ]
    return str(call.replace(parameters=parts, return_annotation=inspect.Signature.empty))


class Shown:
    """A text that is printed as it stands, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def shown(value: object) -> str:
    """Return a default as the source would have it, without addresses in memory."""
    if isinstance(value, type | types.FunctionType):
        return value.__qualname__
    return "..." if value is ... else repr(value)


def runner_keys() -> Lines:
    """Return the top-level keys of a config that a Runner reads, with types and defaults, and its default hooks."""
    table = importlib.import_module("seg_runner.assembly.arguments")
    defaults = importlib.import_module("seg_runner.hooks.defaults")
    slots = defaults.DEFAULT_HOOKS
    lines = {f"config.{key}": "no effect" for key in defaults.WITHOUT_EFFECT}
    lines |= {f"config.{key}": "read" for key in table.ALSO}
    for key in table.CONFIG_KEYS:
        place = f"{table.OWN}.{key}" if key in table.OWN_KEYS else key
        lines[f"config.{place}"] = f"{annotation_of(table.Arguments, key)} = {shown(table.DEFAULTS[key])}"
    return lines | {f"config.default_hooks.{slot}": str(hook["type"]) for slot, hook in slots.items()}


def commands(source: Source) -> Lines:
    """Return the options of each command: of every parser that a function of the package makes."""
    lines: Lines = {}
    for module in source.modules():
        for each in module.members.values():
            if (
                not each.is_alias
                and each.is_function
                and str(each.returns) == "argparse.ArgumentParser"
                and not len(each.parameters)
            ):
                made = getattr(importlib.import_module(module.path), each.name)()
                lines |= dict(_options(made))
    return lines


def _options(parser: argparse.ArgumentParser) -> Any:
    """Yield each option of a parser, and of those of its verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _options(verb)
        elif not isinstance(action, argparse._HelpAction):
            name = "/".join(action.option_strings) or action.dest
            yield f"{parser.prog} {name}", _facts(action)


def _facts(action: argparse.Action) -> str:
    facts = {"nargs": action.nargs, "choices": action.choices, "default": action.default}
    shown = [
        f"{key}={list(value) if key == 'choices' else value!r}" for key, value in facts.items() if value is not None
    ]
    required = ["required"] if action.required else []
    return ", ".join([type(action).__name__.strip("_").removesuffix("Action").lower(), *required, *shown])
