"""TensorBoard and W&B through the hooks: train and val on one axis, nothing dropped, a resumed run goes on."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import config
from helpers.wandb_files import history, records
from seg_hooks import CheckpointHook, LoggerHook, TrainState
from seg_runner import Runner

Run = Callable[[Path, bool], None]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


class Break:
    """Breaks off after seven steps, where the last checkpoint is that of the sixth."""

    priority = "LOWEST"

    def after_train_iter(self, runner: Any) -> None:
        if runner.iter == 6:
            raise KeyboardInterrupt


def runner_by(kind: str) -> Run:
    def run(folder: Path, broken: bool) -> None:
        cfg = config(folder, resume=True)
        cfg["train_cfg"] = {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 3}
        if kind == "epoch":  # three batches an epoch
            cfg["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": 4}
            cfg["log_processor"] = {"by_epoch": True}
        cfg["default_hooks"]["checkpoint"] = {"type": "CheckpointHook", "interval": 3, "by_epoch": False}
        cfg["default_hooks"]["logger"] = {"type": "LoggerHook", "interval": 1}
        cfg["default_hooks"].pop("visualization")
        backends = [{"type": "WandbVisBackend"}, {"type": "TensorboardVisBackend"}]
        if kind == "epoch":  # else W&B's own list says what was sent
            backends.append({"type": "LocalVisBackend"})
        cfg["visualizer"] = {"type": "SegLocalVisualizer", "vis_backends": backends}
        runner = Runner.from_cfg(cfg)
        if broken:
            runner.register_hook(Break())
        with contextlib.suppress(KeyboardInterrupt):
            runner.train()

    return run


def by_hand(folder: Path, broken: bool) -> None:
    import wandb
    from torch.utils.tensorboard import SummaryWriter

    for writer in (
        wandb.init(id="mine", resume="allow", dir=str(folder)),
        SummaryWriter(str(folder / "events")),
    ):
        net = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        hooks = [LoggerHook(1), CheckpointHook(3, by_epoch=False), *([Break()] if broken else [])]
        state = TrainState(net, optimizer, folder / type(writer).__name__, 12, hooks=hooks, writer=writer)
        state.resume()
        with contextlib.suppress(KeyboardInterrupt), state:
            for batch in state.batches([torch.ones(1, 2)] * 3):
                loss = net(batch).mean()
                loss.backward()
                state.after_step(loss=loss)
                if state.every(3):
                    state.validated({"mIoU": 0.5})
        (writer.finish if hasattr(writer, "finish") else writer.close)()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", [runner_by("iter"), runner_by("epoch"), by_hand], ids=["iter", "epoch", "by hand"])
def test_both_curves_stand_on_one_axis_and_go_on(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, True)
    began = int(time.time())
    while int(time.time()) == began:  # W&B names the folders of both parts by the second
        time.sleep(0.01)
    run(tmp_path, False)
    train, val = list(range(1, 13)), [3, 6, 9, 12]
    rows = history(tmp_path)
    place = "iter" if run is by_hand else "step"
    assert [row[place] for row in rows if "train/loss" in row] == train
    assert [row[place] for row in rows if "val/mIoU" in row] == val
    files = sorted(tmp_path.rglob("scalars.json"))
    records_of = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    for mode, steps in (("train", train), ("val", val)) if run is not by_hand and files else ():
        assert [record["iter"] for record in records_of if record["mode"] == mode] == steps
    assert len({record.run.run_id for record in records(tmp_path) if record.HasField("run")}) == 1
    curves: dict[str, list[int]] = {}
    folders = sorted({path.parent for path in tmp_path.rglob("events.out*")})
    assert len(folders) == 1
    for folder in folders:
        events = EventAccumulator(str(folder)).Reload()
        for name in events.Tags()["scalars"]:
            curves.setdefault(name, []).extend(event.step for event in events.Scalars(name))
    assert curves["train/loss"] == train
    assert curves["val/mIoU"] == val
    assert curves["train/time"] == train
    assert not {"time", "loss", "mIoU"} & curves.keys()
