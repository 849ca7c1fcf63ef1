from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_engine.data.datasets import ADE20KDataset, BaseSegDataset, CityscapesDataset
from seg_engine.demo.dataset import StreetScenesDataset

PREFIX = {"img_path": "images/training", "seg_map_path": "annotations/training"}
LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def make(scenes: Path, **options: Any) -> StreetScenesDataset:
    return StreetScenesDataset(**{"data_root": scenes, "data_prefix": PREFIX, "pipeline": LOAD, **options})


def test_every_image_has_its_label_map(scenes: Path) -> None:
    data = make(scenes)
    assert len(data) == 6
    record = data[4]
    assert Path(record["img_path"]).name == Path(record["seg_map_path"]).name == "street_00004.png"
    assert record["img"].shape == (192, 192, 3)
    assert record["gt_seg_map"].shape == (192, 192)
    assert record["seg_fields"] == ["gt_seg_map"]


def test_classes_and_palette_are_known(scenes: Path) -> None:
    info = make(scenes).metainfo
    assert info["classes"][:2] == ("sky", "building")
    assert len(info["palette"]) == 8
    info["classes"] = ()
    assert make(scenes).metainfo["classes"]


def test_public_data_sets_have_their_classes() -> None:
    assert len(ADE20KDataset(lazy_init=True).metainfo["classes"]) == 150
    assert ADE20KDataset(lazy_init=True).reduce_zero_label
    assert CityscapesDataset(lazy_init=True).metainfo["classes"][0] == "road"


def test_a_choice_of_classes_is_renumbered(scenes: Path) -> None:
    data = make(scenes, metainfo={"classes": ["road", "car"]})
    labels = data[0]["gt_seg_map"]
    whole = make(scenes)[0]["gt_seg_map"]
    assert set(np.unique(labels)) <= {0, 1, 255}
    assert np.array_equal(labels == 0, whole == 2)
    assert data.metainfo["palette"] == [[90, 90, 100], [40, 60, 190]]


def test_a_class_that_the_data_has_not_is_an_error(scenes: Path) -> None:
    with pytest.raises(ValueError, match=r"'boat'.*sky, building"):
        make(scenes, metainfo={"classes": ["boat"]})


def test_colours_and_classes_must_be_as_many(scenes: Path) -> None:
    with pytest.raises(ValueError, match="8 classes but 1 colours"):
        make(scenes, metainfo={"palette": [[0, 0, 0]]})


def test_a_list_of_names_chooses_and_orders(scenes: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("street_00003\n\nstreet_00001\n")
    data = make(scenes, ann_file=str(names))
    assert [Path(record["img_path"]).stem for record in data.records] == ["street_00003", "street_00001"]


def test_indices_choose(scenes: Path) -> None:
    assert len(make(scenes, indices=2)) == 2
    assert [Path(r["img_path"]).stem[-1] for r in make(scenes, indices=[5, 0]).records] == ["5", "0"]


def test_files_are_listed_once_and_late_if_asked(scenes: Path) -> None:
    data = make(scenes, lazy_init=True)
    assert data.records == []
    assert len(data) == 6


def test_test_mode_needs_no_labels(scenes: Path) -> None:
    data = make(
        scenes, data_prefix={"img_path": "images/training", "seg_map_path": "none"}, test_mode=True, pipeline=LOAD[:1]
    )
    assert data[0]["img"].shape == (192, 192, 3)


def test_mmsegs_other_options_are_accepted_and_misspelt_ones_are_not(scenes: Path) -> None:
    make(scenes, serialize_data=False, backend_args=None)
    with pytest.raises(TypeError, match=r"'piepline'.*Did you mean 'pipeline'"):
        make(scenes, piepline=[])


# -- bad input: the message has the path ---------------------------------------------------------------------------


def test_a_missing_image_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/images/training does not exist.*data_prefix\.img_path"):
        make(tmp_path)


def test_a_missing_label_folder(scenes: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"annotations/trianing does not exist"):
        make(scenes, data_prefix={"img_path": "images/training", "seg_map_path": "annotations/trianing"})


def test_a_missing_label_map(scenes: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"3 of 6 images have no label file.*street_00003\.png"):
        make(scenes, data_prefix={"img_path": "images/training", "seg_map_path": "annotations/validation"})


def test_the_wrong_suffix(scenes: Path) -> None:
    with pytest.raises(ValueError, match=r"no \*\.jpg in .*there are files with \.png"):
        BaseSegDataset(data_root=scenes, data_prefix=PREFIX)


def test_a_missing_or_empty_list(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.txt"):
        make(scenes, ann_file=str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no image"):
        make(scenes, ann_file=str(tmp_path / "empty.txt"))


def folder_with(tmp_path: Path, labels: np.ndarray[Any, Any], size: int = 8) -> Path:
    for kind, pixels in (("images", np.zeros((size, size, 3), np.uint8)), ("annotations", labels)):
        (tmp_path / kind / "training").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / "training" / "a.png"), pixels)
    return tmp_path


def test_a_label_outside_the_classes(tmp_path: Path) -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[0, :3] = 9
    data = make(folder_with(tmp_path, labels))
    with pytest.raises(ValueError, match=r"annotations/training/a\.png: label 9 \(3 pixels\).*8 classes") as caught:
        data[0]
    assert "in transform LoadAnnotations" in caught.value.__notes__[0]


def test_image_and_label_map_of_different_size(tmp_path: Path) -> None:
    data = make(folder_with(tmp_path, np.zeros((8, 6), np.uint8)))
    with pytest.raises(ValueError, match=r"annotations/training/a\.png.*6 x 8 pixels.*images/training/a\.png is 8 x 8"):
        data[0]


def test_a_label_map_with_colours(tmp_path: Path) -> None:
    data = make(folder_with(tmp_path, np.arange(192, dtype=np.uint8).reshape(8, 8, 3)))
    with pytest.raises(ValueError, match=r"a\.png: this label map holds colours"):
        data[0]


def test_a_pipeline_that_returns_nothing(scenes: Path) -> None:
    with pytest.raises(ValueError, match=r"returned None for .*street_00000\.png"):
        make(scenes, pipeline=[lambda record: None])[0]
