"""An example of each registered name, taken from where it is used: the documents, the examples, the demo, the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("docs/*.md", "packages/*/README.md", "README.md", "examples/**/*.py", "src/**/*.py", "packages/*/src/**/*.py")
TESTS = ("tests/engine/**/*.py", "tests/journeys/**/*.py", "tests/*/**/*.py")
FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
Call = Mapping[str, Any]


class Name(str):
    """A name that a config gives elsewhere, such as `train_pipeline`."""


def sources(patterns: tuple[str, ...]) -> Iterator[str]:
    """Yield every piece of Python in these files: the files, and the blocks of documents."""
    for path in (path for pattern in patterns for path in sorted(ROOT.glob(pattern))):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from FENCE.findall(text) if path.suffix == ".md" else [text]


def calls_in(source: str) -> Iterator[Call]:
    """Yield each `dict(type="...", ...)` and `dict(constructor="...", ...)` that has nothing but plain values."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, RecursionError, ValueError, MemoryError):  # tests hold such files
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            values = {word.arg: value(word.value) for word in node.keywords}
            plain = None not in values and ... not in values.values()
            if plain and any(isinstance(values.get(key), str) for key in ("type", "constructor")):
                yield values


def value(node: ast.expr) -> Any:
    """Return what an expression of plain values says, `dict(...)` among them; `...` for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        inner = {word.arg: value(word.value) for word in node.keywords}
        return ... if None in inner or ... in inner.values() else inner
    if isinstance(node, ast.Name) and node.id.endswith("_pipeline"):
        return Name(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...


@cache
def used() -> dict[str, list[tuple[int, Call]]]:
    """Return the calls in which each name is used; the first number is 1 for those of tests, which come last."""
    found: dict[str, list[tuple[int, Call]]] = {}
    for rank, patterns in enumerate((PLACES, TESTS)):
        for source in sources(patterns):
            for call in calls_in(source):
                for key in ("constructor", "type"):
                    found.setdefault(str(call.get(key)), []).append((rank, call))
    return found


def example(name: str, takes: set[str], needs: set[str], key: str = "type") -> Call | None:
    """Return the call that shows a name best: it has what the name needs, one to three more options, and is short."""
    fitting = [
        (rank, call)
        for rank, call in used().get(name, ())
        if call.get(key) == name and needs <= set(call) and (key != "type" or set(call) - {"type"} <= takes)
    ]
    tests_last = sorted(fitting, key=lambda one: (one[0], *cost(one[1], needs)))
    return tests_last[0][1] if tests_last else None


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
