"""Random numbers: the settings and the one seed of a run, and the generators that there are.

The seeds of samples and steps: `data/samples.py`.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seg_runner.checks import flag
from seg_runner.errors import did_you_mean

__all__ = [
    "Randomness",
    "find_generators",
    "global_state",
    "reseed",
    "resolve_randomness",
    "seed_everything",
    "set_global_state",
]

STREAMS = ("sample", "mmengine", "onedl")
WORLDS = ("any", "exact")

if TYPE_CHECKING:  # numpy.random is imported where it is first used
    Generator = random.Random | np.random.Generator | np.random.RandomState | torch.Generator


@dataclass(frozen=True)
class Randomness:
    """Where the random numbers of a run come from.

    Args:
        seed: The run's seed, 0 to 2**31 - 1.
        diff_rank_seed: Whether each rank's global generators start from `seed + rank`.
        deterministic: True: torch may use only deterministic operations, others are errors. 'warn': others are used,
            and listed at the end of the run.
        stream: `sample`: the numbers of a sample depend on (seed, pass, sample index) alone, so a resumed run
            continues exactly. `mmengine`: the shared global generators, in the order in which MMEngine 0.10.7 uses
            them; `onedl`: in that of the maintained fork (onedl-mmengine 0.10.12). Neither is exact on resume.
        chosen: Whether the seed was given (a resumed run keeps its checkpoint's seed if not).
        world: `any`, or `exact`: the run is the same to the last bit on any number of processes that divides `ranks`.
        ranks: With `exact`, how many virtual ranks train: each has a batch, random numbers and a gradient of its own.

    Attributes:
        by_sample: Whether every sample has its own numbers. No property, since every step asks.
        starts_early: Whether the workers of an iteration loop start when it is built, before the weights are
            initialised (MMEngine), not with its first step (its fork). To start a loader draws from the global
            generator, so the first weights differ. A resumed run then reads again what it has read, and drops it, as
            MMEngine does; else it draws the indices alone.
    """

    seed: int
    diff_rank_seed: bool = False
    deterministic: bool | str = False
    stream: str = "sample"
    chosen: bool = True
    world: str = "any"
    ranks: int = 0
    by_sample: bool = field(init=False, repr=False, compare=False)
    starts_early: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_sample", self.stream == "sample")  # the way round `frozen`
        object.__setattr__(self, "starts_early", self.stream == "mmengine")


def resolve_randomness(cfg: Mapping[str, Any] | Randomness | None = None) -> Randomness:
    """Return the config's `randomness` with every gap filled; without a seed, one is drawn from the system.

    Args:
        cfg: `dict(seed=None, diff_rank_seed=False, deterministic=False, stream='sample')`, any part of it, or None; for
            the same run on any number of processes `dict(world='exact', ranks=8)`.

    Raises:
        TypeError: A key that does not exist, or a seed that is no integer.
        ValueError: An unknown stream, a seed out of range, or `ranks` that is no power of two.

    >>> resolve_randomness(dict(seed=3)).seed
    3
    """
    if isinstance(cfg, Randomness):
        return cfg
    given = dict(cfg or {})
    known = ("seed", "diff_rank_seed", "deterministic", "stream", "world", "ranks")
    if unknown := sorted(set(given) - set(known)):
        near = did_you_mean(str(unknown[0]), known)
        raise TypeError(f"randomness: unknown key {unknown[0]!r}; it takes {', '.join(known)}.{near}")
    flag(given.get("diff_rank_seed", False), "randomness.diff_rank_seed")
    switch = given.get("deterministic", False)
    if type(switch).__name__ not in ("bool", "bool_", "int", "str") or switch not in (True, False, "warn"):
        raise ValueError(f"randomness.deterministic is {given['deterministic']!r}; it is True, False or 'warn'")
    seed = given.pop("seed", None)
    stream = given.get("stream", "sample")
    if stream not in STREAMS:
        raise ValueError(f"randomness.stream is {stream!r}; it is one of {', '.join(map(repr, STREAMS))}")
    _check_world(given)
    if seed is None:
        return Randomness(secrets.randbits(31), chosen=False, **given)
    return Randomness(_checked_seed(seed), **given)


def _check_world(given: Mapping[str, Any]) -> None:
    world, ranks = given.get("world", "any"), given.get("ranks", 0)
    if world not in WORLDS:
        raise ValueError(f"randomness.world is {world!r}; it is one of {', '.join(map(repr, WORLDS))}")
    if world == "any" and ranks:
        raise ValueError(f"randomness.ranks={ranks} is for world='exact' only: give both, or neither")
    if world == "any":
        return
    if isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 1 or ranks & (ranks - 1):
        raise ValueError(
            f"randomness.ranks is {ranks!r}: world='exact' needs a power of two, the largest number of processes that "
            "the run may ever have"
        )
    if given.get("stream", "sample") != "sample":
        raise ValueError(f"randomness.world='exact' needs stream='sample', not {given['stream']!r}")


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"randomness.seed is {seed!r}, a {type(seed).__name__}; it must be an integer or None")
    if not 0 <= int(seed) < 2**32:
        raise ValueError(f"randomness.seed is {seed}; it must lie in 0 ... 2**32 - 1 (numpy's range)")
    return int(seed)


def seed_everything(randomness: Randomness, rank: int = 0) -> None:
    """Seed all global generators at the start of a run, and switch on determinism where it was asked for."""
    seed = randomness.seed + rank if randomness.diff_rank_seed else randomness.seed
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)
    if randomness.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=randomness.deterministic == "warn")


def global_state() -> tuple[Any, Any, torch.Tensor]:
    """Return the state of the three global CPU generators, for `set_global_state`."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_global_state(state: tuple[Any, Any, torch.Tensor]) -> None:
    """Put the three global CPU generators back."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def find_generators(root: object, limit: int = 10_000) -> dict[str, Generator]:
    """Return the random generators kept inside an object, by the path to each: attributes, lists, dicts.

    A list longer than 100 elements is taken for data and not walked.
    """
    found: dict[str, Generator] = {}
    seen: set[int] = set()
    stack: list[tuple[str, object]] = [("", root)]
    while stack and len(seen) < limit:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, random.Random | np.random.Generator | np.random.RandomState | torch.Generator):
            found[path.lstrip(".")] = value
        else:
            stack.extend(_children(path, value))
    return found


def _children(path: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        items = [(f"{path}[{key!r}]", item) for key, item in list(value.items())[:100]]
    elif isinstance(value, list | tuple | set):
        items = [(f"{path}[{i}]", item) for i, item in enumerate(value)] if len(value) <= 100 else []
    elif isinstance(value, torch.Tensor | np.ndarray | type) or (callable(value) and not hasattr(value, "__dict__")):
        items = []
    else:
        items = [(f"{path}.{name}", item) for name, item in getattr(value, "__dict__", {}).items()]
    return [(name, item) for name, item in items if not isinstance(item, str | bytes | int | float | bool | None)]


def reseed(generator: Generator, seed: int) -> None:
    """Seed one generator object in place, whatever its kind."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(seed).state
    else:
        generator.seed(seed if isinstance(generator, random.Random) else seed & 0xFFFFFFFF)
