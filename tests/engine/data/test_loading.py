from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from seg_engine.data.loading import LoadAnnotations, LoadImageFromFile, PackSegInputs


def labels_file(tmp_path: Path, labels: Any) -> dict[str, Any]:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.asarray(labels, np.uint8))
    return {"seg_map_path": str(path), "seg_fields": []}


def test_label_0_is_reduced_where_the_data_set_or_the_transform_says_so(tmp_path: Path) -> None:
    record = labels_file(tmp_path, [[0, 1, 2, 255]])
    assert LoadAnnotations()({**record, "reduce_zero_label": True})["gt_seg_map"].tolist() == [[255, 0, 1, 255]]
    assert LoadAnnotations()({**record})["gt_seg_map"].tolist() == [[0, 1, 2, 255]]
    assert LoadAnnotations(reduce_zero_label=True)({**record})["gt_seg_map"].tolist() == [[255, 0, 1, 255]]


def test_labels_are_checked_unless_told_otherwise(tmp_path: Path) -> None:
    record = {**labels_file(tmp_path, [[0, 7]]), "classes": ["a", "b"]}
    with pytest.raises(ValueError, match=r"a\.png: label 7 \(1 pixels\) is outside the 2 classes 0\.\.1"):
        LoadAnnotations()({**record})
    assert LoadAnnotations(check_labels=False)({**record})["gt_seg_map"].max() == 7


def test_another_ignored_label_counts_as_such(tmp_path: Path) -> None:
    record = {**labels_file(tmp_path, [[0, 7]]), "classes": ["a", "b"], "ignore_index": 7}
    assert LoadAnnotations()(record)["gt_seg_map"].tolist() == [[0, 7]]


def test_an_image_is_read_as_colours_greys_or_floats(scenes: Path) -> None:
    record = {"img_path": str(scenes / "images/training/street_00000.png")}
    assert LoadImageFromFile()({**record})["img"].shape == (192, 192, 3)
    assert LoadImageFromFile(color_type="grayscale")({**record})["img"].shape == (192, 192)
    assert LoadImageFromFile(to_float32=True)({**record})["img"].dtype == np.float32
    assert LoadImageFromFile(backend_args=None)({**record})["ori_shape"] == (192, 192)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_exif_turns_an_image_unless_told_otherwise(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[274] = 3
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 250
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=100)

    def left(color_type: str) -> bool:
        record = LoadImageFromFile(color_type=color_type)({"img_path": str(tmp_path / name)})
        assert record["turned_by_exif"] == (color_type in ("color", "grayscale"))
        return bool(record["img"].reshape(16, 32, -1)[0, 0, 0] > 128)

    assert not left("color")
    assert not left("grayscale")
    assert left("color_ignore_orientation")
    assert left("grayscale_ignore_orientation")
    assert left("unchanged")


def test_options_that_nobody_knows_are_errors() -> None:
    with pytest.raises(ValueError, match="color_type='rgb'; one of color, color_ignore_orientation, grayscale"):
        LoadImageFromFile(color_type="rgb")
    with pytest.raises(TypeError, match="no option 'colour'"):
        LoadImageFromFile(colour=1)
    with pytest.raises(TypeError, match="no option 'reduce'"):
        LoadAnnotations(reduce=1)


def test_packing_gives_tensors_and_a_sample() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    record = {"img": image, "gt_seg_map": np.ones((2, 4), np.uint8), "img_path": "a.png", "ori_shape": (2, 4), "x": 1}
    packed = PackSegInputs()(record)
    assert packed["inputs"].dtype == torch.uint8
    assert packed["inputs"].shape == (3, 2, 4)
    assert packed["inputs"][1, 0, 2] == image[0, 2, 1]
    sample = packed["data_samples"]
    assert sample.gt_sem_seg.data.dtype == torch.int64
    assert sample.gt_sem_seg.shape == (2, 4)
    assert sample.metainfo == {"img_path": "a.png", "ori_shape": (2, 4)}


def test_packing_without_labels_and_with_grey_values() -> None:
    packed = PackSegInputs(meta_keys=["img_path"])({"img": np.zeros((2, 4), np.uint8), "img_path": "a.png"})
    assert packed["inputs"].shape == (1, 2, 4)
    assert "gt_sem_seg" not in packed["data_samples"]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_packed_pixels_are_a_copy_with_channels_first(dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 2, (9, 8, channels)).astype(dtype)[1:6, 2:7]
    inputs = PackSegInputs()({"img": image})["inputs"]
    np.testing.assert_array_equal(inputs.numpy(), image.transpose(2, 0, 1))
    assert inputs.is_contiguous()
    assert not np.shares_memory(inputs.numpy(), image)
