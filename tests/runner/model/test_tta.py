"""Test-time augmentation: versions from a pipeline or made here, averaged as probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner import LogitsModel, PixelData, SegDataPreProcessor, SegDataSample, SegTTAModel
from torch import nn


def mask_of(sample: Any) -> torch.Tensor:
    return sample.pred_sem_seg.data


def a_model(classes: int = 3, **given: Any) -> LogitsModel:
    torch.manual_seed(0)
    return LogitsModel(nn.Conv2d(3, classes, 3, padding=1), **given)


def versions(flips: tuple[bool, ...] = (False, True)) -> dict[str, Any]:
    """A batch of two images as a pipeline with flips and `pseudo_collate` give it."""
    images = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    inputs, samples = [], []
    for flip in flips:
        inputs.append([image.flip(-1) if flip else image for image in images])
        facts = {"ori_shape": (6, 8), "flip": flip, "flip_direction": "horizontal" if flip else None}
        samples.append([SegDataSample(metainfo=facts) for _ in images])
        for sample in samples[-1]:
            sample.gt_sem_seg = PixelData(data=torch.zeros(1, 6, 8, dtype=torch.long))
    return {"inputs": inputs, "data_samples": samples}


def test_versions_of_a_pipeline_are_averaged() -> None:
    model = a_model()
    single = [model.test_step({name: value[index] for name, value in versions().items()}) for index in range(2)]
    found = SegTTAModel(model).test_step(versions())
    assert len(found) == 2
    for index, sample in enumerate(found):
        chances = sum(version[index].seg_logits.data.softmax(0) for version in single) / 2
        assert torch.allclose(sample.seg_logits.data, chances)
        assert torch.equal(mask_of(sample), chances.argmax(0, keepdim=True))
        assert sample.gt_sem_seg.shape == (6, 8)


def test_one_version_changes_nothing() -> None:
    model = a_model()
    batch = (torch.rand(2, 3, 6, 8), torch.zeros(2, 6, 8, dtype=torch.long))
    plain, augmented = model.test_step(batch), SegTTAModel(model).test_step(batch)
    for one, other in zip(plain, augmented, strict=True):
        assert torch.equal(mask_of(one), mask_of(other))
        assert torch.allclose(one.seg_logits.data.softmax(0), other.seg_logits.data)


def test_flips_made_here_equal_those_of_a_pipeline() -> None:
    model = a_model()
    ordinary = {name: value[0] for name, value in versions().items()}
    made = SegTTAModel(model, flip=True).test_step(ordinary)
    given = SegTTAModel(model).test_step(versions())
    for one, other in zip(made, given, strict=True):
        assert torch.allclose(one.seg_logits.data, other.seg_logits.data, atol=1e-6)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_a_flip_on_a_flipped_image_is_undone_as_well(direction: str) -> None:
    class Position(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x[:, :1] * 50, -x[:, :1] * 50], 1)

    axes = {"horizontal": [-1], "vertical": [-2], "diagonal": [-2, -1]}[direction]
    image = torch.randn(3, 4, 6)
    facts = {"ori_shape": (4, 6), "flip": True, "flip_direction": direction}
    data = {"inputs": [image.flip(axes)], "data_samples": [SegDataSample(metainfo=facts)]}
    found = SegTTAModel(LogitsModel(Position()), flip=True).test_step(data)[0]
    assert torch.equal(mask_of(found)[0], (image[0] < 0).long())


def test_scales_and_a_preprocessor() -> None:
    prepare = SegDataPreProcessor(mean=[0.5] * 3, std=[0.25] * 3, test_cfg={"size_divisor": 4})
    model = SegTTAModel(a_model(data_preprocessor=prepare), scales=[0.5, 1.0, 1.75], flip=True)
    batch = {"image": torch.rand(2, 3, 6, 8), "mask": torch.zeros(2, 6, 8, dtype=torch.long)}
    found = model.val_step(batch)
    assert [sample.pred_sem_seg.shape for sample in found] == [(6, 8)] * 2
    assert torch.allclose(found[0].seg_logits.data.sum(0), torch.ones(6, 8))


def test_one_channel() -> None:
    batch = (torch.rand(1, 3, 6, 8), torch.zeros(1, 6, 8, dtype=torch.long))
    model = a_model(classes=1, threshold=0.4)
    sample = SegTTAModel(model, flip=True).test_step(batch)[0]
    assert torch.equal(mask_of(sample), (sample.seg_logits.data > 0.4).long())
    sample = SegTTAModel(model, threshold=0.0).test_step(batch)[0]
    assert mask_of(sample).all()


def test_checkpoints_fit_with_and_without_it() -> None:
    model = a_model()
    augmented = SegTTAModel(model)
    assert list(augmented.state_dict()) == ["weight", "bias"]
    augmented.load_state_dict({"weight": torch.zeros(3, 3, 3, 3), "bias": torch.ones(3)})
    assert model.model.bias.tolist() == [1, 1, 1]
    assert [name for name, _ in augmented.named_parameters()] == ["weight", "bias"]
    assert augmented.compile_target is model.model
    assert augmented(torch.zeros(1, 3, 2, 2)).shape == (1, 3, 2, 2)


def test_mistakes() -> None:
    with pytest.raises(TypeError, match="test_step: Conv2d has none"):
        SegTTAModel(nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="positive factors"):
        SegTTAModel(a_model(), scales=[0.0])
    with pytest.raises(ValueError, match=r"a list of positive factors is expected, not 0\.5"):
        SegTTAModel(a_model(), scales=0.5)  # type: ignore[arg-type]
    broken = versions() | {"data_samples": versions()["data_samples"][:1]}
    with pytest.raises(ValueError, match="one entry per version"):
        SegTTAModel(a_model()).test_step(broken)
