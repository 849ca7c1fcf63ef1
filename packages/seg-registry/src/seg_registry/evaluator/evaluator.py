"""The evaluator of Python configs: statements over the syntax tree, in a namespace of plain values."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from seg_registry.errors import ConfigError, ConfigSyntaxError, LimitError, UnsafeConfigError
from seg_registry.evaluator.calls import BUILTINS, to_str
from seg_registry.suggest import did_you_mean
from seg_registry.values.budget import Budget
from seg_registry.values.config_dict import ConfigDict, to_config_dict, wrap
from seg_registry.values.marked_dict import DottedName, Marked, MarkedDict, is_index
from seg_registry.values.origins import Chain, chain_of

__all__ = [
    "CONTAINERS",
    "HANDLERS",
    "MODULE_NAME",
    "Evaluator",
    "Handler",
    "describe",
    "eval_holder",
    "kind_name",
    "parse_python",
    "read_attribute",
    "read_item",
    "refuse",
]

_STEPS = (ast.Attribute, ast.Subscript)  # made once: `A | B` inside a call is made anew each time
MODULE_NAME = "builtins"  # what `__name__` is in a config that MMEngine executes


def parse_python(source: str, file: str) -> ast.Module:
    """Return the syntax tree of a config file; whatever the parser raises becomes an error of this package."""
    try:
        return ast.parse(source, file)
    except SyntaxError as error:
        raise ConfigSyntaxError(error.msg or "invalid syntax", file=file, line=error.lineno or 1) from error
    except (RecursionError, MemoryError) as error:
        raise LimitError("the file is nested too deeply to be parsed", file=file, line=1) from error
    except ValueError as error:
        raise ConfigSyntaxError(str(error), file=file, line=1) from error


class Evaluator:
    """Evaluates one file.

    Args:
        file: Its path, for origins and errors.
        base: What `_base_` means; without it there is no such name.
        included: What each import inside `with read_base():` may take from.
        placeholders: Names that stand for `{{_base_.x}}` templates, with their paths in the base.
        origins: Whether the values get to know where they come from.
    """

    def __init__(
        self,
        file: str,
        *,
        base: MarkedDict | None = None,
        included: Mapping[ast.ImportFrom, MarkedDict] | None = None,
        placeholders: Mapping[str, str] | None = None,
        origins: bool = True,
    ) -> None:
        self.file = file
        self.base = base
        self.base_copy: ConfigDict | None = None
        self.included = included or {}
        self.placeholders = placeholders or {}
        self.origins = origins
        self.names: dict[str, Any] = {}
        self.lines: dict[str, Any] = {}
        self.imported: dict[str, DottedName] = {}
        self.notes: list[tuple[int, str]] = []
        self.literal: MarkedDict | None = None
        self.budget = Budget()
        self.line = 1
        self._costs: dict[int, int] = {}

    def run(self, tree: ast.Module) -> MarkedDict:
        """Evaluate every statement; the result holds the names that the file leaves behind, with their marks."""
        try:
            self.block(tree.body)
        except ConfigError as error:
            if error.file is not None:
                raise
            raise type(error)(error.message, file=self.file, line=_line_of(error, self.line)) from error.__cause__
        except (RecursionError, MemoryError) as error:
            raise LimitError("values are nested too deeply", file=self.file, line=self.line) from error
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise ConfigError(message, file=self.file, line=_line_of(error, self.line)) from error
        return self.result()

    def result(self) -> MarkedDict:
        """Return the names bound so far as a dict; private double underscores, imports and `_base_` are left out."""
        names = {name: value for name, value in self.names.items() if self._kept(name)}
        marks = {name: self.lines[name] for name in names} if self.origins else {}
        result = MarkedDict(names, file=self.file, marks=marks)
        if self.literal is not None:
            result.update(self.literal)
            marks.update(self.literal._marks_)
        return result

    def _kept(self, name: str) -> bool:
        return not name.startswith("__") and name != "_base_" and name not in self.imported

    def eval(self, node: ast.expr) -> Any:
        """Return the value of an expression."""
        return HANDLERS[node.__class__](self, node)

    def block(self, statements: list[ast.stmt]) -> None:
        """Evaluate statements in order."""
        for statement in statements:
            self.line = statement.lineno
            HANDLERS[statement.__class__](self, statement)

    def bind(self, name: str, value: object, line: object = None) -> None:
        """Bind a name."""
        if name.startswith("__"):
            raise refuse(f"assignment to {name}")
        self.names[name] = value
        self.lines[name] = self.line if line is None else line
        self.imported.pop(name, None)

    def mark(self, node: ast.expr) -> Any:
        """Return the mark of a value: its line, or, for one read from a name, that name's chain and this place."""
        if node.__class__ is ast.Name:
            before = self.lines.get(node.id, ())
            chain: Chain = ((self.file, before),) if type(before) is int else before
            return (*chain, (self.file, node.lineno, node.id))
        if isinstance(node, _STEPS) and self.origins and _is_path(node):
            key = node.attr if isinstance(node, ast.Attribute) else self.eval(node.slice)
            holder = eval_holder(self, node.value)
            if isinstance(holder, Marked):
                return self.mark_of_item(holder, key, node)
        return node.lineno

    def mark_of_item(self, table: object, key: object, node: ast.expr) -> Any:
        """Return the mark of a value taken out of a dict."""
        before = chain_of(table, key)
        return (*before, (self.file, node.lineno, _shown(node))) if before else node.lineno

    def cost(self, node: ast.AST) -> int:
        """Return how many nodes one round of a loop evaluates."""
        if id(node) not in self._costs:
            self._costs[id(node)] = sum(1 for _ in ast.walk(node))
        return self._costs[id(node)]

    def changed(self, target: object, node: ast.expr, args: list[Any], kwargs: Mapping[Any, object]) -> None:
        """Pay for the new size after a change in place (a value that contains itself never ends); marks follow."""
        self.budget.spend_on(target)
        if not self.origins or not isinstance(target, MarkedDict):
            return
        marks = dict(target._marks_)
        for each in (*args, kwargs):
            if isinstance(each, dict):
                for key in each:
                    new = chain_of(each, key) or ((self.file, node.lineno),)
                    marks[key] = chain_of(target, key) + new
        target._marks_ = marks
        target._file_ = self.file

    def missing_name(self, name: str) -> Any:
        """Return the value of a name that the file did not bind: `_base_`, a template, or an error."""
        if name in self.placeholders:
            return wrap(self.base_at(self.placeholders[name]))
        if name in ("__file__", "__name__"):
            return self.file if name == "__file__" else MODULE_NAME
        if name == "_base_" and self.base is not None:
            if self.base_copy is None:
                self.base_copy = to_config_dict(self.base)  # this file may change it, so it gets a copy of its own
            return self.base_copy
        if name in BUILTINS or name.startswith("__"):
            raise refuse(f"the name {name} as a value")
        raise NameError(f"name {name!r} is not defined; {did_you_mean(name, [*self.names, *BUILTINS])}")

    def base_at(self, path: str) -> Any:
        """Return the value of `{{_base_.path}}`."""
        value = self.missing_name("_base_")
        for step in path.split("."):
            index = isinstance(value, list | tuple)
            value = read_item(value, int(step)) if index and is_index(step) else read_attribute(value, step)
        return value

    def filled(self, value: str) -> Any:
        """Replace the templates in a string: by the value itself where the string is nothing but the template."""
        for name, path in self.placeholders.items():
            if value in (name, f"'{name}'", f'"{name}"'):
                return self.base_at(path)
            if name in value:
                shown = to_str(self.base_at(path), self.budget)
                self.budget.spend_on_text(len(value) + value.count(name) * len(shown))
                value = value.replace(name, shown)
        return value


def _shown(node: ast.AST) -> str:
    """Return the name that an expression begins with, and the last part of it."""
    last = node.attr if isinstance(node, ast.Attribute) else ""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    name = node.id if isinstance(node, ast.Name) else "**"
    return f"{name}...{last}" if last else name


def _is_path(node: ast.expr) -> bool:
    """Tell whether an expression is a name and steps into it, so that evaluating it once more changes nothing."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant | ast.Name):
            return False
        node = node.value
    return isinstance(node, ast.Name)


def _line_of(error: BaseException, default: int) -> int:
    """Return the line of the innermost node being evaluated when the error was raised."""
    line, step = default, error.__traceback__
    while step is not None:
        node = step.tb_frame.f_locals.get("node")
        if isinstance(node, ast.expr):
            line = getattr(node, "lineno", line)
        step = step.tb_next
    return line


Handler = Callable[[Evaluator, Any], Any]


CONTAINERS = frozenset({list, tuple, dict, MarkedDict, ConfigDict, set})


class _Handlers(dict[type[ast.AST], Handler]):
    """Node class -> handler; a class without one is a construct that is not evaluated."""

    def __missing__(self, kind: type[ast.AST]) -> Handler:
        def refused(ev: Evaluator, node: ast.AST) -> None:
            raise refuse(describe(kind))

        return refused


HANDLERS = _Handlers()
"""What evaluates each class of node: `expressions` and `statements` register theirs when the package is imported."""


_WORDS = {
    "AsyncFunctionDef": "async def",
    "ClassDef": "class",
    "FunctionDef": "def",
    "GeneratorExp": "a generator outside a call",
    "Lambda": "lambda",
    "NamedExpr": ":=",
}


def describe(kind: type[ast.AST]) -> str:
    """Return a node class in the words of somebody who writes Python."""
    word = _WORDS.get(kind.__name__, kind.__name__.lower())
    return f"the {'statement' if issubclass(kind, ast.stmt) else 'expression'} '{word}'"


def kind_name(value: object) -> str:
    """Return the type of a value as users know it."""
    return "dict" if isinstance(value, dict) else type(value).__name__


def refuse(what: str) -> UnsafeConfigError:
    """Return the error for a construct that is not evaluated."""
    return UnsafeConfigError(
        f"{what} is not allowed in a config, which is data: loading it runs nothing. If you trust this file: "
        "Config.fromfile(path, trusted=True), or --trust-config on the command line"
    )


def eval_holder(ev: Evaluator, node: ast.expr) -> Any:
    """Evaluate what an attribute or item is read from or written to; of a base, only the part taken is paid for."""
    if isinstance(node, ast.Attribute):
        return read_attribute(eval_holder(ev, node.value), node.attr)
    if isinstance(node, ast.Subscript):
        return read_item(eval_holder(ev, node.value), ev.eval(node.slice))
    if isinstance(node, ast.Name) and node.id == "_base_":
        return ev.missing_name(node.id)  # a part of it is paid for, not the whole
    return ev.eval(node)


def read_attribute(value: object, name: str) -> Any:
    """Return `value.name`, where the value is a dict or the dotted name of an import."""
    if name.startswith("__"):
        raise refuse(f"the attribute {name}")
    if isinstance(value, Marked):
        if name not in value:
            ConfigDict.__missing__(ConfigDict(dict.fromkeys(value)), name)
        return value[name]
    if type(value) is DottedName:
        return DottedName(f"{value}.{name}")
    raise refuse(f"the attribute {name!r} of {type(value).__name__}")


def read_item(value: object, key: Any) -> Any:
    """Return `value[key]`, where the value is a plain container."""
    if not isinstance(value, str | bytes | list | tuple | dict | range) or type(value) is DottedName:
        raise TypeError(f"{type(value).__name__} has no items")
    if type(value) is MarkedDict and key not in value:
        ConfigDict.__missing__(ConfigDict(dict.fromkeys(value)), key)
    return value[key]
