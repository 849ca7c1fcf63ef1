"""A signal to one of several ranks: all stop after the same step, with one file and one exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import Ranks, on_ranks
from seg_runner import DefaultSampler, IoUMetric, Runner
from seg_runner.distributed.agreement import Agreement
from seg_runner.distributed.world import World
from torch import nn
from torch.utils.data import Dataset


class Dots(Dataset[Any]):
    """Images of two classes."""

    metainfo = {"classes": ("a", "b")}

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(0, 2, (4, 4), generator=generator)
        return label.float().expand(3, 4, 4).clone(), label


class Endless:
    """Tells where a rank stands, and keeps a step from being too fast to be met."""

    def before_train_iter(self, runner: Any) -> None:
        print(f"step {runner.iter}", flush=True)
        time.sleep(0.002)

    def after_val_iter(self, runner: Any, batch_idx: int) -> None:
        print(f"val batch {batch_idx}", flush=True)
        time.sleep(0.002)


def train(folder: Path, max_iters: int = 100_000, val: int = 0, hooks: tuple[Any, ...] = (), **more: Any) -> int:
    """Train on this rank; returns the finished steps."""
    net = nn.Conv2d(3, 2, 1)
    loader = {"sampler": {"type": DefaultSampler}, "batch_size": 2, "num_workers": 0}
    options: dict[str, Any] = {"train_cfg": {"max_iters": max_iters}}
    if val:
        options["train_cfg"]["val_interval"] = 5
        options["val_dataloader"] = {
            "dataset": Dots(val),
            **loader,
            "sampler": {"type": DefaultSampler, "shuffle": False},
        }
        options["val_evaluator"] = IoUMetric(num_classes=2)
    options["train_dataloader"] = {"dataset": Dots(16), **loader}
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        hooks=[Endless(), *hooks],
        **{**options, **more},
    )
    runner.train()
    return runner.iter


def until(ranks: Ranks, rank: int, text: str) -> None:
    """Wait for a rank to say something."""
    while text not in ranks.said(rank):
        if not ranks.processes[rank].is_alive():
            pytest.fail(f"rank {rank} ended without saying {text!r}:\n{ranks.said(rank)}")
        time.sleep(0.005)


def lines(folder: Path, rank: int) -> str:
    """What the log file of a rank holds."""
    name = "*[0-9]_rank*.log" if rank else "*.log"
    files = [path for path in folder.glob(f"*/{name}") if rank or "_rank" not in path.name]
    (file,) = [path for path in files if not rank or path.stem.endswith(f"_rank{rank}")]
    return file.read_text()


@pytest.mark.parametrize(
    ("world", "rank", "name"), [(2, 1, "SIGTERM"), (2, 0, "SIGINT"), (4, 2, "SIGUSR1")], ids=lambda value: str(value)
)
def test_one_rank_is_told_and_all_stop_after_the_same_step(tmp_path, world, rank, name):
    with Ranks(world, tmp_path / "r", train, tmp_path / "w") as ranks:
        until(ranks, rank, "step 3")
        ranks.signal(rank, getattr(signal, name))
        assert ranks.codes() == [128 + getattr(signal, name)] * world
        steps = {ranks.said(each).rpartition("step ")[2].split()[0] for each in range(world)}
    (file,) = (tmp_path / "w").glob("*.pth")
    (last,) = steps
    done = int(last) + 1
    assert file.name == f"iter_{done}.pth"
    for each in range(world):
        assert f"{name}: saved iter_{done}.pth after iteration {done} and stopped" in lines(tmp_path / "w", each)
    assert ranks.said(0).count("saved iter_") == 1
    assert all("saved iter_" not in ranks.said(each) for each in range(1, world))


def test_torchrun_tells_all_ranks_at_once(tmp_path):
    with Ranks(2, tmp_path / "r", train, tmp_path / "w", checkpoint={"async_save": True}) as ranks:
        until(ranks, 1, "step 3")
        ranks.signal(1, signal.SIGTERM)
        ranks.signal(0, signal.SIGTERM)
        assert ranks.codes() == [143, 143]
    assert len(list((tmp_path / "w").glob("iter_*.pth"))) == 1


def test_a_validation_is_broken_off_after_the_same_batch(tmp_path):
    with Ranks(2, tmp_path / "r", train, tmp_path / "w", val=200_000) as ranks:
        until(ranks, 1, "val batch 3")
        ranks.signal(1, signal.SIGTERM)
        assert ranks.codes() == [143, 143]
        batches = {ranks.said(rank).rpartition("val batch ")[2].split()[0] for rank in (0, 1)}
    assert len(batches) == 1
    assert (tmp_path / "w" / "iter_5.pth").exists()


class Uneven:
    """Gives rank 1 one batch less than rank 0."""

    def __init__(self, rank: int) -> None:
        self.batches = 8 - rank

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Any:
        for index in range(self.batches):
            image, label = Dots(1)[0]
            yield image[None] + index, label[None]


class Counts:
    """A metric that only counts."""

    def process(self, data_batch: Any = None, data_samples: Any = None) -> None:
        pass

    def evaluate(self, size: int) -> dict[str, float]:
        return {"done": 1.0}


def train_unevenly(folder: Path) -> None:
    loader = Uneven(int(os.environ["RANK"]))
    steps = {"max_iters": 9, "val_interval": 5}
    train(folder, val_dataloader=loader, val_evaluator=Counts(), val_cfg={}, train_cfg=steps)


def test_a_validation_of_unequal_length_is_seen_through(tmp_path):
    with Ranks(2, tmp_path / "r", train_unevenly, tmp_path / "w") as ranks:
        until(ranks, 0, "val batch 1")
        ranks.signal(0, signal.SIGTERM)
        assert ranks.codes() == [143, 143]
        assert "val batch 7" in ranks.said(0)
        assert "val batch 6" in ranks.said(1)
    assert (tmp_path / "w" / "iter_5.pth").exists()


class EndsOn:
    """Ends the training after a step, on one rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def after_train_iter(self, runner: Any) -> None:
        if runner.iter == 4 and runner.rank == self.rank:
            runner.train_loop.stop_training = True


@pytest.mark.parametrize("rank", [0, 1])
def test_a_hook_of_one_rank_ends_all(tmp_path, rank):
    done = on_ranks(2, tmp_path / "r", train, tmp_path / "w", hooks=(EndsOn(rank),))
    assert done[0] == done[1] >= 5


class Asks:
    """A world of one that counts how often it is asked."""

    rank = 0

    def __init__(self) -> None:
        self.asked = 0

    def largest(self, numbers: list[int]) -> list[int]:
        self.asked += 1
        return list(numbers)


def test_questions_become_rare_where_steps_are_short(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    world: Any = Asks()
    agreement = Agreement(world)
    for step in range(1, 10_001):
        now[0] += 0.01
        agreement.ask(step, None)
    assert 350 < world.asked < 450, "every 25 steps of 10 ms"


def test_questions_become_rare_where_they_take_long(monkeypatch):
    """With a thousand ranks: a step of a quarter of a second, and 60 ms until the answer is there."""
    now, took = [0.0], [0.06]

    class Slow(Asks):
        def largest(self, numbers: list[int]) -> list[int]:
            now[0] += took[0]
            return super().largest(numbers)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    world: Any = Slow()
    agreement = Agreement(world)
    for step in range(1, 1001):
        now[0] += 0.25
        agreement.ask(step, None)
        took[0] = 0.06 if step % 3 else 0.2  # at times a rank is late, which is no cost of the question
    assert 20 < world.asked < 30, "a two hundredth of the time: every 12 seconds"


def test_one_process_agrees_with_itself():
    agreement = Agreement(World())
    agreement.ask(1, None, stop=True)
    assert (agreement.signal, agreement.stop) == (None, True)


class Prepares:
    """A hook that takes its time before the first step, on one rank."""

    def __init__(self, rank: int, point: str) -> None:
        self.rank, self.point = rank, point
        setattr(self, point, self.wait)

    def wait(self, runner: Any) -> None:
        if runner.rank == self.rank:
            print("preparing", flush=True)
            threading.Event().wait()


@pytest.mark.parametrize("told", [0, 1])
def test_before_the_first_step_all_leave_at_once(tmp_path, told):
    with Ranks(2, tmp_path / "r", train, tmp_path / "w", hooks=(Prepares(1, "before_run"),)) as ranks:
        until(ranks, 1, "preparing")
        ranks.signal(told, signal.SIGTERM)
        assert ranks.codes() == [143, 143]
    assert not (tmp_path / "w").exists()


def test_a_second_signal_leaves_at_once(tmp_path):
    with Ranks(2, tmp_path / "r", train, tmp_path / "w", hooks=(Prepares(1, "after_train_iter"),)) as ranks:
        until(ranks, 1, "preparing")
        ranks.signal(1, signal.SIGTERM)
        until(ranks, 1, "a second one leaves at once")
        ranks.signal(1, signal.SIGINT)
        assert ranks.codes() == [130, 130]
    assert not list((tmp_path / "w").glob("*.pth"))


def test_a_rank_that_hangs_when_the_time_is_over_ends_all(tmp_path):
    options = {"hooks": (Prepares(1, "after_train_iter"),), "signals": {"grace": 0.3}}
    with Ranks(2, tmp_path / "r", train, tmp_path / "w", **options) as ranks:
        until(ranks, 1, "preparing")
        ranks.signal(1, signal.SIGTERM)
        assert ranks.codes() == [143, 143]


def test_torchrun_stops_its_workers(tmp_path):
    """It sends SIGTERM to all of them once it gets one itself."""
    script = tmp_path / "work.py"
    code = "from runner.distributed.test_signals import train\nfrom pathlib import Path\n"
    script.write_text(code + f"train(Path({str(tmp_path / 'w')!r}))\n")
    tests = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    try:
        while (tmp_path / "said").read_text().count("step 3") < 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.wait()
    finally:
        process.kill()
    assert "SIGTERM: saved iter_" in (tmp_path / "said").read_text()
    assert len(list((tmp_path / "w").glob("iter_*.pth"))) == 1
