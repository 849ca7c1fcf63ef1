"""An example of each registered name, taken from where it is used: documents, examples, the demo, docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from projects import ROOT

PLACES = ("docs/*.md", "docs/tutorial/**/*.*", "packages/*/README.md", "README.md", "CHANGELOG.md", "examples/**/*.py")
SOURCES = ("src/**/*.py", "packages/*/src/**/*.py")  # the demo's configs, and docstrings

BEGIN = re.compile(r"\b[A-Za-z]\w*\(")
Call = Mapping[str, Any]


class Name(str):
    """What stands in a config as it is: a name that is given elsewhere, such as `train_pipeline`."""


def texts(patterns: tuple[str, ...]) -> Iterator[str]:
    """Yield the text of each of these files."""
    for path in (path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()):
        yield path.read_text(encoding="utf-8", errors="replace")


def calls_of(text: str) -> Iterator[str]:
    """Yield each call in a text, in code, in a document's code and in a docstring alike."""
    for found in BEGIN.finditer(text):
        depth = 0
        for end in range(found.end() - 1, min(len(text), found.end() + 1500)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if not depth:
                yield text[found.start() : end + 1]
                break


def calls_in(text: str) -> Iterator[Call]:
    """Yield each `dict(type="...", ...)`, `dict(constructor="...", ...)` and `Part(...)` that has only plain values."""
    for call in calls_of(text):
        try:
            node = ast.parse(call, mode="eval").body
        except (SyntaxError, ValueError):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = {word.arg: value(word.value) for word in node.keywords}
            if None in values or ... in values.values():
                continue
            if node.func.id != "dict":  # the part itself is called
                yield {"type": node.func.id} | values
            elif not node.args and any(isinstance(values.get(key), str) for key in ("type", "constructor")):
                yield values


def value(node: ast.expr) -> Any:
    """Return what an expression of plain values says, `dict(...)` among them; `...` for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        inner = {word.arg: value(word.value) for word in node.keywords}
        return ... if None in inner or ... in inner.values() else inner
    if isinstance(node, ast.List | ast.Tuple):
        parts = [value(part) for part in node.elts]
        return ... if ... in parts else parts if isinstance(node, ast.List) else tuple(parts)
    if isinstance(node, ast.Name) and node.id.endswith("_pipeline"):
        return Name(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...


@cache
def used() -> dict[str, list[tuple[int, Call]]]:
    """Return the calls in which each name is used; the first number is 1 for those of sources, which come last."""
    found: dict[str, list[tuple[int, Call]]] = {}
    for rank, patterns in enumerate((PLACES, SOURCES)):
        for text in texts(patterns):
            for call in calls_in(text):
                for key in ("constructor", "type"):
                    found.setdefault(str(call.get(key)), []).append((rank, call))
    return found


def example(name: str, takes: set[str], needs: set[str], key: str = "type") -> Call | None:
    """Return the call that shows a name best: it has what the name needs, one to three more options, and is short."""
    fitting = [
        (rank, call)
        for rank, call in used().get(name, ())
        if call.get(key) == name
        and needs <= set(call)
        and "_delete_" not in call
        and (key != "type" or set(call) - {"type"} <= takes)
    ]
    documents_first = sorted(fitting, key=lambda one: (one[0], *cost(one[1], needs)))
    return documents_first[0][1] if documents_first else None


def cost(call: Call, needs: set[str]) -> tuple[bool, int, int]:
    """Return what makes an example worse: to show no option, to show many, to be long."""
    more = len(set(call) - needs) - 1
    return (not needs and not more, abs(more - 2) if more > 2 else 0, len(written(call)))


def written(given: Any) -> str:
    """Return a value as a config has it.

    >>> written({"type": "SGD", "lr": 0.1, "x": [{"type": "A"}]})
    'dict(type="SGD", lr=0.1, x=[dict(type="A")])'
    """
    if isinstance(given, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in given):
        return f"dict({', '.join(f'{key}={written(one)}' for key, one in given.items())})"
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{written(key)}: {written(one)}" for key, one in given.items()) + "}"
    if isinstance(given, list):
        return f"[{', '.join(map(written, given))}]"
    if isinstance(given, tuple):
        return f"({', '.join(map(written, given))}{',' if len(given) == 1 else ''})"
    if isinstance(given, Name):
        return str(given)
    if isinstance(given, str) and '"' not in given:
        return '"' + repr(given)[1:-1] + '"'
    return repr(given)
