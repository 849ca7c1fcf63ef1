"""TrainState on several ranks, in a loop by hand: DDP round the model, DistributedSampler or not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import Ranks, on_ranks
from seg_hooks import CheckpointHook, EarlyStoppingHook, EMAHook, LoggerHook, ProgressBarHook, TrainState
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

SIZE = 40


class Numbers(Dataset[Any]):
    """Samples that know their number, with noise of the process that reads them."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        fixed = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return fixed + 0.1 * torch.randn(4), index


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))


def make_loader(together: int = 8, **options: Any) -> DataLoader[Any]:
    size = together // distributed.get_world_size()
    return DataLoader(Numbers(), size, sampler=DistributedSampler(Numbers()), **options)


def make_state(folder: Path, hooks: Iterable[Any] = (), max_iters: int = 12, **options: Any) -> TrainState:
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    net = DistributedDataParallel(make_net())
    torch.manual_seed(100 + distributed.get_rank())  # each rank draws its own dropout
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    return TrainState(net, optimizer, folder, max_iters, hooks=hooks, **options)


def usual() -> list[Any]:
    return [LoggerHook(4), EMAHook(), CheckpointHook(4, by_epoch=False, save_best="mIoU", max_keep_ckpts=2)]


def train(folder: Path, stop: int = 0, together: int = 8, validate: int = 6, **options: Any) -> dict[str, Any]:
    """Train on this rank, resumed where there is something; return the weights and the samples of each step."""
    state = make_state(folder, usual(), **options)
    resumed = state.resume()
    samples: list[list[int]] = []
    try:
        with state:
            for batch, numbers in state.batches(make_loader(together)):
                samples.append(numbers.tolist())
                loss = state.model(batch).square().mean()
                loss.backward()
                state.optimizer.step()
                state.optimizer.zero_grad()
                state.after_step(loss=loss)
                if state.every(validate):
                    state.validated({"mIoU": float(state.iter)})
                if state.iter == stop:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    return {
        "samples": samples,
        "resumed": None if resumed is None else resumed.name,
        "weights": {name: value.clone() for name, value in state.model.module.state_dict().items()},
        "log": (state.log_dir / f"{state.log_dir.name}{log_name()}.log").read_text("utf-8"),
        "records": (state.log_dir / "vis_data" / "scalars.json").read_text("utf-8"),
        "files": sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
    }


def log_name() -> str:
    rank = os.environ["RANK"]
    return "" if rank == "0" else f"_rank{rank}"


def steps_of(found: list[dict[str, Any]]) -> list[list[int]]:
    """The samples of each step, of all ranks together."""
    return [sorted(chain(*step)) for step in zip(*(one["samples"] for one in found), strict=True)]


def values(records: str) -> list[str]:
    """The records without what the clock decides."""
    rows = [json.loads(line) for line in records.splitlines()]
    return [str({name: value for name, value in row.items() if "time" not in name}) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A run of twelve steps on two ranks, not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    found = on_ranks(2, folder / "ranks", train, folder / "out")
    return [{**one, "said": (folder / "ranks" / f"rank{rank}.log").read_text()} for rank, one in enumerate(found)]


def test_rank_0_writes_and_speaks_and_each_rank_has_a_log(whole):
    first, second = whole
    session = first["files"][0].partition("/")[0]
    assert first["files"] == sorted(
        [
            *(f"{session}/{session}{end}" for end in (".log", "_rank1.log")),
            f"{session}/vis_data/scalars.json",
            *("best_mIoU_iter_12.pth", "iter_12.pth", "iter_8.pth", "last_checkpoint"),
        ]
    )
    assert "Iter(train) [12/12]" in first["log"]
    assert "Iter(train) [12/12]" in second["log"]
    assert "Iter(train) [12/12]" in first["said"]
    assert second["said"] == ""
    assert [row.split("loss: ")[1] for row in first["log"].splitlines() if "loss: " in row] == [
        row.split("loss: ")[1] for row in second["log"].splitlines() if "loss: " in row
    ]
    assert not set(first["samples"][0]) & set(second["samples"][0])
    assert "not wrapped" not in first["log"]


def test_resumed_on_as_many_ranks_it_ends_as_the_whole_run(whole, tmp_path):
    on_ranks(2, tmp_path / "a", train, tmp_path / "out", stop=9)
    found = on_ranks(2, tmp_path / "b", train, tmp_path / "out")
    for one, expected in zip(found, whole, strict=True):
        assert one["resumed"] == "iter_8.pth"
        assert one["samples"] == expected["samples"][8:]
        assert "not restored" not in one["log"]
    for name, value in found[0]["weights"].items():
        assert torch.equal(value, whole[0]["weights"][name]), name
    assert values(found[0]["records"]) == values(whole[0]["records"])[-len(values(found[0]["records"])) :]


@pytest.mark.parametrize("world", [1, 4])
def test_resumed_on_another_number_of_ranks_it_goes_on_with_the_same_samples(whole, tmp_path, world):
    on_ranks(2, tmp_path / "a", train, tmp_path / "out", stop=9)
    found = on_ranks(world, tmp_path / "b", train, tmp_path / "out")
    assert steps_of(found) == steps_of(whole)[8:]
    text = f"not restored: the random numbers of each rank, of which there were 2, and are {world}."
    assert all(text in one["log"] for one in found)
    for one in found:
        for name, value in one["weights"].items():
            assert "running" in name or torch.equal(value, found[0]["weights"][name]), name


def test_a_larger_global_batch_goes_on_behind_the_same_samples(tmp_path):
    on_ranks(1, tmp_path / "a", train, tmp_path / "out", stop=4, together=4)
    found = on_ranks(2, tmp_path / "b", train, tmp_path / "out", together=8)
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(0)).tolist()
    assert sorted(found[0]["samples"][0] + found[1]["samples"][0]) == sorted(order[16:24])


def draw(folder: Path) -> float:
    state = make_state(folder)
    state.resume()
    return float(torch.rand(()))


def test_new_ranks_draw_numbers_of_their_own(tmp_path):
    on_ranks(1, tmp_path / "a", train, tmp_path / "out", stop=5)
    assert len(set(on_ranks(4, tmp_path / "b", draw, tmp_path / "out"))) == 4


# ------------------------------------------------------------------------------------------------ errors of one rank


def begin(folder: Path) -> str:
    state = make_state(folder)
    try:
        with state:
            return "begun"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_an_earlier_run_is_an_error_on_all_ranks(whole, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "iter_3.pth").write_bytes(b"x")
    first, second = on_ranks(2, tmp_path / "ranks", begin, tmp_path / "out")
    assert first == second
    assert first.startswith("FileExistsError: TrainState: an earlier run has left checkpoints in")


def test_a_folder_in_use_is_an_error_on_all_ranks(tmp_path):
    from seg_hooks.own_loop.lock import only_run

    (tmp_path / "out").mkdir()
    with only_run(tmp_path / "out"):
        first, second = on_ranks(2, tmp_path / "ranks", begin, tmp_path / "out")
    assert first == second
    assert first.startswith("RuntimeError: TrainState: another run is training in")


def make(folder: Path) -> str:
    try:
        make_state(folder)
    except OSError as error:
        return f"{type(error).__name__}: {error} {error.__notes__}"
    return "made"


def test_a_folder_that_cannot_be_made_is_an_error_on_all_ranks(tmp_path):
    (tmp_path / "file").write_text("")
    first, second = on_ranks(2, tmp_path / "ranks", make, tmp_path / "file" / "out")
    assert first == second
    assert "NotADirectoryError" in first
    assert "cannot be created" in first


def differ(folder: Path, what: str) -> str:
    rank = distributed.get_rank() if distributed.is_initialized() else int(os.environ["RANK"])
    hooks: list[Any] = [LoggerHook(3)] if rank or what != "hooks" else []
    hooks += [ProgressBarHook("plain")] * (what == "hooks of the user" and not rank)
    state = make_state(folder, hooks, max_iters=3 + (what == "max_iters" and rank))
    try:
        with state:
            loader = [torch.zeros(2, 4)] * (2 + (what == "batches" and rank))
            for _ in state.batches(loader):
                state.after_step()
    except RuntimeError as error:
        return str(error)
    return (state.log_dir / f"{state.log_dir.name}{log_name()}.log").read_text("utf-8")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("max_iters", "TrainState: max_iters is 3 on rank 0 and 4 on rank 1"),
        ("hooks", "TrainState: hooks is [] on rank 0 and ['LoggerHook'] on rank 1"),
        ("hooks of the user", "Iter"),
        ("batches", "The ranks do not have the same number of batches in a pass (rank 0: 2, rank 1: 3)"),
    ],
)
def test_ranks_that_differ_are_told_so(tmp_path, what, words):
    for told in on_ranks(2, tmp_path / "ranks", differ, tmp_path / "out", what):
        assert words in told


# ---------------------------------------------------------------------------------------------------------- signals


def train_long(folder: Path, at: int, batches: bool = True, workers: int = 0) -> None:
    state = make_state(folder, [CheckpointHook(10_000, by_epoch=False)], max_iters=10_000)
    with state:
        loader = make_loader(num_workers=workers)
        for batch, _ in state.batches(loader) if batches else forever(loader):
            loss = state.model(batch).square().mean()
            loss.backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            if state.iter == at and distributed.get_rank() == 1:
                (folder / "here").write_text("")
            state.after_step(loss=loss)


def forever(loader: Iterable[Any]) -> Iterable[Any]:
    while True:
        yield from loader


@pytest.mark.parametrize(
    ("number", "rank", "batches"),
    [(signal.SIGTERM, 1, True), (signal.SIGINT, 0, True), (signal.SIGUSR1, 1, False)],
)
def test_a_signal_to_one_rank_ends_all(tmp_path, number, rank, batches):
    with Ranks(2, tmp_path / "ranks", train_long, tmp_path / "out", at=7, batches=batches) as ranks:
        while not (tmp_path / "out" / "here").exists():
            assert all(process.is_alive() for process in ranks.processes), ranks.said(0) + ranks.said(1)
            time.sleep(0.01)
        ranks.signal(rank, number)
        assert ranks.codes() == [128 + number] * 2, ranks.said(0) + ranks.said(1)
    left_after_one_step(tmp_path, ranks, number)


def test_a_signal_to_each_process_of_a_rank_leaves_its_workers_reading(tmp_path):
    with Ranks(2, tmp_path / "ranks", train_long, tmp_path / "out", at=7, workers=1) as ranks:
        while not (tmp_path / "out" / "here").exists():
            assert all(process.is_alive() for process in ranks.processes), ranks.said(0) + ranks.said(1)
            time.sleep(0.01)
        for process in ranks.processes:
            os.killpg(process.pid, signal.SIGTERM)  # as torchrun and Slurm send it
        assert ranks.codes() == [143, 143], ranks.said(0) + ranks.said(1)
    left_after_one_step(tmp_path, ranks, signal.SIGTERM)


def left_after_one_step(tmp_path: Path, ranks: Ranks, number: int) -> None:
    """All ranks have saved once, after the same step, and told it in their logs."""
    (saved,) = (tmp_path / "out").glob("*.pth")
    done = int(saved.stem.removeprefix("iter_"))
    assert (tmp_path / "out" / "last_checkpoint").read_text().endswith(saved.name)
    text = f"{signal.Signals(number).name}: all ranks leave after iteration {done}."
    logs = sorted((tmp_path / "out").glob("*/*.log"))
    assert len(logs) == 2
    assert all(text in log.read_text("utf-8") for log in logs)
    assert ranks.said(0).count("all ranks leave") == 1
    assert "all ranks leave" not in ranks.said(1)


def stop_on_one(folder: Path) -> int:
    state = make_state(folder, max_iters=10_000)
    with state:
        for batch, _ in state.batches(make_loader()):
            state.model(batch).square().mean().backward()
            state.optimizer.step()
            state.after_step()
            if state.iter == 5 and distributed.get_rank() == 1:
                state.stop_training = True
    return state.iter


def test_a_rank_that_stops_stops_all_after_the_same_step(tmp_path):
    first, second = on_ranks(2, tmp_path / "ranks", stop_on_one, tmp_path / "out")
    assert 5 <= first == second < 10_000


def ask_all(seconds: float) -> list[int]:
    """Count the collectives of 60 steps of which each takes so many seconds; a signal comes in the last but one."""
    from seg_hooks.processes.meeting import Meeting
    from seg_hooks.processes.world import current_world

    distributed.init_process_group("gloo")
    meeting, asked = Meeting(current_world()), []
    meeting.open(0)
    for step in range(60):
        time.sleep(seconds)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            meeting.ask(step, False)
        if any("allreduce" in event.name.lower() or "all_reduce" in event.name for event in profile.events()):
            asked.append(step)
    meeting.close()
    return asked


def test_the_ranks_ask_one_another_only_now_and_then_and_after_the_same_steps(tmp_path):
    first, second = on_ranks(2, tmp_path / "ranks", ask_all, 0.002)
    assert first == second
    assert 1 < len(first) < 30


def test_the_ranks_ask_more_seldom_where_a_question_takes_long(monkeypatch):
    """With a thousand ranks: a step of a quarter of a second, and 60 ms until the answer is there."""
    from seg_hooks.processes.meeting import Meeting

    class Far:
        rank, asked, now = 0, 0, 0.0

        def largest(self, *numbers: int) -> tuple[int, ...]:
            self.asked += 1
            self.now += 0.06
            return numbers

    far: Any = Far()
    monkeypatch.setattr("time.monotonic", lambda: far.now)
    meeting = Meeting(far)
    for step in range(1000):
        far.now += 0.25
        meeting.ask(step, False)
    assert 20 < far.asked < 30, "a two hundredth of the time: every 12 seconds"


# ------------------------------------------------------------------------------------------------------ what is logged


def log_with_profiler(folder: Path) -> dict[str, Any]:
    """Log every second step of eight; return the collectives of each step, and the losses of this rank."""
    state = make_state(folder, [LoggerHook(2)], max_iters=8)
    rank, found, losses = distributed.get_rank(), [], []
    with state:
        for batch, _ in state.batches(make_loader()):
            loss = state.model(batch).square().mean()
            state._together._meeting._next = 10_000  # no question to others in between
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                state.after_step(loss=loss, **({"own": 1.0} if rank else {}))
            names = [event.name for event in profile.events() if event.name.startswith("gloo:")]
            found.append(Counter(names))
            losses.append(float(loss))
    text = (state.log_dir / "vis_data" / "scalars.json").read_text("utf-8")
    return {"collectives": found, "losses": losses, "records": text}


def test_scalars_are_means_over_the_ranks_in_one_collective_for_each_log_point(tmp_path):
    first, second = on_ranks(2, tmp_path / "ranks", log_with_profiler, tmp_path / "out")
    for one in (first, second):
        assert [sum(step.values()) for step in one["collectives"]][2:] == [0, 1, 0, 1, 0, 1]
    records = [json.loads(line) for line in first["records"].splitlines()]
    means = [(one + other) / 2 for one, other in zip(first["losses"], second["losses"], strict=True)]
    assert [record["loss"] for record in records] == pytest.approx([sum(means[:n]) / n for n in (2, 4, 6, 8)])
    assert records[0]["own"] == 1.0  # of one rank alone


def validate_apart(folder: Path, empty: bool) -> tuple[Any, str]:
    best = CheckpointHook(100, by_epoch=False, save_best="mIoU", save_last=False)
    stopper = EarlyStoppingHook("mIoU", patience=1, min_delta=0)
    state = make_state(folder, [best, stopper], max_iters=40)
    rank = distributed.get_rank()
    with state:
        for batch, _ in state.batches(make_loader()):
            state.model(batch).square().mean().backward()
            state.optimizer.step()
            state.after_step()
            if state.every(5):
                score = [1.0, 2.0, 1.5, 9.0][state.iter // 5 - 1]
                state.validated({} if empty and rank else {"mIoU": score - 4 * rank * (state.iter == 10)})
    return (state.iter, best.state_dict()["best"][0]["score"]), (
        state.log_dir / f"{state.log_dir.name}{log_name()}.log"
    ).read_text("utf-8")


@pytest.mark.parametrize("empty", [True, False])
def test_all_ranks_decide_by_the_metrics_of_rank_0(tmp_path, empty):
    (first, log), (second, _) = on_ranks(2, tmp_path / "ranks", validate_apart, tmp_path / "out", empty)
    assert first == second == (15, 2.0)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pth")) == ["best_mIoU_iter_10.pth"]
    assert ("validated(): mIoU is 2.0 on rank 0 and -2.0 on rank 1; that of rank 0 counts" in log) is not empty


def lose_on_one(folder: Path) -> str:
    state = make_state(folder, [LoggerHook(3)], max_iters=6)
    with state:
        for _ in state.batches(make_loader()):
            bad = state.iter == 1 and distributed.get_rank() == 1
            state.after_step(loss=torch.tensor(float("nan") if bad else 1.0))
    return (state.log_dir / f"{state.log_dir.name}{log_name()}.log").read_text("utf-8")


def test_a_loss_that_is_not_finite_on_one_rank_is_told_by_all(tmp_path):
    for log in on_ranks(2, tmp_path / "ranks", lose_on_one, tmp_path / "out"):
        assert log.count("iteration 2: loss is not finite on rank 1, for the first time") == 1


# --------------------------------------------------------------------------------------------------- the process group


def make_from_environment(folder: Path) -> tuple[int, str, str]:
    net = make_net()
    state = TrainState(net, torch.optim.SGD(net.parameters(), 0.1), folder, 2)
    with state:
        for _ in state.batches(range(10)):
            state.after_step()
    log = (state.log_dir / f"{state.log_dir.name}{log_name()}.log").read_text("utf-8")
    return distributed.get_world_size(), distributed.get_backend(), log


def test_a_group_is_made_as_the_environment_says(tmp_path):
    for size, backend, log in on_ranks(2, tmp_path / "ranks", make_from_environment, tmp_path / "out"):
        assert (size, backend) == (2, "gloo" if not torch.cuda.is_available() else "nccl")
        assert "The model is not wrapped for 2 processes (WORLD_SIZE=2, as torchrun sets it)" in log
