"""The run does not depend on the number of processes: the same samples in the same batches, the same metrics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from runner.distributed.test_ddp import Blocks, network
from seg_runner import DefaultSampler, DepthMetric, Evaluator, IoUMetric, LogitsModel, Runner, SegDataSample
from torch import distributed, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

SIZE = 22
"""Samples: two batches of 8 and one of 6, which four ranks share as 2, 2, 1, 1."""


def loader(kind: str, data: Blocks, batch_size: int) -> DataLoader[Any]:
    """A loader as users make them, before there is a process group or knowing nothing of one."""
    if kind == "random":
        return DataLoader(data, batch_size, shuffle=True)
    if kind == "default":
        return DataLoader(data, batch_size, sampler=DefaultSampler(data, seed=3))
    if kind == "distributed":
        return DataLoader(data, batch_size, sampler=DistributedSampler(data, num_replicas=1, rank=0))
    if kind == "batches":
        return DataLoader(data, batch_sampler=Batches(SequentialSampler(data), batch_size, False))
    return DataLoader(data, batch_size)


class Batches(BatchSampler):
    """A batch sampler of a user's own, whose batches are dealt out whole."""


class Seen:
    """A hook that writes down which samples were trained on; the sum of an image tells it."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def after_train_iter(self, runner: Any, data_batch: Any) -> None:
        self.lengths.append(len(data_batch[0]))


def train(folder: Path, kind: str, last: int = SIZE) -> dict[str, Any]:
    """Train two epochs on this rank."""
    net, world, seen = network(), int(os.environ.get("WORLD_SIZE", "1")), Seen()
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader=loader(kind, Blocks(last), 8 // world),
        train_cfg={"max_epochs": 2, "by_epoch": True},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        randomness={"seed": 3},
        custom_hooks=[seen],
    )
    runner.train()
    return {"weights": net.state_dict(), "lengths": seen.lengths, "iter": runner.iter}


@pytest.mark.parametrize("kind", ["random", "default", "distributed", "batches", "plain"])
def test_a_last_batch_that_does_not_divide_counts_as_on_one_process(tmp_path, kind):
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", kind)
    assert one["lengths"] == [8, 8, 6] * 2
    for world, lengths in ((2, [3, 3]), (4, [2, 2, 1, 1])):
        found = on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}", kind)
        own = [[8 // world, 8 // world, length] * 2 for length in lengths]
        if kind != "batches":  # which are dealt whole
            assert [each["lengths"] for each in found] == own
            for each in found:
                torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-7)
        assert {each["iter"] for each in found} == {6}
        torch.testing.assert_close(found[0]["weights"], found[-1]["weights"], rtol=0, atol=0)


def test_a_rank_without_a_sample_takes_part(tmp_path):
    """Seventeen samples leave one for the last batch: three of four ranks have none, and none waits for another."""
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", "plain", 17)
    for each in on_ranks(4, tmp_path / "r4", train, tmp_path / "w4", "plain", 17):
        assert each["iter"] == 6
        torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-7)


class Listed:
    """A metric of a user's own: a list with one result for each sample, whose order matters."""

    def __init__(self) -> None:
        self.results: list[float] = []
        self.dataset_meta = None

    def process(self, data_batch: Any, data_samples: list[Any]) -> None:
        self.results += [float(sample["seg_logits"]["data"].sum()) for sample in data_samples]

    def evaluate(self, size: int) -> dict[str, Any]:
        found, self.results = self.gathered(size), []
        return {f"{type(self).__name__}.{place}": value for place, value in enumerate(found)}

    def gathered(self, size: int) -> list[float]:
        return self.results


class Collected(Listed):
    """One that collects by itself, as those that derive from MMEngine's do: rank r's k-th is sample k * ranks + r."""

    collect_device = "cpu"

    def gathered(self, size: int) -> list[float]:
        if not distributed.is_initialized():
            return self.results
        parts: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, self.results)
        return [one for several in zip(*parts, strict=True) for one in several][:size]


class WithDepth(LogitsModel):
    """Predicts depths, too: floats, whose sum depends on their order."""

    def test_step(self, data: Any) -> list[SegDataSample]:
        samples = super().test_step(data)
        for sample, image in zip(samples, data[0], strict=True):
            sample.set_data(
                {"pred_depth_map": {"data": image[0].abs() + 0.1}, "gt_depth_map": {"data": image[1].abs() + 0.1}}
            )
        return samples


def evaluate(folder: Path, size: int, kind: str) -> tuple[dict[str, Any], str]:
    """Validate on two named sets; return the metrics, and what the log says."""
    data, other = Blocks(size), Blocks(size + 3)
    metrics = [IoUMetric(num_classes=3), DepthMetric(), Listed(), Collected()]
    runner = Runner(
        model=WithDepth(network(), nn.CrossEntropyLoss(ignore_index=2)),
        work_dir=folder,
        val_dataloader={"a": loader(kind, data, 2), "b": loader("plain", other, 3)},
        val_evaluator={"a": Evaluator(metrics), "b": IoUMetric(num_classes=3)},
        val_cfg={"loss": True},
        randomness={"seed": 3},
    )
    found = runner.val()
    return found, next(runner.log_dir.glob("*[0-9].log")).read_text()


@pytest.mark.parametrize(
    ("size", "kind"), [(7, "plain"), (5, "default"), (8, "distributed"), (3, "random"), (1, "batches")]
)
def test_metrics_are_those_of_one_process_to_the_last_digit(tmp_path, size, kind):
    ((one, _),) = on_ranks(1, tmp_path / "r1", evaluate, tmp_path / "w1", size, kind)
    assert len([name for name in one if "Listed" in name]) == size
    for world in (2, 4):
        for found, told in on_ranks(world, tmp_path / f"r{world}", evaluate, tmp_path / f"w{world}", size, kind):
            assert found == pytest.approx(one, rel=0, abs=0, nan_ok=True)
            assert "WARNING" not in told


class Alone:
    """A metric that keeps a number of its own, and so knows the samples of its process only."""

    def process(self, data_batch: Any, data_samples: list[Any]) -> None:
        pass

    def evaluate(self, size: int) -> dict[str, Any]:
        return {"alone": size}


def evaluate_badly(folder: Path) -> str:
    """Validate batches of a list by a metric that knows no ranks."""
    batch = next(iter(DataLoader(Blocks(2), 2)))
    runner = Runner(
        model=LogitsModel(network()),
        work_dir=folder,
        val_dataloader=[batch],
        val_evaluator=Alone(),
        randomness={"seed": 3},
    )
    runner.val()
    return next(runner.log_dir.glob("*[0-9].log")).read_text()


def test_what_cannot_be_shared_out_is_told(tmp_path):
    told, _ = on_ranks(2, tmp_path / "r", evaluate_badly, tmp_path / "w")
    assert "val_dataloader is no torch DataLoader over a data set with indices: each of 2 processes reads all" in told
    assert "Alone knows nothing of several processes: its values are of the samples of one of them" in told
