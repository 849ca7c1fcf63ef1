"""A disk that fills, a folder that turns read-only: training goes on, the files from before stay whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.drill import in_child, make_runner
from seg_runner import find_resumable, read_checkpoint
from seg_runner.checkpoint.write import CheckpointWriteError
from seg_vis import Visualizer


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on a file system of its own with 700 KB, or as much as is asked for, where this test may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '700k')}", "tmpfs", str(folder)]
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


class Ends:
    """Ends the run in step 12, by a signal or an exception."""

    def __init__(self, how: str) -> None:
        self.how = how

    def after_train_iter(self, runner):
        if runner.iter == 12 and self.how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        elif runner.iter == 12:
            raise ZeroDivisionError


@pytest.mark.parametrize("async_save", [False, True])
@pytest.mark.parametrize("on_full", ["continue", "stop"])
@pytest.mark.parametrize(("how", "kind"), [("signal", SystemExit), ("exception", ZeroDivisionError)])
def test_saved_is_said_only_of_what_is_there(small_disk, how, kind, on_full, async_save, capsys):
    """Nothing of the last state reached the full disk: the last line says so, and where a resume goes on."""
    work_dir = small_disk / "run"
    options = {"on_full": on_full, "async_save": async_save}
    runner = make_runner(work_dir, total=16, checkpoint=options, val_dataloader=None)
    runner.register_hook(Fill(small_disk))
    runner.register_hook(Ends(how))
    with pytest.raises(kind) as ended:
        runner.train()
    said = capsys.readouterr().out.splitlines()[-1] if how == "signal" else str(ended.value.__notes__[-1])
    assert ended.value.code == 143 if how == "signal" else True
    assert "saved iter" not in said
    assert "state is in" not in said
    assert f"A resume goes on from {work_dir / 'iter_7.pth'} (iteration 7; 6 iterations are to be made again)" in said
    assert [path.name for path in work_dir.glob("*.pth") if path.name.startswith(("iter", "int"))] == ["iter_7.pth"]


@pytest.mark.parametrize("async_save", [False, True])
def test_a_training_that_ends_on_a_full_disk_says_what_is_lost(small_disk, async_save, capsys):
    runner = make_runner(small_disk / "run", total=16, async_save=async_save, val_dataloader=None)
    runner.register_hook(Fill(small_disk))
    runner.train()
    said = capsys.readouterr().out.splitlines()[-1]
    assert "training is finished, and its last state is not saved: " in said
    assert "the disk is full" in said
    assert said.endswith("iter_7.pth (iteration 7; 9 iterations are to be made again)")
    assert runner.lost in said


class Free(Fill):
    """Makes room before the last checkpoint."""

    def before_train_iter(self, runner):
        if runner.iter == 15:
            self.file.unlink()


def test_a_disk_that_is_free_at_the_end_has_lost_nothing(small_disk):
    runner = make_runner(small_disk / "run", total=16, val_dataloader=None)
    runner.register_hook(Free(small_disk))
    runner.train()
    assert runner.lost == ""
    assert find_resumable(small_disk / "run") == small_disk / "run" / "iter_16.pth"


def test_a_disk_that_takes_nothing_at_all(small_disk, capsys):
    runner = make_runner(small_disk / "run", total=16, interval=100, val_dataloader=None)
    runner.register_hook(Fill(small_disk))
    runner.register_hook(Ends("signal"))
    with pytest.raises(SystemExit):
        runner.train()
    said = capsys.readouterr().out.splitlines()[-1]
    assert "There is no checkpoint in" in said
    assert "starts from the beginning; 13 iterations are lost" in said


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


STEPS = list(range(1, 121))


def fill(disk: Path) -> None:
    """Leave no byte."""
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(256))


def send_rows_over_a_full_disk(disk: Path, kind: str) -> Any:
    """A third of the rows, a third while the disk is full, a third afterwards; pictures in each."""
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    visualizer = Visualizer(vis_backends=[{"type": kind}], save_dir=str(disk))
    visualizer.add_config({"lr": 0.1})
    for step in STEPS:
        if step == 40:
            fill(disk)
        if step == 80:
            (disk / "filler").unlink()
        visualizer.add_scalar("loss", step + 0.5, step)
        if step in (20, 60, 100):
            visualizer.add_image("street", image, step)
    visualizer.close()
    return visualizer.get_backend(kind)


@pytest.mark.parametrize("small_disk", ["200k"], indirect=True)
def test_local_files_lack_no_row_once_the_disk_is_free(small_disk: Path, caplog: Any) -> None:
    send_rows_over_a_full_disk(small_disk, "LocalVisBackend")
    folder = small_disk / "vis_data"
    rows = [json.loads(line) for line in (folder / "scalars.json").read_text().splitlines()]
    assert rows == [{"loss": step + 0.5, "step": step} for step in STEPS]
    assert {path.name for path in (folder / "vis_image").iterdir()} == {f"street_{n}.png" for n in (20, 60, 100)}
    failed, works = caplog.messages
    assert "backend LocalVisBackend failed (OSError: [Errno 28] cannot be written: No space left" in failed
    assert "works again" in works
    assert "lost" not in works


@pytest.mark.parametrize("small_disk", ["200k"], indirect=True)
def test_tensorboard_lacks_no_row_once_the_disk_is_free(small_disk: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send_rows_over_a_full_disk(small_disk, "TensorboardVisBackend")
    events = EventAccumulator(str(small_disk / "vis_data"), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(step, step + 0.5) for step in STEPS]
    assert [event.step for event in events.Images("street")] == [20, 60, 100]


@pytest.mark.parametrize("small_disk", ["2000k"], indirect=True)
def test_wandb_lacks_no_row_once_the_disk_is_free(small_disk: Path, monkeypatch: Any, caplog: Any) -> None:
    pytest.importorskip("wandb")
    from helpers.wandb_files import history

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    send_rows_over_a_full_disk(small_disk, "WandbVisBackend")
    rows = history(small_disk)
    assert [row["step"] for row in rows if "loss" in row] == STEPS
    assert sum(any("street" in key for key in row) for row in rows) == 3
    assert "less than 256 KiB are free" in caplog.text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("small_disk", ["3m"], indirect=True)
def test_mlflow_lacks_no_row_once_the_disk_is_free(small_disk: Path, caplog: Any) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    number = send_rows_over_a_full_disk(small_disk, "MLflowVisBackend").state_dict()["run_id"]
    client = MlflowClient(tracking_uri=f"sqlite:///{small_disk}/vis_data/mlflow.db")
    assert [metric.step for metric in client.get_metric_history(number, "loss")] == STEPS
    names = {file.path for file in client.list_artifacts(number)}
    assert {"config.py", *(f"street_{step}.png" for step in (20, 60, 100))} <= names
    assert "works again" in caplog.text


@pytest.mark.parametrize("small_disk", ["200k"], indirect=True)
def test_what_is_still_lacking_at_the_end_is_said(small_disk: Path, caplog: Any) -> None:
    visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(small_disk))
    visualizer.add_scalar("loss", 1.0, 1)
    fill(small_disk)
    for step in range(2, 9):
        visualizer.add_scalars({"loss": "x" * 8000, "step": step}, step)
    visualizer.close()
    assert "backend LocalVisBackend still fails; it lacks 7 rows" in caplog.text
    assert "works again" not in caplog.text
    assert (small_disk / "vis_data/scalars.json").read_text() == '{"loss": 1.0, "step": 1}\n'
