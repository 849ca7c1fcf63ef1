"""What is said of files is true: saved is what is there, and else from where a resume goes on."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, LoggerHook, NanGuardHook, ProfilerHook, TrainState
from seg_hooks.own_loop.scalars import ScalarStore

Make = Callable[..., TrainState]
Train = Callable[..., None]


def heard(state: TrainState, caplog: pytest.LogCaptureFixture) -> TrainState:
    """The state, with its words in `caplog`."""
    state.logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    return state


def regular(interval: int = 2, **options: Any) -> CheckpointHook:
    return CheckpointHook(interval, by_epoch=False, **options)


class At:
    """Does something once, before a step (from 0)."""

    def __init__(self, step: int, action: Callable[[TrainState], Any]) -> None:
        self.step, self.action = step, action

    def before_train_iter(self, runner: TrainState) -> None:
        if runner.iter == self.step:
            self.action(runner)


def spoil(state: TrainState) -> None:
    with torch.no_grad():
        next(state.model.parameters()).fill_(torch.nan)


def test_a_place_that_is_a_file(make_state: Make, train: Train, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "out").write_text("I was here first")
    hooks = [regular(5, out_dir=tmp_path / "out")]
    state = heard(make_state(hooks, work_dir=tmp_path / "run"), caplog)
    train(state)
    assert state.iter == 10
    assert "Saved" not in caplog.text
    assert (
        f"There is no checkpoint to resume from in {state.work_dir}: a run would start from the beginning; 5 iter"
        in caplog.text
    )
    assert "10 iterations are lost then" in caplog.text


def replaced_by_a_file(state: TrainState) -> None:
    shutil.rmtree(state.work_dir)
    state.work_dir.write_text("I am here now")


def test_a_folder_that_becomes_a_file(make_state: Make, train: Train, caplog: Any) -> None:
    state = heard(make_state([regular(), LoggerHook(1), At(5, replaced_by_a_file)]), caplog)
    train(state)
    said = [record.getMessage() for record in caplog.records if "iter_" in record.getMessage()]
    assert [line.partition(":")[0] for line in said[:2]] == [f"Saved checkpoint at {n} iterations" for n in (2, 4)]
    assert all("could not be written" in line for line in said[2:])
    assert len(said) == 5


def test_a_folder_that_is_removed_is_made_again(make_state: Make, train: Train, caplog: Any) -> None:
    state = heard(make_state([regular(), At(5, lambda state: shutil.rmtree(state.work_dir))]), caplog)
    train(state)
    assert sorted(path.name for path in state.work_dir.glob("*.pth")) == ["iter_10.pth", "iter_6.pth", "iter_8.pth"]
    assert "Saved checkpoint at 6 iterations: iter_6.pth" in caplog.text


READ_ONLY = """
import io, os, sys, torch
from pathlib import Path
from seg_hooks import CheckpointHook, TrainState

net = torch.nn.Linear(4, 4)
torch.optim.SGD(net.parameters(), 0.1).step()
torch.save({}, io.BytesIO())  # whatever torch imports for that, while it may be read
if os.geteuid() == 0:  # root may write everywhere
    os.setgid(65534)
    os.setuid(65534)
work_dir = Path(sys.argv[1])
state = TrainState(net, torch.optim.SGD(net.parameters(), 0.1), work_dir, 6,
                   hooks=[CheckpointHook(2, by_epoch=False, save_best="mIoU")])
with state:
    for batch in state.batches([torch.ones(1, 4)] * 6):
        state.after_step(loss=net(batch).mean())
        if state.every(3):
            state.validated({"mIoU": state.iter})
        if state.iter == 3:
            work_dir.chmod(0o500)
print("finished", state.iter)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_a_folder_that_turns_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # the folders above may stay closed
    command = [sys.executable, "-W", "ignore", "-c", READ_ONLY, "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "finished 6" in done.stdout, done.stderr
    lines = [line for line in done.stdout.splitlines() if "iter_" in line]
    assert sum("Saved checkpoint" in line for line in lines) == 1
    assert sum("is saved to best" in line for line in lines) == 1
    lost = [line for line in lines if "could not be written" in line]
    assert len(lost) == 3  # 4 and 6 iterations, and the best
    assert lost[-1].endswith("iter_2.pth (iteration 2; 4 iterations are to be made again).")
    assert "Permission denied" in lost[-1]
    assert ".tmp" not in lost[-1]


class Late:
    """A runner that writes beside training: it says later that a file is there."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir, self.iter, self.epoch, self.max_iters, self.max_epochs = work_dir, 4, 0, 10, 1
        self.message_hub, self.logger = ScalarStore(), logging.Logger("late")
        self.waiting: list[Callable[[], None]] = []

    def save_checkpoint(self, path: Path, on_done: Callable[[], None], **options: bool) -> None:
        torch.save({}, path)
        self.waiting.append(on_done)


def test_a_file_that_is_gone_when_its_writer_tells_is_not_saved(tmp_path: Path, caplog: Any) -> None:
    runner = Late(tmp_path)
    runner.logger.addHandler(caplog.handler)
    hook = regular(5, save_best="mIoU")
    hook.before_train(runner)
    hook.after_train_iter(runner, batch_idx=4)
    runner.iter = 5
    hook.after_val_epoch(runner, metrics={"mIoU": 1.0})
    for path in tmp_path.glob("*.pth"):
        path.unlink()
    for done in runner.waiting:
        done()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "iter_5.pth was written, but is now empty or missing" in caplog.text
    assert not (tmp_path / "last_checkpoint").exists()
    assert hook.kept == []
    assert hook.best[0].best_score is None


@pytest.mark.parametrize("name", ["iter_{}.pth", "interrupted_iter_{}.pth"])
def test_eight_preemptions_leave_as_many_files_as_are_to_be_kept(make_state: Make, train: Train, name: str) -> None:
    for number in range(1, 9):
        state = make_state([regular(100, max_keep_ckpts=2)], max_iters=40)
        newest = state.work_dir / name.format(3 * number - 3)
        state.resume(newest if number > 1 else None)

        def preempted(state: TrainState, step: int = 3 * number) -> None:
            if state.iter == step:
                state.save_checkpoint(state.work_dir / name.format(step))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(state, on_step=preempted)
    files = sorted(path.name for path in state.work_dir.glob("*.pth"))
    assert files == sorted(name.format(count) for count in (21, 24))
    if name == "iter_{}.pth":
        assert (state.work_dir / "last_checkpoint").read_text() == "iter_24.pth"
        assert make_state().resume() == state.work_dir / "iter_24.pth"


@pytest.mark.parametrize("name", ["mine.pth", "after_pretraining_5.pth", "elsewhere/iter_5.pth", "best_of_all.pth"])
def test_a_file_of_another_name_stays(make_state: Make, train: Train, name: str) -> None:
    def keep(state: TrainState) -> None:
        if state.iter == 5:
            state.save_checkpoint(state.work_dir / name)

    state = make_state([regular(2, max_keep_ckpts=1)])
    train(state, on_step=keep)
    assert sorted(path.name for path in state.work_dir.rglob("*.pth")) == sorted(["iter_10.pth", Path(name).name])


def test_a_spoilt_file_says_from_where_a_resume_goes_on(make_state: Make, train: Train, caplog: Any) -> None:
    state = heard(make_state([regular(), At(5, spoil)]), caplog)
    train(state)
    good = state.work_dir / "iter_4.pth"
    lines = [record.getMessage() for record in caplog.records if "is marked:" in record.getMessage()]
    again = f"A resume goes on from {good} (iteration 4; {{}} iterations are to be made again)."
    assert [line[line.index("A resume") :] for line in lines] == [again.format(count) for count in (2, 4, 6)]
    assert make_state().resume() == good


def test_a_spoilt_file_that_is_alone_promises_no_older_one(make_state: Make, train: Train, caplog: Any) -> None:
    state = heard(make_state([regular(5), At(1, spoil)]), caplog)
    train(state)
    assert "(iteration 5; its weights are not finite, and there is no other)" in caplog.text
    assert "an older one" not in caplog.text


def test_a_best_one_is_taken_before_a_spoilt_one(make_state: Make, train: Train, caplog: Any) -> None:
    """The last is spoilt, and no regular one came before it."""
    metrics: dict[str, Any] = {"every": 3, "metrics": lambda state: {"mIoU": state.iter}}
    train(make_state([regular(-1, save_best="mIoU"), At(4, spoil)]), **metrics)
    state = heard(make_state([regular(-1, save_best="mIoU")], max_iters=12), caplog)
    assert state.resume() == state.work_dir / "best_mIoU_iter_3.pth"
    assert state.iter == 3
    train(state)
    assert all(torch.isfinite(weight).all() for weight in state.model.parameters())


def test_a_signal_while_a_signal_is_saved_for_leaves_whole_files(make_state: Make, train: Train) -> None:
    state = make_state([regular(100, max_keep_ckpts=1)])

    def preempted(state: TrainState) -> None:
        for count in (3, 4):
            if state.iter == count:
                state.save_checkpoint(state.work_dir / f"iter_{count}.pth")
                state.save_checkpoint(state.work_dir / f"iter_{count}.pth")  # twice under one name

    train(state, on_step=preempted)
    assert [path.name for path in state.work_dir.glob("*.pth")] == ["iter_10.pth"]


def test_a_run_without_a_logger_tells_of_the_first_bad_loss_once(make_state: Make, caplog: Any) -> None:
    state = heard(make_state(), caplog)
    with state:
        for _ in state.batches([torch.ones(1)] * 4):
            state.after_step(loss=torch.nan if state.iter > 5 else 1.0)
    assert [record.getMessage().partition(" is not")[0] for record in caplog.records] == ["iteration 7: loss"]


def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes half of a trace, and torch says nothing."""
    from torch import profiler

    real = profiler.profile.export_chrome_trace

    def export(self: Any, path: str) -> None:
        real(self, path)
        half = Path(path).read_bytes()[: os.stat(path).st_size // 2]
        # within a text: half of a trace may by chance end as a whole one does
        Path(path).write_bytes(half if path.endswith(".gz") else half[: half.rindex(b'"')])

    monkeypatch.setattr(profiler.profile, "export_chrome_trace", export)


@pytest.mark.parametrize("ending", ["json", "json.gz"])
@pytest.mark.parametrize("way", ["path", "tensorboard"])
def test_a_trace_that_is_cut_short_is_not_said_to_be_there(
    make_state: Make, train: Train, tmp_path: Path, caplog: Any, monkeypatch: Any, way: str, ending: str
) -> None:
    path = tmp_path / f"trace.{ending}"
    options: dict[str, Any] = {"json_trace_path": path}
    if way == "tensorboard":
        options = {"on_trace_ready": {"type": "tb_trace", "dir_name": str(tmp_path / "traces")}}
    train(make_state([ProfilerHook(by_epoch=False, **options)]))
    assert way == "tensorboard" or path.stat().st_size
    cut(monkeypatch)
    path.unlink(missing_ok=True)
    state = heard(make_state([ProfilerHook(by_epoch=False, **options)]), caplog)
    train(state)
    assert "cannot be written" in caplog.text
    assert "The trace is in" not in caplog.text
    assert not path.exists()
    assert len(list(tmp_path.glob("traces/*"))) == (way == "tensorboard")


@pytest.mark.parametrize("options", [{"json_trace_path": "here/a.json"}, {"on_trace_ready": {"type": "tb_trace"}}])
def test_a_trace_below_a_file_ends_no_run(
    make_state: Make, train: Train, tmp_path: Path, caplog: Any, monkeypatch: Any, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").touch()
    if "on_trace_ready" in options:
        options = {"on_trace_ready": {**options["on_trace_ready"], "dir_name": "here"}}
    state = heard(make_state([ProfilerHook(by_epoch=False, **options)]), caplog)
    train(state)
    assert state.iter == 10
    assert "ProfilerHook: here/" in caplog.text
    assert "cannot be written" in caplog.text


def test_a_copy_that_cannot_be_published_ends_no_run(make_state: Make, train: Train, caplog: Any) -> None:
    class Damage:
        priority = "LOWEST"

        def after_train_epoch(self, runner: TrainState) -> None:
            (runner.work_dir / "iter_10.pth").write_bytes(b"cut")

    state = heard(make_state([regular(published_keys=["state_dict"]), Damage()]), caplog)
    train(state)
    assert "iter_10.pth is not published" in caplog.text
    assert "is published as" not in caplog.text


def test_logs_that_cannot_be_copied_stay(make_state: Make, train: Train, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/out").write_text("a file")
    state = heard(make_state([LoggerHook(1, out_dir=tmp_path / "far", keep_local=False)]), caplog)
    train(state)
    assert f"0 of 2 log files are copied to {tmp_path / 'far/out'}" in caplog.text
    assert f"all of them stay in {state.log_dir}" in caplog.text
    assert len(list(state.log_dir.rglob("*.json"))) == 1


def steps_of(state: TrainState, losses: list[float], spoilt: bool = False) -> None:
    with state:
        for _ in state.batches([torch.ones(1)] * len(losses)):
            if spoilt:
                spoil(state)
            state.after_step(loss=losses[state.iter])


@pytest.mark.parametrize(("blocked", "words"), [("report.json", "Kept in"), ("bundle.pt", "The step was not saved")])
def test_evidence_is_kept_where_it_is_there(make_state: Make, blocked: str, words: str) -> None:
    state = make_state([NanGuardHook()])
    (state.work_dir / "nan/iter_1" / blocked).mkdir(parents=True)
    with pytest.raises(FloatingPointError, match=words) as caught:
        steps_of(state, [torch.nan])
    assert ("replay with" in str(caught.value)) == (words == "Kept in")
    assert "resume" not in str(caught.value)


def test_nothing_goes_back_to_spoilt_weights(make_state: Make, train: Train) -> None:
    """The loss is finite, the weights are not: the only checkpoint is marked."""
    state = make_state([NanGuardHook("rollback", check_gradients=False), regular(2)])
    with pytest.raises(FloatingPointError, match=r"cannot go back to .*: its weights are not finite"):
        steps_of(state, [1.0, 1.0, 1.0, torch.nan], spoilt=True)
