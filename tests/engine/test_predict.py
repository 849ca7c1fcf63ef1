from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from seg_runner.checkpoint import write_checkpoint

import seg_engine
from seg_engine.predict import load_model
from seg_engine.segmentor import Segmentor

CONFIG = """
model = dict(
    type='Segmentor',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[100.0] * 3, std=[50.0] * 3, size=(16, 16)),
    backbone=dict(type='TinyConvNeXt', depths=(1,), channels=(4,)),
    decode_head=dict(type='FuseHead', in_channels=[4], channels=4, num_classes=3))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(16, 16)), dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
"""


def checkpoint(path: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    backbone = {"type": "TinyConvNeXt", "depths": (1,), "channels": (4,)}
    head = {"type": "FuseHead", "in_channels": [4], "channels": 4, "num_classes": 3}
    model = Segmentor(backbone, head)
    meta = {"cfg": CONFIG, "dataset_meta": {"classes": ["a", "b", "c"]}}
    write_checkpoint(path, {"meta": meta, "state_dict": dict(model.state_dict()), **changes})
    return path


def test_the_model_comes_from_the_checkpoint_alone(tmp_path: Path) -> None:
    model = seg_engine.load_model(checkpoint(tmp_path / "a.pth"))
    prediction = model.predict(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    assert prediction.labels.shape == (30, 40), "the test pipeline resizes; the answer has the image's size"
    assert prediction.classes == ("a", "b", "c")
    assert prediction.overlay().shape == (30, 40, 3)


def test_a_prediction_is_saved_as_labels_and_overlay(tmp_path: Path) -> None:
    prediction = load_model(checkpoint(tmp_path / "a.pth")).predict(np.zeros((8, 8, 3), np.uint8))
    prediction.save(tmp_path / "x" / "labels.png", tmp_path / "y" / "overlay.png")
    labels = cv2.imread(str(tmp_path / "x" / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, prediction.labels)
    assert (tmp_path / "y" / "overlay.png").exists()


def test_batch_norm_is_in_its_test_mode(tmp_path: Path) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    one, two = (model.predict(image).sample.seg_logits.data for _ in range(2))
    assert torch.equal(one, two)


def test_checkpoints_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth"):
        load_model(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="holds no config"):
        load_model(checkpoint(tmp_path / "a.pth", meta={}))
    with pytest.raises(ValueError, match=r"do not fit the model.*missing, such as \['backbone"):
        load_model(checkpoint(tmp_path / "b.pth", state_dict={"other.weight": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((0, 0, 3), np.uint8), r"the image holds no pixel: its shape is \(0, 0, 3\)"),
        (np.zeros((5, 5, 3), np.float32), r"H x W x 3 pixels of uint8 \(RGB\), is expected, not float32"),
        (np.zeros((5, 5, 4), np.uint8), r"is expected, not uint8 \(5, 5, 4\)"),
        (np.zeros((5, 5), np.uint8), r"is expected, not uint8 \(5, 5\)"),
        (None, r"is expected, not NoneType"),
        ("nowhere/x.png", r"there is no file nowhere.x.png"),
    ],
)
def test_what_is_no_image_is_told(tmp_path: Path, image: Any, text: str) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        model.predict(image)


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="device='gpu' is no device of torch's"):
        load_model(path, device="gpu")
    with pytest.raises(ValueError, match="device='cuda:99', but torch"):
        load_model(path, device="cuda:99")


def test_classes_beyond_255_keep_their_numbers(tmp_path: Path) -> None:
    head = {"type": "FuseHead", "in_channels": [4], "channels": 4, "num_classes": 300}
    model = Segmentor({"type": "TinyConvNeXt", "depths": (1,), "channels": (4,)}, head)
    biased = {
        name: torch.arange(300.0) if value.shape == (300,) else value for name, value in model.state_dict().items()
    }
    meta = {"cfg": CONFIG.replace("num_classes=3", "num_classes=300"), "dataset_meta": {}}
    path = checkpoint(tmp_path / "a.pth", meta=meta, state_dict=biased)
    prediction = load_model(path).predict(np.zeros((8, 8, 3), np.uint8))
    assert np.unique(prediction.labels).tolist() == [299]
    with pytest.warns(UserWarning, match="labels 299 lie beyond a palette"):
        prediction.save(tmp_path / "labels.png", tmp_path / "overlay.png")
    assert np.unique(cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)).tolist() == [299]
