"""Signals and exceptions in training: one checkpoint, the documented exit code, and the same run afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from _drill import checkpoint_differences, in_child, log_lines, make_runner, start_child, train, wait_for
from seg_runner import find_resumable, read_checkpoint


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
    pid = start_child(train_and_wait, work_dir, 9, mark, **plan)
    while not mark.exists():
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, work_dir.with_suffix(".log").read_text()[-2000:]
        time.sleep(0.005)
    send(pid)
    mark.unlink(missing_ok=True)
    return wait_for(pid)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138)])
def test_a_signal_saves_once_and_leaves_with_its_code(tmp_path, name, code):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole) == 0
    number = getattr(signal, name)
    assert stop_in_training(cut, tmp_path / "mark", lambda pid: os.kill(pid, number)) == code
    assert sorted(path.name for path in cut.glob("iter_*.pth")) == ["iter_10.pth", "iter_7.pth"]
    assert (cut / "last_checkpoint").read_text() == "iter_10.pth"
    assert in_child(train, cut) == 0
    assert checkpoint_differences(whole / "iter_20.pth", cut / "iter_20.pth") == []
    assert log_lines(whole) == log_lines(cut)


def test_a_signal_to_all_processes_of_the_job_leaves_the_workers_at_work(tmp_path):
    plan = {"workers": 2, "persistent": True}
    code = stop_in_training(tmp_path / "cut", tmp_path / "mark", lambda pid: os.killpg(pid, signal.SIGTERM), **plan)
    assert code == 143, (tmp_path / "cut.log").read_text()[-2000:]
    assert (tmp_path / "cut" / "iter_10.pth").exists()


def test_a_second_interrupt_leaves_at_once(tmp_path):
    def twice(pid):
        os.kill(pid, signal.SIGINT)
        while "finishing the step" not in (tmp_path / "cut.log").read_text():
            time.sleep(0.005)
        os.kill(pid, signal.SIGINT)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert stop_in_training(tmp_path / "cut", tmp_path / "mark", twice) == 130
    assert not (tmp_path / "cut" / "iter_10.pth").exists()


def test_signals_can_be_chosen(tmp_path):
    code = stop_in_training(tmp_path / "cut", tmp_path / "mark", lambda pid: os.kill(pid, signal.SIGUSR2),
                            signals=["SIGUSR2"])  # fmt: skip
    assert code == 128 + signal.SIGUSR2


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


def test_handlers_are_those_of_before(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    make_runner(tmp_path / "run", total=4).train()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
    torch.set_num_threads(1)
