"""A resumed run goes on within the pass over the data: the same samples, in the same order, with the same numbers."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_hooks import CheckpointHook, TrainState
from seg_hooks.loaders import length_of
from seg_hooks.own_loop.generators import find_generators, load_states, states_of
from seg_hooks.own_loop.passes import Passes
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, WeightedRandomSampler

LOGGER = logging.Logger("test")


class Noisy(Dataset[torch.Tensor]):
    """Thirteen samples, each with noise from torch and python, and from numpy where it is there."""

    def __len__(self) -> int:
        return 13

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = torch.rand(()) + random.random()
        if "numpy" in sys.modules:
            noise = noise + sys.modules["numpy"].random.rand()
        return torch.stack([torch.tensor(float(index)), noise])


def shuffled(**options: Any) -> DataLoader[torch.Tensor]:
    return DataLoader(Noisy(), batch_size=2, shuffle=True, **options)


def with_generator() -> DataLoader[torch.Tensor]:
    return shuffled(generator=torch.Generator().manual_seed(5))


def with_workers() -> DataLoader[torch.Tensor]:
    return shuffled(num_workers=2)


def distributed() -> DataLoader[torch.Tensor]:
    return DataLoader(Noisy(), batch_size=2, sampler=DistributedSampler(Noisy(), num_replicas=1, rank=0))


def steps(work_dir: Path, make_loader: Callable[[], Any], stop: int, last: int = 17, **options: Any) -> list[Any]:
    """The batches and weights of a session that saves every third step and breaks off after `stop` steps."""
    random.seed(0)
    torch.manual_seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(net.parameters(), 1e-5, momentum=0.9)
    state = TrainState(net, optimizer, work_dir, last, hooks=[CheckpointHook(3, by_epoch=False)])
    state.resume(**options)
    seen: list[Any] = [state.iter]
    loader = make_loader()
    with contextlib.suppress(KeyboardInterrupt), state:
        for batch in state.batches(loader):
            loss = net(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state.after_step(loss=loss)
            seen.append((batch.tolist(), net[0].weight.tolist()))
            if state.every(4):
                torch.rand(state.iter)  # a validation that draws numbers
                state.validated({"mIoU": 1.0})
            if state.iter == stop:
                raise KeyboardInterrupt
    if getattr(loader, "_iterator", None) is not None:
        loader._iterator = None  # ends the workers here and not where garbage happens to be collected
    return seen


class Kept(Noisy):
    """Noise from generators of its own, which nobody seeds."""

    def __init__(self) -> None:
        self.random = random.Random()
        self.torch = torch.Generator()
        self.torch.seed()
        self.numpy = sys.modules["numpy"].random.default_rng() if "numpy" in sys.modules else self.random

    def __getitem__(self, index: int) -> torch.Tensor:
        noise = self.random.random() + float(torch.rand((), generator=self.torch)) + self.numpy.random()
        return torch.stack([torch.tensor(float(index)), torch.tensor(noise)])


def kept() -> DataLoader[torch.Tensor]:
    return DataLoader(Kept(), batch_size=2, shuffle=True)


def kept_in_workers() -> DataLoader[torch.Tensor]:
    return DataLoader(Kept(), batch_size=2, shuffle=True, num_workers=2)


def kept_by_persistent_workers() -> DataLoader[torch.Tensor]:
    return DataLoader(Kept(), batch_size=2, shuffle=True, num_workers=2, persistent_workers=True)


def persistent() -> DataLoader[torch.Tensor]:
    return shuffled(num_workers=2, persistent_workers=True)


def persistent_with_generator() -> DataLoader[torch.Tensor]:
    return shuffled(num_workers=1, persistent_workers=True, generator=torch.Generator().manual_seed(5))


def weighted() -> DataLoader[torch.Tensor]:
    sampler = WeightedRandomSampler(torch.arange(1.0, 14.0).tolist(), 13, generator=torch.Generator().manual_seed(1))
    return DataLoader(Noisy(), batch_size=2, sampler=sampler)


class RandomBatches(list[list[int]]):
    """A batch sampler with a generator of its own, which it uses as it goes."""

    def __init__(self) -> None:
        self.draw = random.Random(4)

    def __len__(self) -> int:
        return 7

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(7):
            yield [self.draw.randrange(13), self.draw.randrange(13)]


def own_batch_sampler() -> DataLoader[torch.Tensor]:
    return DataLoader(Noisy(), batch_sampler=RandomBatches())


def noise_in_collate() -> DataLoader[torch.Tensor]:
    draw = random.Random(7)

    def collate(samples: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(samples) + draw.random() + random.random()

    return shuffled(collate_fn=collate)


class Numbers(IterableDataset[torch.Tensor]):
    def __init__(self) -> None:
        self.draw = random.Random(3)

    def __len__(self) -> int:
        return 12

    def __iter__(self) -> Iterator[torch.Tensor]:
        for index in range(12):
            yield torch.tensor([float(index), self.draw.random() + random.random()])


def iterable() -> DataLoader[torch.Tensor]:
    return DataLoader(Numbers(), batch_size=2)


class ByHand:
    """A loader that somebody wrote."""

    def __init__(self) -> None:
        self.draw = random.Random(3)

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.tensor([[float(index), self.draw.random()]]) for index in range(5))


class Stateful(ByHand):
    """A loader that knows its place itself, as torchdata's do."""

    def __init__(self) -> None:
        super().__init__()
        self.place = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        while self.place < 5:
            self.place += 1
            yield torch.tensor([[float(self.place), self.draw.random()]])
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "draw": self.draw.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]
        version, values, gauss = state["draw"]
        self.draw.setstate((version, tuple(values), gauss))


LOADERS = [
    shuffled,
    with_generator,
    distributed,
    with_workers,
    persistent,
    persistent_with_generator,
    kept_by_persistent_workers,
    weighted,
    own_batch_sampler,
    noise_in_collate,
    iterable,
    ByHand,
    Stateful,
]


@pytest.mark.parametrize("make_loader", LOADERS)
def test_a_run_in_pieces_is_the_whole_run(tmp_path: Path, make_loader: Callable[[], Any]) -> None:
    whole = steps(tmp_path / "whole", make_loader, stop=99)
    for stop in (4, 8, 16):
        piece = steps(tmp_path / "parts", make_loader, stop)
        assert piece[1:] == whole[1 + piece[0] : 1 + stop]
    assert piece[0] == 6
    rest = steps(tmp_path / "parts", make_loader, stop=99)
    assert rest[0] == 15
    assert rest[1:] == whole[16:]


@pytest.mark.parametrize("make_loader", [kept, kept_in_workers])
def test_generators_that_nobody_seeded_go_on_where_they_stood(
    tmp_path: Path, make_loader: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here two whole runs differ; so the states at the save are given to the run that goes on as a whole."""
    first: list[Any] = []

    def make() -> Any:
        if not first:
            first.append(make_loader())
            return first[0]
        return make_loader()

    loader = make()
    start = copy.deepcopy(loader.dataset)
    steps(tmp_path / "parts", lambda: loader, stop=8)
    rest = steps(tmp_path / "parts", make, stop=99)
    again = make()
    load_states(again.dataset, states_of(start))
    whole = steps(tmp_path / "whole", lambda: again, stop=99)
    assert rest[0] == 6
    assert rest[1:] == whole[7:]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (shuffled, with_workers, "random numbers that workers draw (there were 0, and are 2)"),
        (with_workers, persistent_with_generator, "there were 2, and are 1"),
        (shuffled, lambda: DataLoader(Noisy(), batch_size=1), "a pass had 7 batches, and has 13"),
        (shuffled, kept, "random generators in the data: dataset.random, dataset.torch"),
        (
            lambda: DataLoader([*torch.rand(13, 2)], batch_size=2, num_workers=1, persistent_workers=True),
            lambda: DataLoader([*torch.rand(13, 2)], batch_size=2, num_workers=1, persistent_workers=True),
            "random numbers that persistent workers draw while they read a plain list",
        ),
    ],
)
def test_what_cannot_be_as_it_was_is_said(
    tmp_path: Path,
    before: Callable[[], Any],
    after: Callable[[], Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps(tmp_path, before, stop=4)
    assert "not restored" not in capsys.readouterr().out
    steps(tmp_path, after, stop=9)
    told = [line for line in capsys.readouterr().out.splitlines() if "not restored: " in line]
    assert any(words in line for line in told), told


def test_a_new_pass_on_request(tmp_path: Path) -> None:
    whole = steps(tmp_path, shuffled, stop=4)
    piece = steps(tmp_path, shuffled, stop=10, data=False)
    assert piece[0] == 3
    assert sorted(row[0] for batch, _ in piece[1:] for row in batch) == list(range(13))
    assert piece[1] != whole[4]


@given(length=st.integers(1, 6), done=st.integers(0, 20))
@settings(deadline=None)
def test_the_place_after_any_number_of_batches(length: int, done: int) -> None:
    def walk(passes: Passes, count: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        while True:
            iterator = passes.begin(range(length), len(found), LOGGER)
            for value in iterator:
                if len(found) == count:
                    return found
                passes.done += 1
                found.append((passes.number or 0, value))
            passes.end()

    whole = walk(Passes(), done + 5)
    first = Passes()
    assert walk(first, done) == whole[:done]
    second = Passes()
    if done:
        saved = first.state_dict()
        saved["done"] = saved["done"] or length  # saved after the last step of a pass, the pass has not ended yet
        saved["pass"] -= saved["done"] == length and not first.done
        second.load_state_dict(saved)
    assert walk(second, 5) == whole[done:]


def test_a_stream_without_a_length_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Stream(IterableDataset[torch.Tensor]):
        def __iter__(self) -> Iterator[torch.Tensor]:
            yield from torch.arange(8.0).reshape(4, 2)

    def stream() -> DataLoader[torch.Tensor]:
        return DataLoader(Stream(), batch_size=1)

    steps(tmp_path, stream, stop=4)
    piece = steps(tmp_path, stream, stop=99, last=7)
    assert [batch[0][0] for batch, _ in piece[1:]] == [0.0, 2.0, 4.0, 6.0]
    assert piece[0] == 3
    assert "not restored: the place in the data, which has no length" in capsys.readouterr().out


def test_lengths_and_generators() -> None:
    assert length_of(shuffled()) == 7
    assert length_of(object()) is None
    assert find_generators([1, 2]) == {}
    assert list(find_generators(with_generator())) == ["sampler.generator"]
