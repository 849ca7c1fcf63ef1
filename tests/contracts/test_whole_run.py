"""The five packages together, by config: each does its part of one small run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
from helpers.tiny import config
from seg_runner import Runner


@pytest.fixture
def done(tmp_path: Path) -> Runner:
    """A finished run."""
    runner = Runner.from_cfg(config(tmp_path / "work"))
    runner.train()
    return runner


def test_the_timetable_has_the_hooks_of_both_packages(done: Runner) -> None:
    table = str(done.points)
    for name in ("RuntimeInfoHook", "IterTimerHook", "EMAHook", "LoggerHook", "CheckpointHook", "SegVisualizationHook"):
        assert name in table


def test_records_of_training_and_validation_lie_on_one_axis(done: Runner) -> None:
    records = [json.loads(line) for line in (Path(done.log_dir) / "vis_data/scalars.json").read_text().splitlines()]
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6]
    assert [r["step"] for r in records if "mIoU" in r] == [3, 6]
    assert {"lr", "grad_norm", "time", "data_time"} <= records[0].keys()


def test_pictures_are_those_of_the_validation_images(done: Runner) -> None:
    """Two validations of twelve images, drawn from the batch (they lie in no file), and nothing in training."""
    pictures = sorted(path.name for path in (Path(done.log_dir) / "vis_data/vis_image").glob("*.png"))
    assert len(pictures) == 24
    assert all(name.startswith("val_square_") for name in pictures)
    picture = cv2.imread(str(Path(done.log_dir) / "vis_data/vis_image/val_square_0.png_3.png"))
    height, width = picture.shape[:2]  # image, truth, prediction and errors, each of 8 x 8 enlarged to 192 x 192
    assert width == 4 * 192 + 3 * 4
    assert height > 192


def test_checkpoints_of_one_run(done: Runner) -> None:
    names = {path.name for path in done.work_dir.glob("*.pth")}
    assert {"iter_3.pth", "iter_6.pth"} <= names
    assert len([name for name in names if name.startswith("best_mIoU_iter_")]) == 1
    assert Path((done.work_dir / "last_checkpoint").read_text()).name == "iter_6.pth"


def test_every_file_loads_without_an_allow_list_and_has_the_reference_keys(done: Runner) -> None:
    checkpoint = torch.load(done.work_dir / "iter_6.pth", weights_only=True)
    assert {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "ema_state_dict"} <= checkpoint.keys()
    assert (checkpoint["meta"]["iter"], checkpoint["meta"]["epoch"]) == (6, 0)
    assert checkpoint["message_hub"].keys() >= {"log_scalars", "runtime_info", "resumed_keys"}


def test_optimizer_state_has_one_group_per_tensor_as_the_reference_writes_it(done: Runner) -> None:
    optimizer = torch.load(done.work_dir / "iter_6.pth", weights_only=True)["optimizer"]
    tensors = len(list(done.model.parameters()))
    assert len(optimizer["param_groups"]) == tensors
    assert len(done.optim_wrapper.optimizer.param_groups) < tensors  # fused while training


def test_a_resumed_run_is_the_same_run(done: Runner, tmp_path: Path) -> None:
    again = Runner.from_cfg(config(tmp_path / "half", resume=str(done.work_dir / "iter_3.pth")))
    again.train()
    for name, tensor in done.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    whole, resumed = (torch.load(r.work_dir / "iter_6.pth", weights_only=True) for r in (done, again))
    assert all(torch.equal(whole["ema_state_dict"][k], v) for k, v in resumed["ema_state_dict"].items())


def test_the_model_learns(done: Runner) -> None:
    assert done.val()["mIoU"] > 20
