"""A disk that fills, a folder that turns read-only: training goes on, the files from before stay whole."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from _drill import in_child, make_runner
from seg_runner import find_resumable, read_checkpoint
from seg_runner.whole_file import CheckpointWriteError


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own with 700 KB, where this test may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs may be mounted here ({done.stderr.strip()}); test_checkpoint.py fills a quota instead")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Fill:
    """Fills the disk after the first checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "filler"

    def after_train_iter(self, runner):
        if runner.iter == 8:
            runner.saver.wait()  # the first checkpoint is whole, however slow this machine is
            with open(self.file, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(1024))
                except OSError:
                    pass


@pytest.mark.parametrize("async_save", [False, True])
def test_a_full_disk_stops_nothing_but_the_saving(small_disk, async_save, capsys):
    runner = make_runner(small_disk / "run", async_save=async_save, total=16)
    runner.register_hook(Fill(small_disk))
    runner.train()
    assert runner.iter == 16
    text = capsys.readouterr().out
    assert "the disk is full" in text
    assert "The files from before are untouched" in text
    left = list((small_disk / "run").glob("*.pth"))
    assert small_disk / "run" / "iter_7.pth" in left
    assert all(read_checkpoint(path) for path in left)
    assert not list((small_disk / "run").glob(".*.tmp"))
    assert find_resumable(small_disk / "run") == small_disk / "run" / "iter_7.pth"


def test_a_full_disk_can_stop_the_run(small_disk):
    runner = make_runner(small_disk / "run", total=16)
    runner.saver.on_full = "stop"
    runner.register_hook(Fill(small_disk))
    with pytest.raises(CheckpointWriteError, match="the disk is full"):
        runner.train()
    assert find_resumable(small_disk / "run") == small_disk / "run" / "iter_7.pth"


class KeepsTensors:
    """A hook whose state is a tensor that it goes on using."""

    def __init__(self) -> None:
        self.seen = torch.zeros(1000)

    def after_train_iter(self, runner):
        self.seen = self.seen + 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Cut:
    """Cuts the file that the run has just gone on from."""

    def before_train(self, runner):
        if runner.iter == 7:
            os.truncate(runner.work_dir / "iter_7.pth", 0)


def train_and_cut(work_dir: Path, total: int) -> None:
    runner = make_runner(work_dir, total=total)
    runner.register_hook(KeepsTensors())
    runner.register_hook(Cut())
    runner.train()


def test_once_resumed_a_run_no_longer_needs_its_file(tmp_path):
    """Reading from a mapped file that became shorter would end the process with SIGBUS."""
    assert in_child(train_and_cut, tmp_path / "run", 7) == 0
    assert in_child(train_and_cut, tmp_path / "run", 12) == 0, (tmp_path / "run.log").read_text()[-3000:]
    assert (tmp_path / "run" / "iter_7.pth").stat().st_size == 0
    assert find_resumable(tmp_path / "run") == tmp_path / "run" / "iter_12.pth"


class Lock:
    """Takes the right to write away after the first checkpoint."""

    def after_train_iter(self, runner):
        if runner.iter == 8:
            os.chmod(runner.work_dir, 0o500)


def train_in_locked_folder(work_dir: Path) -> None:
    """As an ordinary user, since root may write everywhere."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    runner = make_runner(work_dir, total=16)
    runner.register_hook(Lock())
    runner.train()


def test_a_folder_that_turns_read_only(tmp_path):
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    work_dir = tmp_path / "open" / "run"
    work_dir.parent.mkdir()
    work_dir.parent.chmod(0o777)
    assert in_child(train_in_locked_folder, work_dir) == 0, work_dir.with_suffix(".log").read_text()[-3000:]
    text = work_dir.with_suffix(".log").read_text()
    assert "Permission denied" in text
    assert find_resumable(work_dir) == work_dir / "iter_7.pth"
