"""TestTimeAug: every combination, the record itself untouched, and a model that averages the versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from seg_runner import Evaluator, IoUMetric, LogitsModel, SegDataPreProcessor, SegTTAModel, pseudo_collate
from torch import nn

from seg_engine.pipeline import Compose
from seg_engine.versions import TestTimeAug

FLIPS = [{"type": "RandomFlip", "prob": 0.0}, {"type": "RandomFlip", "prob": 1.0}]
SCALES = [{"type": "Resize", "scale_factor": factor, "keep_ratio": True} for factor in (0.5, 1.0)]
PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "TestTimeAug", "transforms": [SCALES, FLIPS, [{"type": "LoadAnnotations"}], [{"type": "PackSegInputs"}]]},
]


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    labels = np.zeros((8, 12), np.uint8)
    labels[:, 6:] = 1
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.repeat(labels[..., None] * 200, 3, 2), [cv2.IMWRITE_JPEG_QUALITY, 100])
    paths = {"img_path": str(tmp_path / "a.jpg"), "seg_map_path": str(tmp_path / "a.png")}
    return {**paths, "reduce_zero_label": False, "seg_fields": [], "label_map": None}


def test_every_combination_is_made(record: dict[str, Any]) -> None:
    made = Compose(PIPELINE)(record)
    assert [tuple(image.shape) for image in made["inputs"]] == [(3, 4, 6), (3, 4, 6), (3, 8, 12), (3, 8, 12)]
    assert [sample.flip for sample in made["data_samples"]] == [False, True, False, True]
    assert {tuple(sample.gt_sem_seg.shape) for sample in made["data_samples"]} == {(8, 12)}
    assert torch.equal(made["inputs"][3], made["inputs"][2].flip(-1))


def test_versions_do_not_share_what_they_change() -> None:
    given = {"img": np.arange(6, dtype=np.uint8).reshape(1, 2, 3)}
    kept = given["img"].copy()
    TestTimeAug([FLIPS])(given)
    assert (given["img"] == kept).all()


class Brightness(nn.Module):
    """Logits that say class 1 where it is bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([-images.mean(1), images.mean(1)], 1)


def test_a_model_averages_the_versions(record: dict[str, Any]) -> None:
    prepare = SegDataPreProcessor(mean=[100.0] * 3, std=[10.0] * 3)
    model = SegTTAModel(LogitsModel(Brightness(), data_preprocessor=prepare))
    samples = model.test_step(pseudo_collate([Compose(PIPELINE)(record)]))
    evaluator = Evaluator(IoUMetric(num_classes=2))
    evaluator.process(data_samples=samples)
    assert samples[0].pred_sem_seg.shape == (8, 12)
    assert evaluator.evaluate(1)["mIoU"] > 90


def test_the_models_config_may_be_a_dict() -> None:
    net = SegTTAModel({"type": "LogitsModel", "model": nn.Conv2d(3, 2, 1)})
    assert isinstance(net.module, LogitsModel)


@pytest.mark.parametrize("transforms", [[[]], [{"type": "RandomFlip"}], ["RandomFlip"]])
def test_alternatives_are_lists(transforms: Any) -> None:
    with pytest.raises(ValueError, match=r"transforms\[0\]"):
        TestTimeAug(transforms)


def test_a_version_that_is_dropped_is_an_error() -> None:
    with pytest.raises(ValueError, match="dropped a version"):
        TestTimeAug([[lambda record: None]])({"img": 1})
