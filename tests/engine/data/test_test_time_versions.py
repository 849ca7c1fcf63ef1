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

from seg_engine.data.pipeline import Compose
from seg_engine.data.test_time_versions import TestTimeAug

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


def by_hand(net: nn.Module, image: torch.Tensor, scales: list[float], flips: list[str | None]) -> torch.Tensor:
    """The mean of the probabilities of all versions, at the image's size: one number is that of the foreground."""
    axes = {None: [], "horizontal": [3], "vertical": [2], "diagonal": [2, 3]}
    total = torch.zeros(())
    for scale in scales:
        for flip in flips:
            size = [int(side * scale + 0.5) for side in image.shape[1:]]
            pixels = cv2.resize(image.numpy().transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR)
            version = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float().flip(axes[flip])
            logits = net(version).flip(axes[flip])
            logits = nn.functional.interpolate(logits, image.shape[1:], mode="bilinear")[0]
            total = total + (logits.softmax(0) if len(logits) > 1 else logits.sigmoid())
    return total / (len(scales) * len(flips))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", [{"mode": "whole"}, {"mode": "slide", "crop_size": (4, 5), "stride": (3, 5)}])
@pytest.mark.parametrize("pad", [False, True])
def test_versions_are_merged_by_the_mean_of_probabilities(
    record: dict[str, Any], channels: int, mode: dict[str, Any], pad: bool
) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, channels, 1).eval()
    net.weight.data *= 0.02
    flips: list[str | None] = [None, "horizontal", "vertical", "diagonal"]
    told = [{"type": "RandomFlip", "prob": float(one is not None), "direction": one or "horizontal"} for one in flips]
    scales = [0.5, 1.0, 1.5]
    steps = [[{"type": "Resize", "scale_factor": one, "keep_ratio": True} for one in scales]]
    steps += [[{"type": "Pad", "size_divisor": 16, "pad_val": 255}]] if pad else []
    steps += [told, [{"type": "PackSegInputs"}]]
    loaded = Compose([{"type": "LoadImageFromFile"}])(record)
    image = torch.from_numpy(loaded["img"].transpose(2, 0, 1).copy())
    model = SegTTAModel(LogitsModel(net, test_cfg=mode, threshold=0.3))
    with torch.no_grad():
        expected = by_hand(net, image, scales, flips)
    sample = model.test_step(pseudo_collate([TestTimeAug(steps)(loaded)]))[0]
    assert torch.allclose(sample.seg_logits.data, expected, atol=1e-4)
    labels = expected.argmax(0) if channels > 1 else (expected[0] > 0.3).long()
    assert torch.equal(sample.pred_sem_seg.data[0], labels)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_pixels_that_the_pipeline_adds_are_no_part_of_a_prediction(record: dict[str, Any], direction: str) -> None:
    pad, flip = {"type": "Pad", "size_divisor": 32}, {"type": "RandomFlip", "prob": 1.0, "direction": direction}
    reading, packing = [{"type": "LoadImageFromFile"}], [{"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    model = LogitsModel(nn.Conv2d(3, 2, 1), data_preprocessor=SegDataPreProcessor(test_cfg={"size_divisor": 48}))
    plain, padded, turned, turned_first, twice = (
        model.test_step(pseudo_collate([Compose([*reading, *steps, *packing])(dict(record, seg_fields=[]))]))[0]
        for steps in ([], [pad], [pad, flip], [flip, pad], [pad, {"type": "Pad", "size": (40, 40)}, flip])
    )
    for one in (padded, turned, turned_first, twice):
        assert torch.allclose(one.seg_logits.data, plain.seg_logits.data, atol=1e-5)
        assert one.pred_sem_seg.shape == (8, 12)
    made = SegTTAModel(model, scales=[1.0, 2.0], flip=True)
    whole = made.test_step(pseudo_collate([Compose([*reading, *packing])(dict(record, seg_fields=[]))]))[0]
    parts = made.test_step(pseudo_collate([Compose([*reading, pad, *packing])(dict(record, seg_fields=[]))]))[0]
    assert parts.seg_logits.shape == whole.seg_logits.shape == (8, 12)


@pytest.mark.parametrize("transforms", [[], None, {"type": "RandomFlip"}])
def test_versions_come_from_lists(transforms: Any) -> None:
    with pytest.raises(ValueError, match="transforms must be a list of lists of alternatives"):
        TestTimeAug(transforms)


@pytest.mark.parametrize("transforms", [[[]], [{"type": "RandomFlip"}], ["RandomFlip"]])
def test_alternatives_are_lists(transforms: Any) -> None:
    with pytest.raises(ValueError, match=r"transforms\[0\]"):
        TestTimeAug(transforms)


def test_a_version_that_is_dropped_is_an_error() -> None:
    with pytest.raises(ValueError, match="dropped a version"):
        TestTimeAug([[lambda record: None]])({"img": 1})
