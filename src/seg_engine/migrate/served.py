"""Which names code written for MMEngine can read off the runner here, read from our own classes and nowhere else."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from functools import lru_cache

from seg_runner.mmengine.attributes import EVAL_LOOP_INSTEAD, INSTEAD

__all__ = ["instead_of", "missing", "served"]

PARTS = {
    "train_loop": ("loop", ("EpochBasedTrainLoop", "IterBasedTrainLoop")),
    "val_loop": ("loop", ("ValLoop",)),
    "test_loop": ("loop", ("TestLoop",)),
    "log_processor": ("log_processor", ("LogProcessor",)),
}
"""Parts of the runner that are ours whatever the config says of their type: attribute -> kind, names."""


@lru_cache
def served(part: str = "") -> frozenset[str]:
    """Return the names that the runner has, or a part of it; empty for a part that the user's own code may make.

    >>> "message_hub" in served(), "max_iters" in served("train_loop"), served("model")
    (True, True, frozenset())
    """
    if not part:
        from seg_runner import Runner

        return frozenset(names_of(Runner)) - set(INSTEAD)
    if part == "message_hub":
        from seg_runner import MessageHub

        return frozenset(names_of(MessageHub))
    if part not in PARTS:
        return frozenset()
    from seg_registry import builder

    kind, names = PARTS[part]
    found = {name for each in names for name in names_of(builder().get(kind, each))}
    return frozenset(found - set(EVAL_LOOP_INSTEAD))


def instead_of(name: str) -> str:
    """Return what to use in place of a name of MMEngine's that nothing here stands for; empty for another name.

    >>> instead_of("set_randomness"), instead_of("itre")
    ('randomness=dict(seed=...) in the config', '')
    """
    return INSTEAD.get(name) or EVAL_LOOP_INSTEAD.get(name.rpartition(".")[2], "")


def names_of(kind: type) -> Iterator[str]:
    """Yield the attributes of a class and what its methods, and those of its bases, assign to `self`."""
    yield from dir(kind)
    for each in kind.__mro__[:-1]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):  # of a builtin class, or a package without its sources
            continue
        yield from assigned(tree)


def assigned(tree: ast.AST, owner: str = "self") -> Iterator[str]:
    """Yield the names that code assigns to attributes of an object of that name.

    >>> list(assigned(ast.parse("self.a = self.b.c = 1; other.d = 2")))
    ['a']
    """
    for node in ast.walk(tree):
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and isinstance(node.value, ast.Name) and node.value.id == owner:  # type: ignore[attr-defined]
            yield node.attr  # type: ignore[attr-defined]


def missing(path: Iterable[str], own: frozenset[str] = frozenset()) -> tuple[str, list[str]] | None:
    """Return the name in `runner.<path>` that nothing serves, with the names that are there; None where all are.

    Args:
        path: The names behind `runner`, such as ('train_loop', 'max_iters').
        own: Names that the project itself assigns to the runner.

    >>> missing(["train_loop", "max_iters"]) is None, missing(["itre"])[0]
    (True, 'itre')
    """
    first, *rest = path
    if first in own or first.startswith("__"):
        return None
    if first not in served():
        return first, sorted(name for name in served() if not name.startswith("_"))
    known = served(first)
    if rest and known and rest[0] not in known and not rest[0].startswith("__"):
        return f"{first}.{rest[0]}", [f"{first}.{name}" for name in sorted(known)]
    return None
