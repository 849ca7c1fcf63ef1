"""DepthMetric against plain numpy, its options and its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import DepthMetric, Evaluator, PixelData, SegDataSample


def sample(predicted: np.ndarray, true: np.ndarray, **facts: Any) -> SegDataSample:
    made = SegDataSample(metainfo=facts)
    made.pred_depth_map = PixelData(data=torch.from_numpy(predicted)[None])
    made.gt_depth_map = PixelData(data=torch.from_numpy(true)[None])
    return made


def pair(seed: int, shape: tuple[int, int] = (6, 8)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true = random.uniform(0.5, 12, shape).astype(np.float32)
    true[0] = 0
    return (true * random.uniform(0.7, 1.4, shape) + 0.01).astype(np.float32), true


def plain(predicted: np.ndarray, true: np.ndarray, low: float = 0.0, high: float = np.inf) -> dict[str, float]:
    counted = (true > low) & (true < high)
    p, t = predicted[counted].astype(np.float64), true[counted].astype(np.float64)
    ratio, logs = np.maximum(p / t, t / p), np.log(p) - np.log(t)
    return {
        "d1": (ratio < 1.25).mean(),
        "d2": (ratio < 1.25**2).mean(),
        "d3": (ratio < 1.25**3).mean(),
        "abs_rel": (np.abs(p - t) / t).mean(),
        "sq_rel": ((p - t) ** 2 / t).mean(),
        "rmse": np.sqrt(((p - t) ** 2).mean()),
        "rmse_log": np.sqrt((logs**2).mean()),
        "log10": np.abs(np.log10(p) - np.log10(t)).mean(),
        "silog": np.sqrt((logs**2).mean() - 0.5 * logs.mean() ** 2),
    }


@pytest.mark.parametrize("limits", [{}, {"min_depth_eval": 1.0, "max_depth_eval": 10.0}])
def test_means_over_images_equal_plain_numpy(limits: dict[str, float]) -> None:
    metric = DepthMetric(**limits)
    pairs = [pair(0), pair(1, (5, 9))]
    for predicted, true in pairs:
        metric.process(None, [sample(predicted, true)])
    found = metric.evaluate(2)
    each = [plain(p, t, limits.get("min_depth_eval", 0.0), limits.get("max_depth_eval", np.inf)) for p, t in pairs]
    assert list(found) == list(each[0])
    assert found == pytest.approx({name: np.mean([one[name] for one in each]) for name in each[0]})


def test_the_crop_of_nyu() -> None:
    predicted, true = pair(0, (480, 640))
    metric = DepthMetric(crop_type="nyu_crop", prefix="val")
    metric.process(None, [sample(predicted, true)])
    inside = np.s_[45:471, 41:601]
    assert metric.evaluate(1)["val/rmse"] == pytest.approx(plain(predicted[inside], true[inside])["rmse"])


def test_some_numbers_only_and_it_forgets() -> None:
    metric = DepthMetric(depth_metrics=["rmse", "d1"])
    for seed in (0, 3):
        metric.process({}, [sample(*pair(seed)).to_dict()])
        found = metric.evaluate(1)
        assert list(found) == ["rmse", "d1"]
        assert found["rmse"] == pytest.approx(plain(*pair(seed))["rmse"])
    assert DepthMetric(depth_metrics="d1").depth_metrics == ["d1"]


def test_predictions_are_written_in_16_bits(tmp_path: Path) -> None:
    metric = DepthMetric(output_dir=str(tmp_path), format_only=True, depth_scale_factor=1000.0)
    metric.process(None, [sample(np.array([[1.5, 60.0]], np.float32), np.zeros((1, 2), np.float32), img_path="a.jpg")])
    assert metric.evaluate(1) == {}
    assert (tmp_path / "a.png").read_bytes()[24:26] == bytes([16, 0])
    cv2 = pytest.importorskip("cv2")
    assert cv2.imread(str(tmp_path / "a.png"), -1).tolist() == [[1500, 60000]]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"depth_metrics": ["rmes"]}, KeyError, "'rmes'"),
        ({"crop_type": "kitti"}, ValueError, "nyu_crop"),
        ({"format_only": True}, TypeError, "output_dir"),
    ],
)
def test_mistakes(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        DepthMetric(**given)


def test_mistakes_in_use(caplog: Any) -> None:
    with pytest.raises(ValueError, match="no sample"):
        DepthMetric().evaluate(0)
    with pytest.raises(ValueError, match="'pred_depth_map'"):
        DepthMetric().process(None, [SegDataSample()])
    DepthMetric(extra=1)
    assert "does not use extra" in caplog.text


def test_an_image_without_depths_that_count_is_left_out() -> None:
    metric = DepthMetric(depth_metrics=["rmse"])
    predicted, true = pair(0)
    metric.process(None, [sample(predicted, true), sample(predicted, np.zeros_like(true))])
    assert metric.evaluate(2)["rmse"] == pytest.approx(plain(predicted, true)["rmse"])
    metric.process(None, [sample(predicted, np.zeros_like(true))])
    assert np.isnan(metric.evaluate(1)["rmse"])


def test_maps_of_other_sizes_are_told() -> None:
    small, large = np.ones((4, 4), np.float32), np.ones((5, 5), np.float32)
    with pytest.raises(ValueError, match=r"a.jpg: the prediction has \(4, 4\) pixels, the depth map \(5, 5\)"):
        DepthMetric().process(None, [sample(small, large, img_path="a.jpg")])
    with pytest.raises(ValueError, match="'nyu_crop' is a part of 480 x 640 pixels"):
        Evaluator(DepthMetric(crop_type="nyu_crop")).offline_evaluate([sample(small, small)])


def test_depths_beyond_16_bits_do_not_wrap(tmp_path: Path) -> None:
    metric = DepthMetric(output_dir=str(tmp_path), format_only=True, depth_scale_factor=1000.0)
    deep = np.array([[70.0, -1.0, np.nan]], np.float32)
    metric.process(None, [sample(deep, deep, img_path="a.jpg")])
    cv2 = pytest.importorskip("cv2")
    assert cv2.imread(str(tmp_path / "a.png"), -1).tolist() == [[65535, 0, 0]]


def test_an_empty_range_of_depths() -> None:
    with pytest.raises(ValueError, match="min_depth_eval=10 must be less than max_depth_eval=1"):
        DepthMetric(min_depth_eval=10, max_depth_eval=1)
