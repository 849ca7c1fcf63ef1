from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seg_registry import builder
from seg_runner import ClassBalancedSampler
from seg_runner.data.named_dataset import describe_sample

from seg_engine.data.joined_datasets import ClassBalancedDataset, ConcatDataset, RepeatDataset


class Held(list[Any]):
    """A data set in memory; its samples are the classes they hold."""

    def __init__(self, samples: Any, **metainfo: Any) -> None:
        super().__init__(samples)
        self.metainfo = {"classes": ("a", "b")} | metainfo

    def get_cat_ids(self, index: int) -> list[int]:
        return list(self[index])

    def get_data_info(self, index: int) -> dict[str, Any]:
        return {"img_path": f"{self[index]}.png"}


def scene_cfg(scenes: Path, part: str, **options: Any) -> dict[str, Any]:
    prefix = {"img_path": f"images/{part}", "seg_map_path": f"annotations/{part}"}
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    return {"type": "StreetScenesDataset", "data_root": str(scenes), "data_prefix": prefix, "pipeline": load} | options


def test_data_sets_follow_one_another(scenes: Path) -> None:
    nested = {"type": "RepeatDataset", "times": 3, "dataset": scene_cfg(scenes, "validation", indices=[2, 0])}
    cfg = {"type": "ConcatDataset", "datasets": [scene_cfg(scenes, "training"), nested]}
    data = builder().build("dataset", cfg)
    assert len(data) == 6 + 3 * 2
    names = [Path(data.get_data_info(index)["img_path"]).parts[-2:] for index in range(12)]
    assert [folder for folder, _ in names] == ["training"] * 6 + ["validation"] * 6
    assert names[6:8] == names[8:10] == names[10:]
    assert [data.get_data_info(index)["sample_idx"] for index in (0, 11, -1)] == [0, 11, 11]
    assert np.array_equal(data[7]["img"], data[-1]["img"])
    assert data.metainfo["classes"] == data.datasets[0].metainfo["classes"]
    assert "training" in describe_sample(data, 2)


def test_an_index_that_is_not_there() -> None:
    data = ConcatDataset([Held([[0]]), RepeatDataset(Held([[1]]), 2)])
    assert [data[index] for index in (0, 1, 2, -1)] == [[0], [1], [1], [1]]
    assert list(data) == [[0], [1], [1]]
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 samples"):
            data[index]


def test_other_classes_are_an_error_unless_told_to_be_ignored() -> None:
    other = Held([[0]], classes=("a", "c"))
    with pytest.raises(ValueError, match=r"datasets\[1\] has another metainfo\['classes'\]"):
        ConcatDataset([Held([[0]]), other])
    assert len(ConcatDataset([Held([[0]]), other], ignore_keys="classes")) == 2
    assert len(ConcatDataset([Held([[0]]), other], ignore_keys="all")) == 2
    same = Held([[0]], classes=["a", "b"], reduce_zero_label=True)
    assert len(ConcatDataset([Held([[0]]), same])) == 2


def test_a_late_look_at_the_files(scenes: Path) -> None:
    inner = scene_cfg(scenes, "training", lazy_init=True)
    data = builder().build("dataset", {"type": "ConcatDataset", "datasets": [inner, inner], "lazy_init": True})
    assert data.datasets[0].records == []
    assert data[11]["img"].shape == (192, 192, 3)
    assert len(data) == 12


def test_rare_classes_come_more_often() -> None:
    held = Held([[0], [0], [0], [0, 1]])
    data = ClassBalancedDataset(held, oversample_thr=1.0)
    assert [data[index] for index in range(len(data))] == [[0], [0], [0], [0, 1], [0, 1]]
    assert data.get_cat_ids(4) == [0, 1]
    assert len(ClassBalancedDataset(held, oversample_thr=0.1)) == 4


def test_balance_by_what_label_maps_hold(scenes: Path) -> None:
    inner = concat_cfg(scenes)
    data = builder().build("dataset", {"type": "ClassBalancedDataset", "oversample_thr": 0.9, "dataset": inner})
    assert len(data) >= 12
    present = set(np.unique(data[0]["gt_seg_map"]).tolist()) - {255}
    assert data.get_cat_ids(0) == sorted(present)
    assert len(ClassBalancedSampler(data, threshold=0.9)) >= len(data)


def concat_cfg(scenes: Path) -> dict[str, Any]:
    return {"type": "ConcatDataset", "datasets": [scene_cfg(scenes, "training")] * 2}


def test_what_is_left_out_and_told_reaches_all_inside(scenes: Path) -> None:
    cfg = {"type": "RepeatDataset", "times": 2, "dataset": concat_cfg(scenes)}
    data = builder().build("dataset", cfg)
    assert str(data.leave_out(254)).count("get label 254") == 1
    assert data.leave_out(254) is None
    assert 255 not in data[3]["gt_seg_map"]
    assert len([text for _, text in data.data_report() if "6 images of" in text]) == 2
    assert ConcatDataset([Held([[0]])]).leave_out(3) is None
    assert ConcatDataset([Held([[0]])]).data_report() == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConcatDataset([]), "a list of data sets"),
        (lambda: ConcatDataset([3]), "a data set with a length"),
        (lambda: RepeatDataset(Held([]), 0), "times must be a whole number of at least 1.*, not 0"),
        (lambda: RepeatDataset(Held([]), 1.5), "times must be a whole number.*, not 1.5"),
        (lambda: ClassBalancedDataset(Held([]), 0), "oversample_thr .*more than 0, not 0"),
        (lambda: ClassBalancedDataset([1, 2], 0.1), r"list has no get_cat_ids\(index\)"),
        (lambda: ConcatDataset([[1]]).get_cat_ids(0), r"list has no get_cat_ids\(index\)"),
    ],
)
def test_what_cannot_be_joined_is_said(make: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        make()
