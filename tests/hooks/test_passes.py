"""A resumed run goes on within the pass over the data: the same samples, in the same order, with the same numbers."""

from __future__ import annotations

import contextlib
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
from seg_hooks.loaders import generators_of, length_of
from seg_hooks.passes import Passes
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset

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
    with contextlib.suppress(KeyboardInterrupt), state:
        for batch in state.batches(make_loader()):
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
    return seen


@pytest.mark.parametrize("make_loader", [shuffled, with_generator, distributed, with_workers])
def test_a_run_in_pieces_is_the_whole_run(tmp_path: Path, make_loader: Callable[[], Any]) -> None:
    whole = steps(tmp_path / "whole", make_loader, stop=99)
    for stop in (4, 8, 16):
        piece = steps(tmp_path / "parts", make_loader, stop)
        assert piece[1:] == whole[1 + piece[0] : 1 + stop]
    assert piece[0] == 6
    rest = steps(tmp_path / "parts", make_loader, stop=99)
    assert rest[0] == 15
    assert rest[1:] == whole[16:]


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


def test_a_stream_without_a_length_begins_anew(tmp_path: Path) -> None:
    class Stream(IterableDataset[torch.Tensor]):
        def __iter__(self) -> Iterator[torch.Tensor]:
            yield from torch.arange(8.0).reshape(4, 2)

    def stream() -> DataLoader[torch.Tensor]:
        return DataLoader(Stream(), batch_size=1)

    steps(tmp_path, stream, stop=4)
    piece = steps(tmp_path, stream, stop=99, last=7)
    assert [batch[0][0] for batch, _ in piece[1:]] == [0.0, 2.0, 4.0, 6.0]
    assert piece[0] == 3


def test_lengths_and_generators() -> None:
    assert length_of(shuffled()) == 7
    assert length_of(object()) is None
    assert generators_of([1, 2]) == []
    assert len(generators_of(with_generator())) == 1
