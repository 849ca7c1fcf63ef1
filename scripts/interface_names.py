"""Public names, signatures and Protocols of a package, read from its source by griffe; nothing is imported.

Each is one line: the dotted name, and its text. A method that a class has from another public class stands at that one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import griffe

Lines = dict[str, str]
LEFT_OUT = {"__all__", "__doc__", "__post_init__", "__repr__", "__slots__", "__str__", "__version__"}
LONGEST = 60
"""Characters of a value that is shown; a longer one is a table, which is no promise."""


class Source:
    """The source of one package as griffe reads it.

    Args:
        package: Its name, `seg_optim`.
        paths: Folders that hold it and those beside it.
    """

    def __init__(self, package: str, paths: Iterable[Path]) -> None:
        self.package = package
        self.loader = griffe.GriffeLoader(search_paths=[str(path) for path in paths], allow_inspection=False)
        self.tree: Any = self.loader.load(package)

    def find(self, path: str) -> Any:
        """Return what has a dotted path, behind every import; None for what lies in other packages."""
        module, _, name = path.rpartition(".")
        try:
            holder = self.loader.modules_collection[module] if module else None
            if holder is not None and holder.is_module and name in holder.imports and holder.imports[name] != path:
                return self.find(holder.imports[name])
            found = self.loader.modules_collection[path]
            return found.final_target if found.is_alias else found
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None

    def modules(self) -> Iterator[Any]:
        """Yield every module of the package."""
        waiting = [self.tree]
        while waiting:
            module = waiting.pop()
            yield module
            waiting += [each for each in module.members.values() if not each.is_alias and each.is_module]


def public_modules(source: Source, documents: Iterable[Path]) -> list[str]:
    """Return the package, its `protocols`, and the modules that its documents import from."""
    found = {source.package, f"{source.package}.protocols"}
    written = re.compile(rf"^\s*(?:from|import) ({source.package}(?:\.\w+)+)", re.MULTILINE)
    for path in documents:
        found.update(written.findall(path.read_text(encoding="utf-8")))
    modules = {module.path for module in source.modules()}
    return sorted(found & modules)


def public_names(source: Source, modules: Iterable[str]) -> Lines:
    """Return a line for each name in `__all__` of these modules, and for each public member of its classes."""
    paths = [
        f"{module}.{name}" for module in modules for name in source.loader.modules_collection[module].exports or ()
    ]
    objects = {path: source.find(path) for path in paths if path.rpartition(".")[2] not in LEFT_OUT}
    listed = {each.path for each in objects.values() if each is not None}
    lines: Lines = {}
    for path, each in objects.items():
        if each is None:
            lines[path] = "from another package"
        elif not is_protocol(each):
            lines |= describe(path, each, listed)
    return lines


def describe(path: str, each: Any, listed: Iterable[str] = ()) -> Lines:
    """Return the line of one name; of a class also its public members, but for those of the classes in `listed`."""
    if not each.is_class:
        return {path: text_of(each)}
    lines = {path: f"class ({', '.join(map(str, each.bases))})"}
    for name, member in each.all_members.items():
        target = member.final_target if member.is_alias else member
        inherited = target.parent is not each and target.parent.path in listed
        if not inherited and name not in LEFT_OUT and (not name.startswith("_") or name.endswith("__")):
            lines[f"{path}.{name}"] = text_of(target)
    return lines


def text_of(each: Any) -> str:
    """Return what is to be known of a function, property, attribute or module in one line."""
    if each.is_function:
        kind = next((word for word in ("classmethod", "staticmethod") if word in each.labels), "def")
        return f"{kind} {each.signature(name='_').removeprefix('_')}"
    if not each.is_attribute:
        return str(each.kind.value)
    if "property" in each.labels or "cached" in each.labels:
        return f"{'writable ' if 'writable' in each.labels else ''}property: {each.annotation}"
    text = "attribute" if each.annotation is None else f"attribute: {each.annotation}"
    fixed = "instance-attribute" not in each.labels and each.value is not None
    return f"{text} = {each.value}" if fixed and len(str(each.value)) <= LONGEST else text


def is_protocol(each: Any) -> bool:
    """Tell whether a class is a Protocol: one of its bases is that word."""
    return bool(each.is_class) and any(re.fullmatch(r"Protocol(\[.*\])?", str(base)) for base in each.bases)


def protocols(source: Source, named: Iterable[str]) -> Lines:
    """Return the Protocols at which packages meet: what a part of this one asks of objects that others give.

    They are those of `protocols.py`, those that `tests/typing` names, and what a class says it takes, as the hooks do
    (`class EMAHook(Hook[_Runner])`). Other Protocols stand between modules of one package.
    """
    every = {each.path: each for module in source.modules() for each in _classes(module) if is_protocol(each)}
    asked = {path for path in every if path.startswith(f"{source.package}.protocols.")} | (set(named) & set(every))
    for module in source.modules():
        for each in _classes(module):
            words = re.findall(r"\w+", " ".join(str(base).partition("[")[2] for base in each.bases))
            asked |= {f"{module.path}.{word}" for word in words} & set(every)
    return {key: line for path in sorted(asked) for key, line in describe(path, every[path], asked).items()}


def _classes(module: Any) -> Iterator[Any]:
    yield from (each for each in module.members.values() if not each.is_alias and each.is_class)


def imported_by(folder: Path) -> set[str]:
    """Return the dotted names that the files of a folder import."""
    found = set()
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{each.name}" for each in node.names}
    return found
