from __future__ import annotations

import os
import threading

import pytest
import torch
from seg_runner import read_checkpoint
from seg_runner.saver import CheckpointSaver
from seg_runner.whole_file import CheckpointWriteError


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
    saver.check()
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
        saver.check()


def test_mistakes_are_errors_in_both_modes(tmp_path):
    for beside in (False, True):
        with pytest.raises(TypeError, match="checkpoint"):
            CheckpointSaver(async_save=beside).save(tmp_path / "a.pth", {"x": object()})
    with pytest.raises(ValueError, match="'continue' or 'stop'"):
        CheckpointSaver(on_full="panic")
    assert os.listdir(tmp_path) == []
