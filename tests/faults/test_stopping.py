"""Signals and exceptions in training: one checkpoint, the documented exit code, and the same run afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.drill import Child, Crops, checkpoint_differences, in_child, log_lines, make_runner, train
from seg_runner import find_resumable, read_checkpoint
from seg_runner.checkpoint.report import ResumeError
from torch.utils.data import DataLoader


class Tell:
    """Writes a file in the step with this number, and waits there until it is gone."""

    def __init__(self, iteration: int, file: Path) -> None:
        self.iteration, self.file = iteration, file

    def before_train_iter(self, runner):
        if runner.iter == self.iteration:
            self.file.write_text("here")
            while self.file.exists():
                time.sleep(0.005)


class Breaks:
    """Raises in the step with this number."""

    def after_train_iter(self, runner):
        if runner.iter == 11:
            raise ZeroDivisionError("broken hook")


def train_and_wait(work_dir, iteration, mark, **plan):
    runner = make_runner(work_dir, **plan)
    runner.register_hook(Tell(iteration, mark))
    runner.train()


def stop_in_training(work_dir: Path, mark: Path, send, **plan) -> int:
    """Start a run, send signals while it stands in step 9, let it go on; returns its exit code."""
    child = Child(train_and_wait, work_dir, 9, mark, **plan)
    while not mark.exists():
        assert child.code is None, child.log.read_text()[-2000:]
        time.sleep(0.005)
    send(child)
    mark.unlink(missing_ok=True)
    return child.wait()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138), ("SIGHUP", 129)])
def test_a_signal_saves_once_and_leaves_with_its_code(tmp_path, name, code):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole) == 0
    number = getattr(signal, name)
    assert stop_in_training(cut, tmp_path / "mark", lambda child: os.kill(child.pid, number)) == code
    assert sorted(path.name for path in cut.glob("iter_*.pth")) == ["iter_10.pth", "iter_7.pth"]
    assert Path((cut / "last_checkpoint").read_text()).name == "iter_10.pth"
    assert in_child(train, cut) == 0
    assert checkpoint_differences(whole / "iter_20.pth", cut / "iter_20.pth") == []
    assert log_lines(whole) == log_lines(cut)


def test_a_signal_to_all_processes_of_the_job_leaves_the_workers_at_work(tmp_path):
    plan = {"workers": 2, "persistent": True}
    cut = tmp_path / "cut"
    code = stop_in_training(cut, tmp_path / "mark", lambda child: os.killpg(child.pid, signal.SIGTERM), **plan)
    assert code == 143, cut.with_suffix(".log").read_text()[-2000:]
    assert (tmp_path / "cut" / "iter_10.pth").exists()


def test_a_second_interrupt_leaves_at_once(tmp_path):
    def twice(child):
        os.kill(child.pid, signal.SIGINT)
        while "finishing the step" not in (tmp_path / "cut.log").read_text():
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGINT)
        child.wait()

    assert stop_in_training(tmp_path / "cut", tmp_path / "mark", twice) == 130
    assert not (tmp_path / "cut" / "iter_10.pth").exists()
    (log,) = (tmp_path / "cut").glob("*/*.log")
    last = log.read_text().partition("leaving at once\n")[2].splitlines()  # nothing where the time did not suffice
    assert all("iter_7.pth (iteration 7; 2 iterations are to be made again)" in line for line in last)


def test_signals_can_be_chosen(tmp_path):
    code = stop_in_training(tmp_path / "cut", tmp_path / "mark", lambda child: os.kill(child.pid, signal.SIGUSR2),
                            signals=["SIGUSR2"])  # fmt: skip
    assert code == 128 + signal.SIGUSR2


class TermAt:
    """Sends SIGTERM to its own process at a point, once."""

    def __init__(self, point: str, iteration: int) -> None:
        self.iteration = iteration
        setattr(self, point, self._send)

    def _send(self, runner):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def train_with(work_dir: Path, hook, **plan) -> None:
    runner = make_runner(work_dir, **plan)
    runner.register_hook(hook)
    runner.train()


@pytest.mark.parametrize("point", ["before_val_iter", "after_val_epoch"])
@pytest.mark.parametrize(("plan", "at"), [({}, 10), ({"epochs": True, "total": 24}, 12)])
def test_a_signal_during_validation_is_acted_on_before_another_step(tmp_path, plan, at, point):
    """Before the metrics are there it leaves without them, and the resumed run makes up for them."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole, **plan) == 0
    assert in_child(train_with, cut, TermAt(point, at), **plan) == 143
    assert sum("mIoU" in line for line in log_lines(cut)) == (1 if point == "before_val_iter" else 2)
    newest = Path((cut / "last_checkpoint").read_text())
    assert f"saved {newest.name} after iteration {at}" in (tmp_path / "cut.log").read_text()
    assert find_resumable(cut) == newest
    assert in_child(train, cut, **plan) == 0
    name = f"iter_{plan.get('total', 20)}.pth"
    assert checkpoint_differences(whole / name, cut / name) == []
    assert log_lines(whole) == log_lines(cut)


def train_and_go_on(work_dir: Path, point: str) -> None:
    train_with(work_dir, TermAt(point, 20))
    print("what comes after the run")


@pytest.mark.parametrize("point", ["after_train", "after_run"])
def test_a_signal_when_the_last_step_is_done_ends_the_process_too(tmp_path, point):
    cut = tmp_path / "cut"
    assert in_child(train_and_go_on, cut, point) == 143
    told = (tmp_path / "cut.log").read_text()
    assert "SIGTERM: training was finished, with 20 iterations; leaving" in told
    assert "what comes after" not in told
    assert find_resumable(cut) == cut / "iter_20.pth"


def train_without_a_terminal(work_dir: Path) -> None:
    runner = make_runner(work_dir)
    runner.register_hook(Hangup())
    runner.train()


class Hangup:
    """Closes the terminal in step 10."""

    def after_train_iter(self, runner):
        if runner.iter == 9:
            read, write = os.openpty()
            for number in (1, 2):
                os.dup2(write, number)
            os.close(read)  # writing to it is an error from now on
            os.kill(os.getpid(), signal.SIGHUP)


def test_a_terminal_that_is_gone_loses_no_step(tmp_path):
    cut = tmp_path / "cut"
    assert in_child(train_without_a_terminal, cut) == 129
    assert find_resumable(cut) == cut / "iter_10.pth"
    (log,) = cut.glob("*/*.log")
    assert "SIGHUP: saved iter_10.pth after iteration 10 and stopped" in log.read_text()


class OwnLoop:
    """A loop as users write it: it names its points and knows of no signals."""

    max_iters, max_epochs = 20, 1

    def __init__(self, runner, dataloader) -> None:
        self.runner, self.dataloader = runner, dataloader
        self._iter = self._epoch = 0

    @property
    def iter(self):
        return self._iter

    @property
    def epoch(self):
        return self._epoch

    def run(self):
        runner = self.runner
        runner.call_hook("before_train")
        while self._iter < self.max_iters:
            for batch in self.dataloader:
                runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
                outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
                runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=outputs)
                self._iter += 1
                if self._iter == 10:
                    runner.val_loop.run()
                if self._iter == self.max_iters:
                    break
        runner.call_hook("after_train")


@pytest.mark.parametrize(("point", "at"), [("before_train_iter", 9), ("before_val_iter", 10)])
def test_signals_are_heard_in_a_loop_of_ones_own(tmp_path, point, at):
    cut = tmp_path / "cut"
    plan = {"train_cfg": {"type": OwnLoop}}
    assert in_child(train_with, cut, TermAt(point, at), **plan) == 143
    assert read_checkpoint(cut / "iter_10.pth")["meta"]["iter"] == 10


def test_an_exception_saves_what_is_resumed_only_when_asked_for(tmp_path):
    work_dir = tmp_path / "cut"
    runner = make_runner(work_dir)
    runner.register_hook(Breaks())
    with pytest.raises(ZeroDivisionError, match="broken hook") as caught:
        runner.train()
    assert any("interrupted" in note for note in caught.value.__notes__)
    files = list(work_dir.glob("interrupted*"))
    assert len(files) == 1
    assert read_checkpoint(files[0])["meta"]["iter"] == 12
    assert find_resumable(work_dir) == work_dir / "iter_7.pth"
    assert find_resumable(work_dir, interrupted=True) == files[0]
    asked = make_runner(work_dir, resume=str(files[0]), total=13)
    asked.train()
    assert asked.iter == 13


def test_a_refused_resume_leaves_no_file_that_gets_round_the_refusal(tmp_path):
    """The state is half restored then, and the file would say that nothing had changed."""
    work_dir = tmp_path / "run"
    assert in_child(train, work_dir, total=8) == 0
    before = sorted(path.name for path in work_dir.glob("*.pth"))
    runner = make_runner(work_dir, total=12, strict_resume=True, train_dataloader=DataLoader(Crops(30), 4))
    with pytest.raises(ResumeError, match="'length': 30"):
        runner.train()
    assert sorted(path.name for path in work_dir.glob("*.pth")) == before


def test_handlers_are_those_of_before(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    make_runner(tmp_path / "run", total=4).train()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
    torch.set_num_threads(1)


class Preempt:
    """Sends SIGTERM, or raises, after so many steps of a session."""

    priority = 90

    def __init__(self, steps: int, raises: bool = False) -> None:
        self.steps, self.raises = steps, raises

    def after_train_iter(self, runner):
        if runner.iter == runner.began_at + self.steps:
            if self.raises:
                raise ZeroDivisionError
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("raises", [False, True])
def test_eight_preemptions_leave_as_many_files_as_are_to_be_kept(tmp_path, raises, capsys):
    """`max_keep_ckpts=3`; what an exception left may be one more, beside the file that a resume takes."""
    work_dir = tmp_path / "run"
    for _ in range(8):
        runner = make_runner(work_dir, total=200, val_dataloader=None)
        runner.register_hook(Preempt(12, raises))
        with pytest.raises(ZeroDivisionError if raises else SystemExit):
            runner.train()
        assert find_resumable(work_dir) is not None
        assert len(list(work_dir.glob("*.pth"))) <= 3
        assert Path((work_dir / "last_checkpoint").read_text()).exists()
    assert runner.iter > 50
