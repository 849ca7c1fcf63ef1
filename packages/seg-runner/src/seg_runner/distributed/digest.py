"""What must be the same on all ranks: gathered once, and what differs is named, with the ranks that have it so."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from seg_runner.distributed.world import World

__all__ = ["canonical", "compare_ranks", "facts_of_code", "facts_of_model"]

SHOWN = 8
"""Differences in a message."""
LONGEST = 300
"""Letters of a value in a message; of a longer one its hash is compared."""


def compare_ranks(world: World, facts: Mapping[str, object]) -> None:
    """Compare facts over all ranks; called by all. What a rank does not know (None) is not compared.

    Raises:
        ValueError: ranks differ; the same error on all of them.
    """
    own = {name: _short(value) for name, value in facts.items() if value is not None}
    marks = world.gather(hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest())
    if len(set(marks)) == 1:
        return
    lines = differences(world.gather(own))
    if lines:
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise ValueError(
            "the ranks of this run are not the same:\n  " + "\n  ".join(lines[:SHOWN]) + more + "\n"
            "All processes must run the same code with the same config and data (skip_checks=True compares nothing)"
        )


def differences(told: list[dict[str, str]]) -> list[str]:
    """Return a line for each fact that is not the same on all ranks that know it.

    >>> differences([{"torch": "2.13", "a": "1"}, {"torch": "2.12", "a": "1"}, {"torch": "2.13"}])
    ['torch: 2.13 on ranks 0, 2; 2.12 on rank 1']
    """
    lines = []
    for name in dict.fromkeys(name for one in told for name in one):
        having: dict[str, list[int]] = {}
        for rank, one in enumerate(told):
            if name in one:
                having.setdefault(one[name], []).append(rank)
        if len(having) > 1:
            parts = [f"{value} on rank{'s' * (len(ranks) > 1)} {_listed(ranks)}" for value, ranks in having.items()]
            lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def canonical(value: object) -> object:
    """Return a value as plain data that is equal on all ranks where the value means the same.

    Sets are sorted, classes and functions stand by their names, other objects by their class; a path may differ from
    machine to machine.

    >>> canonical({"b": {2, 1}, "a": dict, "c": "/data/city", "d": (1.0, None)})
    {'b': ['1', '2'], 'a': 'builtins.dict', 'c': 'a path', 'd': [1.0, None]}
    """
    if isinstance(value, str):
        return "a path" if "/" in value or "\\" in value else value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, Path):
        return "a path"
    kind = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    return f"{kind.__module__}.{getattr(kind, '__qualname__', kind)}"


def facts_of_model(model: nn.Module) -> dict[str, object]:
    """Return how many parameters a model has, which of them are trained, and their shapes."""
    parameters = list(model.named_parameters())
    learning = [name for name, parameter in parameters if parameter.requires_grad]
    return {
        "parameters of the model": f"{len(parameters)} with {sum(each.numel() for _, each in parameters)} numbers",
        "parameters that are trained": len(learning),
        "names and shapes of parameters": [[name, list(each.shape)] for name, each in parameters],
        "names of trained parameters": learning,
    }


def facts_of_code(objects: list[object]) -> dict[str, object]:
    """Return the contents of the files in which the classes of objects are written, as hashes by class."""
    facts: dict[str, object] = {}
    for each in objects:
        kind = type(each)
        try:
            code = Path(inspect.getfile(kind)).read_bytes()
        except (OSError, TypeError):
            continue
        facts[f"code of {kind.__name__}"] = hashlib.sha256(code).hexdigest()[:12]
    return facts


def _short(value: object) -> str:
    if isinstance(value, str) and len(value) <= LONGEST:
        return value
    text = json.dumps(canonical(value), sort_keys=False, default=str)
    return text if len(text) <= LONGEST else f"(hash {hashlib.sha256(text.encode()).hexdigest()[:12]})"


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
