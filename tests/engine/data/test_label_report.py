from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from seg_engine.data.datasets import BaseSegDataset
from seg_engine.data.label_report import LabelCounts, spread

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def made(folder: Path, maps: list[Any], **options: Any) -> BaseSegDataset:
    """A data set of label maps; all images are black."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    for index, labels in enumerate(maps):
        labels = np.asarray(labels, np.uint8)
        cv2.imwrite(str(folder / f"images/{index:03}.png"), np.zeros((*labels.shape, 3), np.uint8))
        cv2.imwrite(str(folder / f"labels/{index:03}.png"), labels)
    told = {"metainfo": {"classes": ("soil", "crop")}, "pipeline": LOAD, "img_suffix": ".png"} | options
    return BaseSegDataset(data_root=folder, data_prefix={"img_path": "images", "seg_map_path": "labels"}, **told)


def warnings_of(data: BaseSegDataset) -> list[str]:
    return [text for level, text in data.data_report() if level == logging.WARNING]


def test_good_label_maps_give_two_quiet_lines(tmp_path: Path) -> None:
    data = made(tmp_path, [[[0, 1, 1, 255]]] * 2)
    assert data.data_report() == [
        (logging.INFO, f"2 images of {tmp_path / 'images'}"),
        (logging.INFO, "label maps read (2 of 2): 25.0 % of their pixels do not count"),
    ]


def test_masks_of_0_and_255_are_said(tmp_path: Path) -> None:
    told = warnings_of(made(tmp_path, [[[0, 255]]]))
    assert any("hold 0 and 255 only" in text and "'crop' has no pixel" in text for text in told)
    assert any("class 1 'crop' has no pixel" in text for text in told)
    assert any("are of one class, 0" in text for text in told)


def test_most_pixels_left_out_is_said(tmp_path: Path) -> None:
    (text,) = warnings_of(made(tmp_path, [[[0, 1, 255, 255, 255]]]))
    assert text.startswith("60.0 % of the pixels")


def test_a_class_that_a_part_of_the_maps_lacks_is_no_warning(tmp_path: Path) -> None:
    data = made(tmp_path, [[[0, 0]]] * 40, metainfo={"classes": ("a", "b", "c", "d", "e")})
    absent = [(level, text) for level, text in data.data_report() if "no pixel" in text]
    assert absent == [
        (logging.INFO, "classes 1 'b', 2 'c', 3 'd' and 1 more have no pixel in the label maps read (32 of 40)")
    ]


def test_a_wrong_label_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels/001\.png: label 7 "):
        made(tmp_path, [[[0, 1]], [[0, 7]]]).data_report()


@pytest.mark.parametrize(("image", "labels", "fits"), [(1, 1, True), (6, 1, False), (1, 6, False), (6, 6, True)])
@pytest.mark.parametrize("color", ["color", "color_ignore_orientation"])
def test_another_size_than_the_images_is_an_error_before_the_first_step(
    tmp_path: Path, image: int, labels: int, fits: bool, color: str
) -> None:
    load = [{"type": "LoadImageFromFile", "color_type": color}, {"type": "LoadAnnotations"}]
    data = made(tmp_path, [[[0, 1, 1]], [[0, 1, 1]]], pipeline=load)
    for kind, turn in (("images", image), ("labels", labels)):
        exif = Image.Exif()
        exif[274] = turn
        pixels = np.array([[0, 1, 1]], np.uint8) if kind == "labels" else np.zeros((1, 3, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / kind / "001.png", exif=exif)
    if fits or color != "color":
        assert data[1]["gt_seg_map"].shape == data[1]["img"].shape[:2]
        data.data_report()
    else:
        for read in (data.data_report, lambda: data[1]):
            with pytest.raises(ValueError, match=r"labels/001\.png: this .* EXIF data may turn one of them"):
                read()
    cv2.imwrite(str(tmp_path / "labels/001.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"labels/001\.png: this .* is 4 x 4 pixels, but its image .*001\.png is"):
        data.data_report()


def test_files_of_other_suffixes_are_said(tmp_path: Path) -> None:
    data = made(tmp_path, [[[0, 1]]])
    (tmp_path / "images" / "b.JPG").write_bytes(b"")
    data = made(tmp_path, [[[0, 1]]])
    (text,) = warnings_of(data)
    where = tmp_path / "images"
    assert text == f"1 image of {where}; left out: 1 *.JPG (img_suffix='.png' takes no others)"


def test_an_image_that_exif_turns_without_its_label_map_is_said(tmp_path: Path) -> None:
    made(tmp_path, [[[0, 1]]])
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(np.zeros((1, 2, 3), np.uint8)).save(tmp_path / "images/000.png", exif=exif)
    told = warnings_of(made(tmp_path, []))
    assert any("EXIF data" in text and "000.png" in text for text in told)
    stored = [{"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}, LOAD[1]]
    assert not warnings_of(made(tmp_path, [], pipeline=stored))


def test_without_labels_only_the_files_are_told(tmp_path: Path) -> None:
    assert len(made(tmp_path, [[[0, 1]]], pipeline=LOAD[:1]).data_report()) == 1


def test_large_maps_are_fewer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("seg_engine.data.label_report.PIXELS", 5)
    assert "(3 of 6)" in made(tmp_path, [[[0, 1]]] * 6).data_report()[1][1]


def test_counts_and_places() -> None:
    assert spread(100, 4) == [0, 33, 66, 99]
    counts = LabelCounts((), 255)
    counts.add(np.array([[3]]), np.array([[3]]))
    assert [text for _, text in counts.lines(1)] == ["label maps read (1 of 1): 0.0 % of their pixels do not count"]


# -- the label that the model leaves out ----------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 254, -100, 65535])
def test_pixels_that_do_not_count_get_the_label_of_the_model(tmp_path: Path, label: int) -> None:
    pipeline = [
        *LOAD,
        {"type": "Pad", "size": (6, 1), "pad_val": {"img": 0, "seg": 255}},
        {"type": "RandomRotate", "prob": 1.0, "degree": (90, 90), "seg_pad_val": 255},
    ]
    data = made(tmp_path, [[[0, 1, 1, 255]]], pipeline=pipeline)
    assert "get label" in str(data.leave_out(label))
    assert data.leave_out(label) is None
    found = data[0]["gt_seg_map"]
    assert set(np.unique(found).tolist()) <= {0, 1, label}
    data.pipeline.transforms.pop()
    assert data[0]["gt_seg_map"].tolist() == [[0, 1, 1, label, label, label]]


def test_the_reduced_label_and_dropped_classes_get_it_too(tmp_path: Path) -> None:
    data = made(tmp_path, [[[0, 1, 2, 255]]], reduce_zero_label=True)
    data.leave_out(254)
    assert data[0]["gt_seg_map"].tolist() == [[254, 0, 1, 254]]


def test_a_class_stays_one_where_a_transform_or_the_data_set_names_it(tmp_path: Path) -> None:
    pad = {"type": "Pad", "size": (4, 1), "pad_val": {"img": 0, "seg": 1}}
    data = made(tmp_path, [[[0, 1, 0]]], pipeline=[*LOAD, pad])
    assert data[0]["gt_seg_map"].tolist() == [[0, 1, 0, 1]]
    zero = made(tmp_path, [[[0, 1, 0]]], ignore_index=0)
    assert "label 0 of the files stays a class" in str(zero.leave_out(255))
    assert zero[0]["gt_seg_map"].tolist() == [[0, 1, 0]]


def test_classes_of_an_image(tmp_path: Path) -> None:
    assert made(tmp_path, [[[0, 255]], [[1, 0]]]).get_cat_ids(1) == [0, 1]
    assert made(tmp_path, [[[0, 255]]]).get_cat_ids(0) == [0]


def test_label_maps_in_jpeg_are_told_once(tmp_path: Path) -> None:
    flat = np.zeros((16, 16), np.uint8)
    data = made(tmp_path, [flat] * 3)
    for index in range(3):
        assert cv2.imwrite(str(tmp_path / "labels/a.jpg"), flat)
        (tmp_path / "labels/a.jpg").replace(tmp_path / f"labels/{index:03}.png")
    told = [text for text in warnings_of(data) if "JPEG" in text]
    assert told == [
        f"{tmp_path / 'labels/000.png'} is a JPEG, and JPEG changes the values near edges, which are labels here: "
        "save label maps as PNG"
    ]


def test_a_label_that_jpeg_made_is_told_with_it(tmp_path: Path) -> None:
    data = made(tmp_path, [np.zeros((16, 16), np.uint8)], seg_map_suffix=".jpg", lazy_init=True)
    cv2.imwrite(str(tmp_path / "labels/000.jpg"), np.full((16, 16), 9, np.uint8))
    with pytest.raises(ValueError, match="label 9") as caught:
        data.data_report()
    assert "is a JPEG" in caught.value.__notes__[0]
