"""Generators that a loader, its data set and their functions keep: found, saved as plain values, put back."""

from __future__ import annotations

import functools
import importlib.util
import io
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_hooks.own_loop.generators import find_generators, load_states, reseed, states_of
from torch.utils.data import DataLoader

Draw = Callable[[], float]
DRAW = random.Random(1)


def of_python(seed: int) -> tuple[Any, Draw]:
    made = random.Random(seed)
    return made, lambda: made.gauss(0, 1)


def of_torch(seed: int) -> tuple[Any, Draw]:
    made = torch.Generator().manual_seed(seed)
    return made, lambda: float(torch.rand((), generator=made))


def of_numpy(kind: str, seed: int) -> tuple[Any, Draw]:
    import numpy

    if kind == "RandomState":
        old = numpy.random.RandomState(seed)
        return old, lambda: float(old.normal())
    made = numpy.random.Generator(getattr(numpy.random, kind)(seed))
    return made, lambda: float(made.random(dtype=numpy.float32)) + int(made.integers(0, 9, dtype=numpy.int32))


KINDS = ("RandomState", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
NUMPY = [functools.partial(of_numpy, kind) for kind in KINDS] if importlib.util.find_spec("numpy") else []


@pytest.mark.parametrize("make", [of_python, of_torch, *NUMPY])
def test_a_generator_goes_on_from_a_file(make: Callable[[int], tuple[Any, Draw]]) -> None:
    made, draw = make(3)
    drawn = [draw() for _ in range(5)]
    file = io.BytesIO()
    torch.save(states_of([made]), file)
    expected = [draw() for _ in range(5)]
    file.seek(0)
    other, again = make(4)
    assert load_states([other], torch.load(file, weights_only=True)) == []
    assert [again() for _ in range(5)] == expected != drawn
    reseed([other], 7)
    seeded = [again() for _ in range(3)]
    reseed([other], 7)
    assert [again() for _ in range(3)] == seeded


def test_one_of_another_kind_is_not_put_back() -> None:
    states = states_of([random.Random(1), random.SystemRandom()])
    assert states["[1]"] is None
    assert load_states([torch.Generator(), random.SystemRandom()], states) == ["[0]", "[1]"]
    assert load_states([], states) == ["[0]", "[1]"]
    assert load_states([random.Random()], {}) == ["[0]"]


class Slots:
    __slots__ = ("draw", "empty")

    def __init__(self) -> None:
        self.draw = random.Random(1)


class Uses:
    """Reads with generators that lie elsewhere."""

    def __init__(self) -> None:
        self.parts = [{"noise": Slots()}, torch.nn.Identity(), *[0.5] * 3]
        self.parts[1].draw = random.Random(2)  # type: ignore[attr-defined]
        self.long = [random.Random(3)] * 1000

    def __getitem__(self, index: int) -> float:
        return helper() + index


def helper() -> float:
    return DRAW.random()


def test_where_generators_are_found() -> None:
    assert list(find_generators(Uses())) == ["__getitem__:helper:DRAW", "parts[0]['noise'].draw", "parts[1].draw"]
    own = random.Random(4)
    loader = DataLoader([1, 2], collate_fn=functools.partial(lambda draw, batch: batch, own), shuffle=True)
    assert find_generators(loader) == {"collate_fn.args[0]": own}
    assert find_generators(lambda: own.random()) == {":own": own}
    assert find_generators(random) == {}
    looped: list[Any] = [own]
    looped.append(looped)
    assert find_generators(looped) == {"[0]": own}
