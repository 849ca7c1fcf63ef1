from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from seg_runner import read_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.write import CheckpointWriteError


def payload() -> dict:
    weight = torch.arange(12.0).view(3, 4)
    return {"state_dict": {"a": weight, "tied": weight, "t": weight.t()}, "meta": {"iter": 1}}


def test_both_ways_write_the_same_bytes(tmp_path):
    direct, beside = CheckpointSaver(), CheckpointSaver(async_save=True)
    direct.save(tmp_path / "a.pth", payload())
    beside.save(tmp_path / "b.pth", payload())
    beside.wait()
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_what_changes_afterwards_is_not_saved(tmp_path):
    saver, state = CheckpointSaver(async_save=True), payload()
    saver.save(tmp_path / "a.pth", state)
    state["state_dict"]["a"].fill_(-1)
    saver.wait()
    assert torch.equal(read_checkpoint(tmp_path / "a.pth")["state_dict"]["a"], payload()["state_dict"]["a"])


@pytest.mark.parametrize("beside", [False, True])
def test_on_done_runs_in_this_thread_once_the_file_is_there(tmp_path, beside):
    seen = []
    saver = CheckpointSaver(async_save=beside)
    path = tmp_path / "a.pth"
    saver.save(path, payload(), lambda: seen.append((path.exists(), threading.current_thread())))
    saver.wait()
    saver.wait()
    assert seen == [(True, threading.main_thread())]


def test_one_save_is_in_flight_at_most(tmp_path):
    saver, done = CheckpointSaver(async_save=True), []
    for number in range(5):
        saver.save(tmp_path / f"{number}.pth", payload(), lambda number=number: done.append(number))
    saver.wait()
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("beside", [False, True])
def test_a_failed_write_goes_on_or_stops(tmp_path, beside, caplog):
    (tmp_path / "file").write_text("")
    target, done = tmp_path / "file" / "a.pth", []
    saver = CheckpointSaver(async_save=beside)
    saver.save(target, payload(), lambda: done.append(1))
    saver.wait()
    assert done == []
    assert caplog.text.count("was not written") == 1
    strict = CheckpointSaver(async_save=beside, on_full="stop")
    with pytest.raises(CheckpointWriteError, match=r"a\.pth"):  # noqa: PT012
        strict.save(target, payload())
        strict.wait()


def test_a_failure_beside_training_surfaces_at_the_next_step(tmp_path):
    (tmp_path / "file").write_text("")
    saver = CheckpointSaver(async_save=True, on_full="stop")
    saver.save(tmp_path / "file" / "a.pth", payload())
    saver._flight.join()
    with pytest.raises(CheckpointWriteError):
        saver.wait()


class SavesWhereNothingCanBe:
    """Asks for a save that fails, and waits until it has failed."""

    def __init__(self, path):
        self.path = path

    def after_train_iter(self, runner):
        if runner.iter == 1:
            runner.save_checkpoint(self.path)
            runner.saver._flight.join()


def test_in_a_run_it_surfaces_at_the_next_step(make_runner, tmp_path):
    (tmp_path / "file").write_text("")
    options = {"async_save": True, "on_full": "stop"}
    runner = make_runner(checkpoint=options, hooks=[SavesWhereNothingCanBe(tmp_path / "file" / "a.pth")])
    with pytest.raises(CheckpointWriteError):
        runner.train()
    assert runner.iter == 2


SLOW = """
import os, sys, time, torch
fsync = os.fsync
os.fsync = lambda handle: (time.sleep(0.5), fsync(handle))
from seg_runner.checkpoint.saver import CheckpointSaver
CheckpointSaver(async_save=True).save(sys.argv[1], {"meta": {"iter": 1}, "w": torch.ones(9)})
"""


def test_python_waits_at_its_exit(tmp_path):
    done = subprocess.run([sys.executable, "-c", SLOW, tmp_path / "a.pth"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(tmp_path / "a.pth")["meta"] == {"iter": 1}


def test_a_run_waits_at_its_end(make_runner, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.3), fsync(handle)))
    runner = make_runner(checkpoint={"async_save": True})
    runner.train()
    assert Path((runner.work_dir / "last_checkpoint").read_text()).name == "iter_6.pth"
    assert read_checkpoint(runner.work_dir / "iter_6.pth")["meta"]["iter"] == 6


def test_mistakes_are_errors_in_both_modes(tmp_path):
    for beside in (False, True):
        with pytest.raises(TypeError, match="checkpoint"):
            CheckpointSaver(async_save=beside).save(tmp_path / "a.pth", {"x": object()})
    with pytest.raises(ValueError, match="'continue' or 'stop'"):
        CheckpointSaver(on_full="panic")
    assert os.listdir(tmp_path) == []


def test_whether_there_is_something_to_tell_is_a_plain_attribute(tmp_path):
    saver, done = CheckpointSaver(async_save=True), []
    for number in (1, 2):
        assert not saver.ready
        saver.save(tmp_path / f"{number}.pth", payload(), lambda number=number: done.append(number))
        saver._flight.join()
        assert saver.ready
        assert done == list(range(1, number))
        saver.wait()
        assert done == list(range(1, number + 1))
    assert not saver.ready
    direct = CheckpointSaver()
    direct.save(tmp_path / "direct.pth", payload())
    assert not direct.ready
