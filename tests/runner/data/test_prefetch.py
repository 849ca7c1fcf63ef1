"""Prefetch: the same batches in the same order, nothing read over the end of a pass."""

from __future__ import annotations

from collections import namedtuple
from itertools import islice
from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataSample, TrainBatches
from seg_runner.data.prefetch import Prefetch, prefetched
from seg_runner.data.seeds import seed_step
from seg_runner.process.randomness import Randomness
from seg_runner.trees import tensors_of, to_device
from torch.utils.data import DataLoader


class Stream:
    """Batches that are their own number; writes down what is read."""

    share = 1.0

    def __init__(self, length: int | None = None, per_pass: int | None = None) -> None:
        self.at, self.length, self.batches_per_pass = 0, length, per_pass
        self.read: list[int] = []
        self.closed = False

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self.at == self.length:
            raise StopIteration
        self.read.append(self.at)
        self.at += 1
        return {"number": torch.tensor(self.at - 1), "name": str(self.at - 1)}

    def seek(self, iteration: int) -> None:
        self.at = iteration

    def close(self) -> None:
        self.closed = True


def numbers(stream: Prefetch, count: int) -> list[int]:
    return [int(next(stream)["number"]) for _ in range(count)]


@pytest.mark.parametrize("ahead", [True, False])
def test_the_same_batches_in_the_same_order(ahead: bool) -> None:
    stream = Stream(length=7)
    assert [int(batch["number"]) for batch in Prefetch(stream, "cpu", ahead=ahead)] == list(range(7))


@pytest.mark.parametrize("loader", [DataLoader(range(30), 4), list(range(8))], ids=["torch", "list"])
def test_a_saved_position_is_that_of_the_step_and_not_of_what_was_read_ahead(loader: Any) -> None:
    def ahead() -> Prefetch:
        return Prefetch(TrainBatches(loader, Randomness(seed=1)), "cpu", ahead=True)

    whole = [str(batch) for batch in islice(ahead(), 7)]
    batches, again = ahead(), ahead()
    assert [str(batch) for batch in islice(batches, 3)] == whole[:3]
    again.load_state_dict(batches.state_dict(3))
    assert [str(batch) for batch in islice(again, 4)] == whole[3:]


def test_one_batch_is_read_ahead_but_not_over_the_end_of_a_pass() -> None:
    stream = Stream(per_pass=3)
    batches = Prefetch(stream, "cpu", ahead=True)
    seen = []
    for _ in range(7):
        next(batches)
        seen.append(len(stream.read))
    assert seen == [2, 3, 3, 5, 6, 6, 8]


def test_nothing_is_read_ahead_on_a_cpu_by_default() -> None:
    stream = Stream()
    numbers(Prefetch(stream, "cpu"), 3)
    assert stream.read == [0, 1, 2]


def test_going_elsewhere_drops_what_was_read_ahead() -> None:
    stream = Stream(per_pass=4)
    batches = Prefetch(stream, "cpu", ahead=True)
    assert numbers(batches, 2) == [0, 1]
    batches.seek(6)
    assert numbers(batches, 3) == [6, 7, 8]
    batches.seek(4)
    next(batches)
    assert stream.read[-2:] == [4, 5]
    batches.close()
    assert stream.closed
    assert batches.batches_per_pass == 4


def test_everything_in_a_batch_travels() -> None:
    Pair = namedtuple("Pair", "a b")
    sample = SegDataSample(metainfo={"img_path": "a.png"})
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 2, 2))
    batch = {"list": [torch.zeros(1)], "pair": Pair(torch.zeros(2), "x"), "sample": sample, "text": "y"}
    moved = to_device(batch, torch.device("meta"))
    assert {tensor.device.type for tensor in tensors_of(moved)} == {"meta"}
    assert len(tensors_of(moved)) == 3
    assert (moved["pair"].b, moved["text"], moved["sample"].img_path) == ("x", "y", "a.png")
    assert sample.gt_sem_seg.data.device.type == "cpu"


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.zeros(2)
    assert to_device((tensor, 1), torch.device("cpu"))[0] is tensor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device_without_a_wait() -> None:
    class Pinned(Stream):
        def __next__(self) -> Any:
            return {"x": torch.full((1 << 20,), float(super().__next__()["number"])).pin_memory()}

    batches = Prefetch(Pinned(), "cuda")
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    sums = [next(batches)["x"].sum() for _ in range(5)]
    torch.cuda.set_sync_debug_mode("default")
    assert [int(value) >> 20 for value in sums] == [1, 2, 3, 4, 5]


def steps(batches: Any, count: int) -> list[tuple[list[int], float]]:
    """What a training step sees: its batch, and a random number drawn in it."""
    return [(next(batches).tolist(), float(torch.rand(()))) for _ in range(count)]


def train_batches() -> TrainBatches:
    return TrainBatches(DataLoader(torch.arange(10), batch_size=3, shuffle=True), Randomness(seed=5))


def with_prefetch() -> Prefetch:
    return Prefetch(train_batches(), "cpu", ahead=True, seed=lambda step: seed_step(Randomness(seed=5), step))


def test_a_run_is_the_same_with_and_without_it() -> None:
    assert steps(with_prefetch(), 11) == steps(train_batches(), 11)


def test_a_resumed_run_is_the_same_as_well() -> None:
    whole, first = steps(train_batches(), 11), with_prefetch()
    steps(first, 6)
    saved = first.state_dict(6)
    for other in (with_prefetch(), train_batches()):
        other.load_state_dict(saved)
        assert steps(other, 5) == whole[6:]
    other = with_prefetch()
    steps(other, 2)
    other.seek(6)
    assert steps(other, 5) == whole[6:]


def test_another_seed_holds_from_the_next_batch_on() -> None:
    one, other = with_prefetch(), train_batches()
    for batches in (one, other):
        next(batches)
        batches.follow(6)
    assert [next(one).tolist() for _ in range(4)] == [next(other).tolist() for _ in range(4)]


def test_only_accelerators_are_fed_ahead() -> None:
    batches = train_batches()
    assert prefetched(batches, "cpu", Randomness(seed=5)) is batches
    assert prefetched(batches, "cuda", Randomness(seed=5, stream="mmengine")) is batches


def test_the_samples_of_the_latest_batch_are_not_mixed_up() -> None:
    batches = with_prefetch()
    next(batches)
    assert batches.last_samples() == []
    plain = Prefetch(train_batches(), "cpu", ahead=False)
    next(plain)
    assert len(plain.last_samples()) == 3
