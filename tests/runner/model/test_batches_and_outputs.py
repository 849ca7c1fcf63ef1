"""What goes into and comes out of a model: batches that do not fit are told with their sizes and the sample."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import LogitsModel, PixelData, SegDataPreProcessor, SegDataSample
from torch import nn

WRAPPER = SimpleNamespace(optim_context=lambda model: nullcontext(), update_params=lambda loss: loss.backward())


def step(batch: Any, **options: Any) -> Any:
    return LogitsModel(nn.Conv2d(3, 4, 1), **options).train().train_step(batch, WRAPPER)


def images(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape or (2, 3, 6, 8))


def masks(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape or (2, 6, 8), dtype=torch.long)


def sample(height: int, width: int, path: str) -> SegDataSample:
    return SegDataSample(metainfo={"img_path": path}, gt_sem_seg=PixelData(data=masks(1, height, width)))


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ((images(), masks(2, 3, 4)), "images are 6 x 8 pixels, their masks 3 x 4: give masks as large as the images"),
        ((images(), masks(2, 8, 6)), "images are 6 x 8 pixels, their masks 8 x 6"),
        ((images(), masks(2, 6, 8, 3)), r"their masks 6 x 8 x 3 \(colours instead of class indices\?\)"),
        ((images(), masks(3, 6, 8)), "a batch of 2 images has 3 masks"),
        ((images(3, 6, 8), masks(6, 8)), r"N x C x H x W, not of shape \(3, 6, 8\): one image alone is image\[None\]"),
        ((images(0, 3, 6, 8), masks(0, 6, 8)), r"hold no pixel: their shape is \(0, 3, 6, 8\)"),
        ((images(2, 3, 0, 8), masks(2, 0, 8)), r"hold no pixel: their shape is \(2, 3, 0, 8\)"),
        (
            ([images(3, 6, 8), images(3, 4, 8)], masks()),
            r"different sizes cannot be stacked: \[\(3, 4, 8\), \(3, 6, 8\)\]",
        ),
        ((["a.png", "b.png"], masks()), "images must be tensors, not str"),
        (([], masks()), "this batch holds no image"),
    ],
)
def test_training_batches_that_do_not_fit(batch: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        step(batch)


def test_a_label_map_of_another_size_is_told_with_its_sample() -> None:
    inputs = [images(3, 6, 8), images(3, 6, 8)]
    batch = {"inputs": inputs, "data_samples": [sample(6, 8, "a.png"), sample(3, 4, "b.png")]}
    with pytest.raises(ValueError, match=r"b\.png: the image is 6 x 8 pixels, its label map 3 x 4"):
        step(batch)
    with pytest.raises(ValueError, match=r"b\.png: the image is 8 x 8 pixels, its label map 5 x 4"):
        step(batch, data_preprocessor=SegDataPreProcessor(size=(8, 8)))
    with pytest.raises(ValueError, match="a batch of 2 images has 1 data samples"):
        step({"inputs": inputs, "data_samples": [sample(6, 8, "a.png")]})


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        ([], "a batch of 1 images has 0 data samples"),
        ([3], "data_samples must hold SegDataSamples, not int"),
        ([SegDataSample(metainfo={"ori_shape": (0, 4)})], r"ori_shape must be \(height, width\).*not \(0, 4\)"),
        ([SegDataSample(metainfo={"ori_shape": "x", "img_path": "a.png"})], "a.png: ori_shape must be.*not 'x'"),
        ([SegDataSample(metainfo={"flip": True, "flip_direction": "up"})], "flip_direction: 'horizontal'.*not 'up'"),
    ],
)
def test_samples_that_cannot_be_predicted(samples: list[Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        LogitsModel(nn.Conv2d(3, 4, 1)).eval().val_step({"inputs": [images(3, 6, 8)], "data_samples": samples})


def test_maps_for_each_class_and_arrays_are_taken() -> None:
    soft = {"loss": nn.BCEWithLogitsLoss()}
    assert step((images(), torch.zeros(2, 4, 6, 8)), **soft)["loss"].isfinite()
    assert step((np.zeros((2, 3, 6, 8)), np.zeros((2, 6, 8), np.uint8)))["loss"].isfinite()
    assert step(([np.zeros((3, 6, 8), np.float32)] * 2, masks()))["loss"].isfinite()


def test_validation_keeps_label_maps_of_the_original_size() -> None:
    found = LogitsModel(nn.Conv2d(3, 4, 1)).eval().val_step((images(), masks(2, 12, 16)))
    assert found[0].pred_sem_seg.shape == (12, 16)


def test_losses_that_cannot_be_used() -> None:
    batch = (images(), masks())
    with pytest.raises(ValueError, match="does not depend on any parameter that is trained"):
        step(batch, loss=lambda logits, labels: logits.mean().detach())
    with pytest.raises(TypeError, match="the loss returned a dict of Tensor, float: a tensor, or a dict of tensors"):
        step(batch, loss=lambda logits, labels: {"loss_ce": logits.mean(), "loss_x": 3.0})
    with pytest.raises(RuntimeError) as caught:
        step((images(), torch.zeros(2, 6, 8)))
    assert "the masks are torch.float32; class indices are whole numbers: masks.long()" in caught.value.__notes__[0]


def test_a_model_that_cannot_take_the_images_says_what_it_was_given() -> None:
    for call in (
        lambda net: net.train_step((images(2, 4, 6, 8), masks()), WRAPPER),
        lambda net: net.val_step(images(2, 4, 6, 8)),
    ):
        with pytest.raises(RuntimeError) as caught:
            call(LogitsModel(nn.Conv2d(3, 4, 1)))
        assert (
            "the model was given images of shape (2, 4, 6, 8) (N x C x H x W), torch.float32"
            in caught.value.__notes__[0]
        )


def test_logits_without_height_and_width() -> None:
    net = LogitsModel(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(TypeError, match=r"returned a tensor of shape \(2, 4\): logits are expected as N x C x H x W"):
        net.train_step((images(), masks()), WRAPPER)


@pytest.mark.parametrize("names", [("inputs", "masks"), ("image", "mask")])
def test_masks_of_a_dict_are_the_ground_truth_of_its_predictions(names: tuple[str, str]) -> None:
    batch = dict(zip(names, (images(), masks() + 1), strict=True))
    found = LogitsModel(nn.Conv2d(3, 4, 1)).eval().val_step(batch)
    assert [sample.gt_sem_seg.data.unique().tolist() for sample in found] == [[1], [1]]
