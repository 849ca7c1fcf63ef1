"""The hooks on two ranks: what they write, and that all decide alike, in our loop and in a runner like MMEngine's."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_hooks import (
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    LoggerHook,
    NanGuardHook,
    ProfilerHook,
    ProgressBarHook,
    SyncBuffersHook,
    ThroughputHook,
    TrainState,
)
from seg_hooks.hooks import timing
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def make_state(folder: Path, hooks: list[Any], max_iters: int = 8) -> TrainState:
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    torch.manual_seed(0)
    net = DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    torch.manual_seed(distributed.get_rank())
    return TrainState(net, torch.optim.SGD(net.parameters(), 0.1), folder, max_iters, hooks=hooks)


def batches(count: int = 50) -> list[dict[str, Any]]:
    rank = distributed.get_rank()
    generator = torch.Generator().manual_seed(rank)
    return [{"x": torch.randn(6, 4, generator=generator), "img_path": f"r{rank}_{i}.png"} for i in range(count)]


# -------------------------------------------------------------------------------------------------------- not finite


def train_with_guard(folder: Path, guard: dict[str, Any], bad: list[int], in_loss: bool = True) -> dict[str, Any]:
    """Train; the loss of rank 1 is NaN in some steps, or only what is reported of it."""
    hook = NanGuardHook(**guard)
    state = make_state(folder, [hook, CheckpointHook(2, by_epoch=False)])
    state.resume()
    rank, text, updates = distributed.get_rank(), "", []
    try:
        with state:
            for batch in state.batches(batches()):
                before = [parameter.clone() for parameter in state.model.parameters()]
                loss = state.model(batch["x"]).square().mean()
                factor = float("nan") if rank == 1 and state.iter in bad else 1.0
                (loss * (factor if in_loss else 1.0)).backward()
                state.optimizer.step()
                state.optimizer.zero_grad()
                state.after_step(loss=loss * factor)
                same = all(map(torch.equal, before, state.model.parameters()))
                updates.append(not same)
    except FloatingPointError as error:
        text = str(error)
    weights = torch.cat([value.flatten().float() for value in state.model.state_dict().values()])
    finite = bool(torch.isfinite(weights).all())
    return {"text": text, "updates": updates, "bad": hook.bad_steps, "finite": finite, "iter": state.iter}


def alike(found: list[dict[str, Any]]) -> dict[str, Any]:
    first, second = found
    assert first == second
    return first


@pytest.mark.parametrize("in_loss", [True, False])
def test_a_loss_of_one_rank_stops_all_with_its_words(tmp_path, in_loss):
    bad = alike(on_ranks(2, tmp_path / "ranks", train_with_guard, tmp_path / "out", {}, [4], in_loss))
    assert "rank 1: iteration 5: loss is not finite. Samples: r1_4.png." in bad["text"]
    assert ("rank 0: iteration 5: the gradient" in bad["text"]) is in_loss
    assert "r0_4.png" in bad["text"] or not in_loss
    kept = tmp_path / "out" / "nan" / "iter_5"
    assert sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()) == [
        "before.pth",
        "bundle.pt",
        "rank1/bundle.pt",
        "rank1/report.json",
        "report.json",
    ]
    assert json.loads((kept / "rank1" / "report.json").read_text())["samples"] == ["r1_4.png"]


def test_the_step_is_replayed_on_all_ranks(tmp_path):
    on_ranks(2, tmp_path / "a", train_with_guard, tmp_path / "out", {}, [4], False)
    bundle = str(tmp_path / "out" / "nan" / "iter_5" / "bundle.pt")
    again = on_ranks(
        2, tmp_path / "b", train_with_guard, tmp_path / "out", {}, [4], False, environment={"SEG_NAN_REPLAY": bundle}
    )
    text = "Replayed iteration 5. The random numbers at its start are those of the original run."
    assert all(text in one["text"] for one in again)


@pytest.mark.parametrize("in_loss", [True, False])
def test_a_bad_step_of_one_rank_is_skipped_by_all(tmp_path, in_loss):
    guard = {"policy": "skip", "max_times": 2}
    found = alike(on_ranks(2, tmp_path / "ranks", train_with_guard, tmp_path / "out", guard, [2, 5], in_loss))
    assert (found["text"], found["finite"], found["iter"]) == ("", True, 8)
    if in_loss:
        assert found["updates"] == [True, True, False, True, True, False, True, True]


def test_too_many_bad_steps_stop_all_in_the_same_step(tmp_path):
    guard = {"policy": "skip", "max_times": 2}
    found = alike(on_ranks(2, tmp_path / "ranks", train_with_guard, tmp_path / "out", guard, [2, 3, 4]))
    assert "iteration 5" in found["text"]
    assert found["bad"] == 3


def test_all_ranks_roll_back(tmp_path):
    guard = {"policy": "rollback", "max_times": 2}
    found = alike(on_ranks(2, tmp_path / "ranks", train_with_guard, tmp_path / "out", guard, [5]))
    assert (found["text"], found["bad"], found["finite"], found["iter"]) == ("", 1, True, 8)


# -------------------------------------------------------------------------------------------------- files and figures


def train_with_all(folder: Path) -> dict[str, Any]:
    rank = distributed.get_rank() if distributed.is_initialized() else int(os.environ["RANK"])
    hooks = [
        EMAHook(),
        LoggerHook(4, out_dir=folder.parent / "copies"),
        CheckpointHook(4, by_epoch=False, published_keys=["meta", "state_dict"]),
        ProfilerHook(by_epoch=False, profile_times=2, json_trace_path=folder / "trace.json"),
        ProgressBarHook("plain", plain_every=1e-6),
        SyncBuffersHook(),
        ThroughputHook(4),
    ]
    state = make_state(folder, hooks)
    with state:
        for batch in state.batches(batches()):
            state.model(batch["x"] + rank).square().mean().backward()
            state.optimizer.step()
            state.after_step()
            if state.every(8):
                buffers = {name: value.clone() for name, value in state.model.module.named_buffers()}
                state.validated({"mIoU": 1.0})
    return buffers


def test_ranks_write_no_file_of_another(tmp_path):
    first, second = on_ranks(2, tmp_path / "ranks", train_with_all, tmp_path / "out")
    assert first.keys() == second.keys()
    assert not torch.equal(first["1.running_mean"], torch.zeros(4))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file())
    assert [name for name in names if "-" not in name] == [
        "iter_4.pth",
        "iter_8.pth",
        "last_checkpoint",
        "trace.json",
        "trace_rank1.json",
    ]
    assert sum("-" in name for name in names) == 1
    assert "Iter" in (tmp_path / "ranks" / "rank0.log").read_text()
    assert "INFO" not in (tmp_path / "ranks" / "rank1.log").read_text()


def count_images() -> float:
    """The images a second of a window, over those of this rank."""
    distributed.init_process_group("gloo")
    stored: dict[str, float] = {}
    hub = SimpleNamespace(update_scalars=stored.update)
    runner: Any = SimpleNamespace(message_hub=hub)
    hook = ThroughputHook(2)
    hook.before_train(runner)
    times = iter([0.0, 1.0, 1.0, 2.0])
    timing.time = SimpleNamespace(perf_counter=lambda: next(times))  # type: ignore[assignment]
    for step in range(2):
        hook.before_train_iter(runner, step)
        hook.after_train_iter(runner, step, data_batch=torch.zeros(3, 1))
    return stored["train/images_per_s"]


def test_images_are_those_of_all_ranks(tmp_path):
    assert on_ranks(2, tmp_path / "ranks", count_images) == [6.0, 6.0]  # two batches of three in two seconds, twice


# ------------------------------------------------------------------------------------------ in a runner like MMEngine's


class OtherRunner:
    """Calls hooks on every rank, and writes on rank 0 alone, without a word to the others."""

    max_iters, max_epochs, epoch, seed, cfg = 100, 1, 0, None, None
    experiment_name = "other"

    def __init__(self, folder: Path, hooks: list[Any]) -> None:
        distributed.init_process_group("gloo")
        self.rank = distributed.get_rank()
        self.work_dir = self.log_dir = folder
        self.hooks, self.iter, self.lost = hooks, 0, False
        self.train_loop = SimpleNamespace(stop_training=False)
        self.logger = logging.Logger("other")
        info: dict[str, Any] = {}
        self.message_hub = SimpleNamespace(
            get_info=lambda name, default=None: info.get(name, default),
            update_info=lambda name, value, resumed=True: info.update({name: value}),
            pop_info=lambda name, default=None: info.pop(name, default),
        )
        self.sent: list[Any] = []
        self.visualizer = SimpleNamespace(add_scalars=lambda record, **_: self.sent.append(record), close=lambda: None)
        self.val_dataloader = self.train_dataloader = None
        self.asked: list[str] = []

    def save_checkpoint(self, path: Path, *, optimizer: bool, schedulers: bool, on_done: Any) -> None:
        self.asked.append(path.name)
        distributed.barrier()  # gathers from all ranks, as one with parts of the weights on each does
        if self.rank == 0 and not self.lost:
            path.write_bytes(b"x")
            on_done()

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        return {}, ""

    def validate(self, metrics: dict[str, Any]) -> None:
        self.iter += 1
        for hook in self.hooks:
            hook.after_val_epoch(self, metrics)


def validate_in_other_runner(folder: Path) -> tuple[list[str], int, bool, int]:
    best = CheckpointHook(-1, by_epoch=False, save_best="auto")
    stopper = EarlyStoppingHook("mIoU", patience=2, min_delta=0)
    runner = OtherRunner(folder, [best, stopper, LoggerHook()])
    best.before_train(runner)
    for score, lost in ((1.0, False), (3.0, True), (2.0, False), (1.5, False)):
        runner.lost = lost
        runner.validate({"mIoU": score} if runner.rank == 0 else {"mIoU": -score, "other": 1.0})
    return runner.asked, stopper.wait_count, runner.train_loop.stop_training, len(runner.sent)


def test_all_ranks_save_and_stop_as_rank_0_decides(tmp_path):
    (asked, waited, stopped, sent), second = on_ranks(2, tmp_path / "ranks", validate_in_other_runner, tmp_path)
    assert asked == [f"best_mIoU_iter_{count}.pth" for count in (1, 2, 3)]  # the second one did not reach the disk
    assert (waited, stopped, sent) == (2, True, 4)
    assert second == (asked, waited, stopped, 0)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["best_mIoU_iter_3.pth"]
