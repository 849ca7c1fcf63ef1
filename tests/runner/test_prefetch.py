"""Prefetch: the same batches in the same order, nothing read over the end of a pass."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataSample
from seg_runner.prefetch import Prefetch, tensors_in, to_device


class Stream:
    """Batches that are their own number; writes down what is read."""

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
    assert {tensor.device.type for tensor in tensors_in(moved)} == {"meta"}
    assert len(list(tensors_in(moved))) == 3
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
