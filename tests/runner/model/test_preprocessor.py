"""SegDataPreProcessor: normalising, channel order, padding for training and testing, mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataPreProcessor, SegDataSample


def batch(*sizes: tuple[int, int]) -> dict[str, Any]:
    images = [torch.full((3, *size), 100, dtype=torch.uint8) for size in sizes]
    samples = []
    for size in sizes:
        sample = SegDataSample(metainfo={"ori_shape": size})
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
        samples.append(sample)
    return {"inputs": images, "data_samples": samples}


def test_training_pads_images_and_maps_to_the_size() -> None:
    prepare = SegDataPreProcessor(mean=[90.0] * 3, std=[5.0] * 3, size=(6, 8), pad_val=7, seg_pad_val=254)
    data = prepare(batch((4, 8), (6, 5)), training=True)
    assert data["inputs"].shape == (2, 3, 6, 8)
    assert data["inputs"][0, 0, :, 0].tolist() == [2, 2, 2, 2, 7, 7]
    second = data["data_samples"][1]
    assert second.gt_sem_seg.data[0, 0].tolist() == [0] * 5 + [254] * 3
    assert second.gt_sem_seg.data.dtype is torch.int64
    assert second.padding_size == (0, 3, 0, 0)
    assert (second.img_shape, second.pad_shape) == ((6, 5), (6, 8))
    assert second.ori_shape == (6, 5)


def test_training_pads_to_a_multiple() -> None:
    data = SegDataPreProcessor(size_divisor=4)(batch((5, 8), (3, 2)), training=True)
    assert data["inputs"].shape == (2, 3, 8, 8)
    assert data["inputs"].dtype is torch.float32


def test_every_label_map_is_padded() -> None:
    data = batch((2, 2))
    for name in ("gt_edge_map", "gt_depth_map"):
        data["data_samples"][0].set_data({name: PixelData(data=torch.zeros(1, 2, 2))})
    data["data_samples"][0].other = PixelData(data=torch.zeros(1, 2, 2))
    sample = SegDataPreProcessor(size=(3, 4))(data, training=True)["data_samples"][0]
    assert sample.gt_edge_map.shape == sample.gt_depth_map.shape == sample.gt_sem_seg.shape == (3, 4)
    assert sample.other.shape == (2, 2)


def test_the_given_samples_stay_as_they_are() -> None:
    data = batch((2, 2))
    SegDataPreProcessor(size=(3, 4))(data, training=True)
    assert data["data_samples"][0].gt_sem_seg.shape == (2, 2)
    assert "padding_size" not in data["data_samples"][0]


def test_larger_images_are_not_cropped() -> None:
    prepare = SegDataPreProcessor(size=(3, 3))
    assert prepare(batch((5, 5), (5, 5)), training=True)["inputs"].shape == (2, 3, 5, 5)
    with pytest.raises(ValueError, match="different sizes"):
        prepare(batch((5, 5), (2, 2)), training=True)


@pytest.mark.parametrize("swap", [{"bgr_to_rgb": True}, {"rgb_to_bgr": True}])
def test_channels_are_swapped_where_there_are_three(swap: dict[str, bool]) -> None:
    prepare = SegDataPreProcessor(mean=[1.0, 2.0, 3.0], std=[1.0] * 3, **swap)
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
    assert prepare({"inputs": [image]})["inputs"].flatten().tolist() == [29, 18, 7]
    grey = torch.ones(1, 2, 2)
    assert SegDataPreProcessor(**swap)({"inputs": [grey]})["inputs"].shape == (1, 1, 2, 2)


def test_testing_pads_only_where_told() -> None:
    assert SegDataPreProcessor(size=(9, 9))(batch((4, 5)))["inputs"].shape == (1, 3, 4, 5)
    data = SegDataPreProcessor(test_cfg={"size_divisor": 4})(batch((4, 5), (4, 5)))
    assert data["inputs"].shape == (2, 3, 4, 8)
    assert data["data_samples"][0].img_padding_size == (0, 3, 0, 0)
    assert data["data_samples"][0].pad_shape == (4, 8)
    assert data["data_samples"][0].gt_sem_seg.shape == (4, 5)
    data = SegDataPreProcessor(test_cfg={"size": (6, 6)})({"inputs": [torch.zeros(3, 4, 5)]})
    assert data["inputs"].shape == (1, 3, 6, 6)
    assert data["data_samples"] is None


def test_a_stacked_batch_is_taken_too() -> None:
    assert SegDataPreProcessor()({"inputs": torch.zeros(2, 3, 4, 4)})["inputs"].shape == (2, 3, 4, 4)


def test_nothing_is_in_checkpoints() -> None:
    assert not SegDataPreProcessor(mean=[1.0], std=[2.0]).state_dict()


def test_augmenting_batches() -> None:
    prepare = SegDataPreProcessor(size=(4, 4), batch_augments=[lambda inputs, samples: (inputs + 1, samples)])
    assert prepare(batch((4, 4)), training=True)["inputs"].unique().tolist() == [101]
    assert prepare(batch((4, 4)))["inputs"].unique().tolist() == [100]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"mean": [1.0]}, ValueError, "mean and std"),
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, ValueError, "only one"),
        ({"size": (1, 1), "size_divisor": 2}, ValueError, "not both"),
        ({"test_cfg": {"size": (1, 1), "size_divisor": 2}}, ValueError, "test_cfg"),
        ({"test_cfg": {"other": 1}}, ValueError, "test_cfg"),
        ({"batch_augments": [{"type": "Mixup"}]}, TypeError, "callables"),
    ],
)
def test_mistakes_in_the_options(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        SegDataPreProcessor(**given)


def test_mistakes_in_use() -> None:
    with pytest.raises(ValueError, match="size_divisor"):
        SegDataPreProcessor()(batch((4, 4)), training=True)
    with pytest.raises(ValueError, match="needs data_samples"):
        SegDataPreProcessor(size=(4, 4))({"inputs": [torch.zeros(3, 4, 4)]}, training=True)
    with pytest.raises(ValueError, match="cannot be stacked"):
        SegDataPreProcessor()(batch((4, 4), (5, 4)))


def test_as_many_means_as_channels() -> None:
    with pytest.raises(ValueError, match="mean has 3 numbers, and std 1"):
        SegDataPreProcessor(mean=[1.0] * 3, std=[1.0])
    two = SegDataPreProcessor(mean=[1.0, 2.0], std=[1.0, 1.0])
    with pytest.raises(ValueError, match="mean and std have 2 numbers, but images have 3 channels"):
        two({"inputs": [torch.zeros(3, 4, 4)], "data_samples": [SegDataSample()]})


@pytest.mark.parametrize("batch", [3, {"imgs": []}, {"inputs": []}, {"inputs": ["a.png"]}])
def test_batches_that_are_none(batch: Any) -> None:
    with pytest.raises(TypeError, match=r"data_preprocessor"):
        SegDataPreProcessor()(batch)
