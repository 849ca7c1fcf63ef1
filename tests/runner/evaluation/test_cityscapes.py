"""CityscapesMetric: classes and categories by hand, instances of equal weight, result files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import CityscapesMetric, PixelData, SegDataSample
from seg_runner.evaluation.cityscapes import MEAN_SIZES

CAR, TRUCK, ROAD, SIDEWALK, SKY = 13, 14, 0, 1, 10


def sample(predicted: Any, true: Any, **facts: Any) -> SegDataSample:
    made = SegDataSample(metainfo=facts)
    made.pred_sem_seg = PixelData(data=torch.tensor(predicted))
    made.gt_sem_seg = PixelData(data=torch.tensor(true))
    return made


def test_mixing_up_within_a_category_is_a_hit_there(tmp_path: Path) -> None:
    metric = CityscapesMetric(output_dir=str(tmp_path / "out"))
    metric.process(None, [sample([[CAR, CAR, ROAD, SKY, SKY]], [[CAR, TRUCK, ROAD, ROAD, 255]])])
    found = metric.evaluate(1)
    assert list(found) == ["averageScoreClasses", "averageScoreCategories"]
    assert found["averageScoreClasses"] == pytest.approx((1 / 2 + 0 + 1 / 2 + 0) / 4)
    assert found["averageScoreCategories"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert not (tmp_path / "out").exists()


def test_pixels_to_ignore_do_not_count(tmp_path: Path) -> None:
    metric = CityscapesMetric(output_dir=str(tmp_path), ignore_index=SKY)
    metric.process(None, [sample([[CAR, CAR, ROAD, ROAD]], [[CAR, CAR, SKY, ROAD]])])
    assert metric.evaluate(1) == {"averageScoreClasses": 1.0, "averageScoreCategories": 1.0}


def test_instances_have_the_same_weight(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    true = [[CAR, CAR, CAR, CAR], [CAR, ROAD, ROAD, ROAD]]
    instances = np.array([[26000, 26000, 26000, 26000], [26001, 7, 7, 7]])
    image.fromarray(instances.astype(np.uint16)).save(tmp_path / "a_gtFine_instanceIds.png")
    predicted = [[TRUCK, TRUCK, TRUCK, TRUCK], [CAR, CAR, ROAD, ROAD]]
    metric = CityscapesMetric(output_dir=str(tmp_path / "out"), prefix="city")
    seg_map = str(tmp_path / "a_gtFine_labelTrainIds.png")
    metric.process(None, [sample(predicted, true, seg_map_path=seg_map)])
    found = metric.evaluate(1)
    size = MEAN_SIZES[CAR]
    wrong_truck = 0
    assert found["city/averageScoreInstClasses"] == pytest.approx((size / (2 * size + 1) + wrong_truck) / 2)
    assert found["city/averageScoreInstCategories"] == pytest.approx(2 * size / (2 * size + 1))


def test_files_hold_label_ids(tmp_path: Path, caplog: Any) -> None:
    cv2 = pytest.importorskip("cv2")
    metric = CityscapesMetric(output_dir=str(tmp_path), keep_results=True, format_only=True, extra=1)
    metric.process(None, [sample([[CAR, ROAD]], [[CAR, ROAD]], img_path="x/frankfurt_1_leftImg8bit.png")])
    assert metric.evaluate(1) == {}
    assert cv2.imread(str(tmp_path / "frankfurt_1_leftImg8bit.png"), -1).tolist() == [[26, 7]]
    assert "does not use extra" in caplog.text


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_results"):
        CityscapesMetric(output_dir=str(tmp_path), format_only=True)
    with pytest.raises(ValueError, match="no sample"):
        CityscapesMetric(output_dir=str(tmp_path)).evaluate(0)
