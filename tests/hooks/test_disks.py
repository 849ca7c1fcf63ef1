"""Disks that fail: nothing stops training, nothing is left half, and what waited is written once the disk is back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, LoggerHook, TrainState
from seg_hooks.files import append_line, write_whole

Make = Callable[..., TrainState]
Train = Callable[..., None]

# A file may grow no further than a few bytes more between two steps: what the kernel does when a quota is used up.
QUOTA = """
import resource, signal, sys, torch
from pathlib import Path
from seg_hooks import CheckpointHook, EMAHook, LoggerHook, NanGuardHook, TrainState

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
net = torch.nn.Linear(40, 40)
optimizer = torch.optim.SGD(net.parameters(), 0.01)
hooks = [EMAHook(), NanGuardHook(), LoggerHook(1),
         CheckpointHook(5, by_epoch=False, save_best="mIoU", max_keep_ckpts=1)]
state = TrainState(net, optimizer, sys.argv[1], 40, hooks=hooks)
with state:
    for batch in state.batches([torch.ones(1, 40)] * 8):
        loss = net(batch).square().mean()
        loss.backward(); optimizer.step(); optimizer.zero_grad()
        if state.iter == 12:
            most = (state.log_dir / "vis_data/scalars.json").stat().st_size + 30
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        if state.iter == 32:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        state.after_step(loss=loss)
        if state.every(10):
            state.validated({"mIoU": {10: 1.0, 20: 3.0, 30: 2.0, 40: 1.5}[state.iter]})
print("finished", state.iter)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="quotas by setrlimit")
def test_a_disk_that_fills_and_is_emptied_again_costs_no_record(tmp_path: Path) -> None:
    script, out = tmp_path / "train.py", tmp_path / "out"
    script.write_text(QUOTA)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "finished 40" in done.stdout, done.stderr
    assert done.stdout.count("LoggerHook: a backend failed") == 1
    assert done.stderr.count("cannot be written") == 1
    lost = next(line for line in done.stdout.splitlines() if "iter_15.pth could not be written" in line)
    assert lost.endswith(f"goes on from {out / 'iter_10.pth'} (iteration 10; 5 iterations are to be made again).")
    assert [count for count in range(5, 41, 5) if f"Saved checkpoint at {count} iter" in done.stdout] == [5, 10, 35, 40]
    (log_dir,) = (path for path in out.iterdir() if path.is_dir())
    records = [json.loads(line) for line in (log_dir / "vis_data/scalars.json").read_text().splitlines()]
    assert [one["step"] for one in records if one["mode"] == "train"] == list(range(1, 41))
    assert [one["step"] for one in records if one["mode"] == "val"] == [10, 20, 30, 40]
    lines = next(log_dir.glob("*.log")).read_text().splitlines()
    steps = [line for line in lines if "Iter(train)" in line]
    assert [int(line.split("[")[1].split("/")[0]) for line in steps] == list(range(1, 41))
    assert not list(out.glob(".*"))
    # 20 and 30 could not be written, so neither counts as the best when the disk is back at 40
    assert sorted(path.name for path in out.glob("*.pth")) == ["best_mIoU_iter_40.pth", "iter_40.pth"]
    assert torch.load(out / "iter_40.pth", weights_only=True)["meta"]["iter"] == 40
    assert Path((out / "last_checkpoint").read_text()).name == "iter_40.pth"


def test_a_pointer_that_cannot_be_written_is_reported(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([CheckpointHook(5, by_epoch=False)])
    state.logger.addHandler(caplog.handler)
    (state.work_dir / "last_checkpoint").mkdir()
    train(state)
    assert state.iter == 10
    assert "iter_5.pth is written, but updating last_checkpoint or deleting older files failed" in caplog.text
    assert f"A resume goes on from {state.work_dir / 'iter_10.pth'} (iteration 10)" in caplog.text
    assert make_state().resume() == state.work_dir / "iter_10.pth"


def test_a_line_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a/lines.json"
    append_line(path, "one")
    real, calls = os.write, []

    def half(handle: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(handle, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            append_line(path, "two")
    append_line(path, "three")
    assert path.read_text() == "one\nthree\n"


def test_a_writer_that_never_comes_back_is_told_at_the_end(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Wandb:
        def log(self, row: dict[str, Any]) -> None:
            raise ConnectionError("no network")

    state = make_state([LoggerHook(2)], writer=Wandb())
    state.logger.addHandler(caplog.handler)
    train(state)
    assert "5 records are missing there; the JSON lines have them" in caplog.text
    assert len((state.log_dir / "vis_data/scalars.json").read_text().splitlines()) == 5


def test_what_a_killed_save_left_is_removed_at_the_next_start(make_state: Make, tmp_path: Path) -> None:
    state = make_state()
    for name in (".iter_5.pth.0123456789ab.tmp", ".mine.tmp"):
        (state.work_dir / name).write_text("half")
    again = make_state()
    assert again.work_dir == state.work_dir
    assert [path.name for path in state.work_dir.glob(".*")] == [".mine.tmp"]


@pytest.mark.parametrize("name", ["a" * 251 + ".pth", "ü" * 125 + ".pth", "路" * 83 + ".pth"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"one")
    write_whole(tmp_path / name, b"two")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"two"}


def test_the_best_by_a_long_expression_is_written(make_state: Make, train: Train) -> None:
    names = [f"class_number_{number}" for number in range(40)]
    key = "+".join(f"0.025*IoU.{name}" for name in names)
    state = make_state([CheckpointHook(5, by_epoch=False, save_best=key, rule="greater")])
    train(state, every=5, metrics=lambda state: {"IoU": dict.fromkeys(names, float(state.iter))})
    (best,) = state.work_dir.glob("best_*_iter_10.pth")
    assert len(best.name) < 160
