"""What stands in a file of Python code: imports, names it uses, what it registers, what it reads off the runner."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seg_engine.migrate.tree import text_of

__all__ = ["Code", "Used", "parse", "read_code"]

RUNNERS = ("runner", "_runner")
"""Names of variables and attributes that hold the runner in hooks, loops and metrics."""


@dataclass(frozen=True)
class Used:
    """A dotted name that is imported or used, and where; `guarded` where a failing import is caught.

    Of an import, `module` is what must be a module: in `from a import b`, `b` may be anything.
    """

    name: str
    line: int
    module: str = ""
    imported: bool = False
    guarded: bool = False
    called: bool = False


@dataclass
class Code:
    """One file of Python.

    Attributes:
        path: The file.
        tree: Its syntax tree.
        used: What it imports, and dotted names below what it imported.
        registered: Name -> line of what it registers in a registry.
        reads: (names behind `runner`, line) of what it reads off the runner.
        gives: Names that it assigns to the runner.
        own: Names that its classes assign to themselves.
    """

    path: Path
    tree: ast.Module
    used: list[Used] = field(default_factory=list)
    registered: dict[str, int] = field(default_factory=dict)
    reads: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    gives: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)

    def imports(self, *packages: str) -> bool:
        """Tell whether anything of these packages is imported."""
        return any(each.imported and each.name.partition(".")[0] in packages for each in self.used)


def parse(data: bytes, name: str) -> ast.Module:
    """Return the syntax tree of a file, whoever wrote it.

    Raises:
        SyntaxError: it is no Python, or Python of another version.
        ValueError: it is no text, or is nested deeper than anybody writes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in a text are no matter of ours
            return ast.parse(data, name)
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply") from error


def read_code(path: Path, package: str = "") -> Code:
    """Return what stands in a file; nothing of it is run.

    Args:
        path: The file.
        package: The package that it lies in, for relative imports.

    Raises:
        OSError: it cannot be read.
        SyntaxError: it is no Python.
        ValueError: it is no text, too large, or nested too deeply.
    """
    code = Code(path, parse(text_of(path), str(path)))
    guarded = {id(node) for node in guarded_nodes(code.tree)}
    names: dict[str, str] = {}
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for bound, name in imported(node, package):
                names[bound] = name
                module = name if isinstance(node, ast.Import) or node.names[0].name == "*" else name.rpartition(".")[0]
                code.used.append(Used(name, node.lineno, module, imported=True, guarded=id(node) in guarded))
    inner = {id(node.value) for node in ast.walk(code.tree) if isinstance(node, ast.Attribute)}
    calls = {id(node.func) for node in ast.walk(code.tree) if isinstance(node, ast.Call)}
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            take_path(code, node, names, called=id(node) in calls)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            code.registered |= dict.fromkeys(registered_as(node), node.lineno)
    return code


def guarded_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what stands in a `try` that catches something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.handlers:
            for each in node.body:
                yield from ast.walk(each)


def imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """Yield the names that an import binds, and the dotted name of each.

    >>> list(imported(ast.parse("from .a import b as c").body[0], "pkg"))
    [('c', 'pkg.a.b')]
    """
    if isinstance(node, ast.Import):
        for each in node.names:
            yield (each.asname or each.name.partition(".")[0], each.name)
        return
    parts = package.split(".") if package else []
    above = parts[: len(parts) - node.level + 1] if node.level else []
    module = ".".join([*above, *([node.module] if node.module else [])])
    for each in node.names:
        yield (each.asname or each.name, f"{module}.{each.name}" if each.name != "*" else module)


def take_path(code: Code, node: ast.Attribute | ast.Name, names: dict[str, str], called: bool) -> None:
    """Take the dotted path that ends at a node: below an imported name, the runner or `self`."""
    first, rest = path_of(node)
    if not first:
        return
    stored = isinstance(node.ctx, ast.Store)
    behind = behind_runner([first, *rest])
    if behind and not stored:
        code.reads.append((tuple(behind), node.lineno))
    elif behind:
        code.gives.add(behind[0])
    elif stored and first == "self" and len(rest) == 1:
        code.own.add(rest[0])
    elif first in names and (rest or called):
        top = names[first] if names[first].partition(".")[0] != first else first
        code.used.append(Used(".".join([top, *rest]), node.lineno, called=called))


def path_of(node: ast.expr) -> tuple[str, list[str]]:
    """Return the name that an expression such as `a.b.c` begins with, and what follows.

    >>> path_of(ast.parse("a.b.c", mode="eval").body), path_of(ast.parse("a().b", mode="eval").body)
    (('a', ['b', 'c']), ('', []))
    """
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, names[::-1]) if isinstance(node, ast.Name) else ("", [])


def behind_runner(path: list[str]) -> list[str]:
    """Return the names behind the runner in a path; none where it does not go through one.

    >>> behind_runner(["runner", "iter"]), behind_runner(["self", "runner", "model", "x"]), behind_runner(["a", "b"])
    (['iter'], ['model', 'x'], [])
    """
    if path[0] in RUNNERS:
        return path[1:]
    return path[2:] if path[0] == "self" and len(path) > 2 and path[1] in RUNNERS else []


def registered_as(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """Yield the names that a class or function is registered under: by `@REGISTRY.register_module(name=...)`."""
    for each in node.decorator_list:
        if not (isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)):
            continue
        if each.func.attr != "register_module":
            continue
        given = next((one.value for one in each.keywords if one.arg == "name"), each.args[0] if each.args else None)
        texts = given.elts if isinstance(given, ast.List | ast.Tuple) else [given]
        named = [one.value for one in texts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        yield from named or [node.name]
