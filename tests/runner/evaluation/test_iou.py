"""IoUMetric against plain numpy, its options, its table, its mistakes, and padding samplers over two processes."""

from __future__ import annotations

import logging
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from seg_runner import Evaluator, IoUMetric, PixelData, SegDataSample
from seg_runner.evaluation.iou import oddities
from seg_runner.evaluation.tables import missing_files


def sample(pred: Any, true: Any, **facts: Any) -> SegDataSample:
    made = SegDataSample(metainfo=facts)
    made.pred_sem_seg = PixelData(data=torch.as_tensor(pred))
    made.gt_sem_seg = PixelData(data=torch.as_tensor(true))
    return made


def plain(pred: np.ndarray, true: np.ndarray, classes: int) -> dict[str, float]:
    """The same by hand: one class at a time, as fractions."""
    counted = true != 255
    pred, true = pred[counted], true[counted]
    iou, accuracy = [], []
    for index in range(classes):
        hit, union = ((pred == index) & (true == index)).sum(), ((pred == index) | (true == index)).sum()
        if union:
            iou.append(hit / union)
        if (true == index).any():
            accuracy.append(hit / (true == index).sum())
    right = ((pred == true) & (true < classes)).sum() / max((true < classes).sum(), 1)
    return {"aAcc": right * 100, "mIoU": np.mean(iou) * 100, "mAcc": np.mean(accuracy) * 100}


MAPS = arrays(np.int64, (2, 4, 5), elements=st.one_of(st.integers(0, 4), st.just(255)))
PREDICTIONS = arrays(np.int64, (2, 4, 5), elements=st.integers(0, 4))


@settings(max_examples=60)
@given(PREDICTIONS, MAPS)
def test_values_equal_plain_numpy(pred: np.ndarray, true: np.ndarray) -> None:
    metric = IoUMetric(num_classes=5)
    metric.process(None, [sample(p, t) for p, t in zip(pred, true, strict=True)])
    found = metric.evaluate(2)
    assert list(found) == ["aAcc", "mIoU", "mAcc"]
    if (true != 255).any():
        assert found == pytest.approx(plain(pred, true, 5))
        assert all(type(value) is float for value in found.values())


@given(PREDICTIONS, MAPS, st.integers(0, 39))
def test_batches_of_any_size_give_the_same(pred: np.ndarray, true: np.ndarray, cut: int) -> None:
    if (true == 255).all():
        return
    whole, parts = IoUMetric(num_classes=5), IoUMetric(num_classes=5)
    flat_pred, flat_true = pred.reshape(1, -1), true.reshape(1, -1)
    whole.process(None, [sample(flat_pred, flat_true)])
    for part in (slice(0, cut), slice(cut, None)):
        parts.process(None, [sample(flat_pred[:, part][None], flat_true[:, part][None])])
    assert whole.evaluate(1) == pytest.approx(parts.evaluate(2), nan_ok=True)


def simple(metric: IoUMetric, classes: tuple[str, ...] = ()) -> IoUMetric:
    if classes:
        metric.dataset_meta = {"classes": classes}
    metric.process(None, [sample([[0, 0, 1, 1]], [[0, 1, 1, 255]])])
    return metric


def test_it_forgets_after_evaluate() -> None:
    metric = IoUMetric(num_classes=2)
    first = simple(metric).evaluate(1)
    assert simple(metric).evaluate(1) == first


def test_keys_follow_the_request() -> None:
    metric = simple(IoUMetric(num_classes=2, iou_metrics=["mDice", "mIoU", "mFscore"]))
    assert list(metric.evaluate(1)) == ["aAcc", "mDice", "mAcc", "mIoU", "mFscore", "mPrecision", "mRecall"]
    assert IoUMetric(iou_metrics="mDice").iou_metrics == ["mDice"]


def test_the_values_of_one_small_case() -> None:
    metric = simple(IoUMetric(num_classes=2, iou_metrics=["mIoU", "mDice", "mFscore"], beta=2))
    found = metric.evaluate(1)
    precision, recall = np.array([0.5, 1.0]), np.array([1.0, 0.5])
    assert found["aAcc"] == pytest.approx(200 / 3)
    assert found["mIoU"] == pytest.approx(50.0)
    assert found["mDice"] == pytest.approx(200 / 3)
    assert found["mFscore"] == pytest.approx(100 * (5 * precision * recall / (4 * precision + recall)).mean())
    assert (found["mPrecision"], found["mRecall"]) == (75.0, 75.0)


def test_full_precision_or_rounded() -> None:
    assert simple(IoUMetric(num_classes=2)).evaluate(1)["aAcc"] == 100 * (2 / 3)
    assert simple(IoUMetric(num_classes=2, decimals=2)).evaluate(1)["aAcc"] == 66.67


def test_values_per_class_can_be_had() -> None:
    metric = simple(IoUMetric(per_class=True), ("road", "car"))
    found = metric.evaluate(1)
    assert found["IoU.road"] == 50.0
    assert found["Acc.car"] == 50.0


def test_absent_classes_are_left_out_or_get_a_number() -> None:
    assert simple(IoUMetric(num_classes=3)).evaluate(1)["mIoU"] == 50.0
    assert simple(IoUMetric(num_classes=3, nan_to_num=0)).evaluate(1)["mIoU"] == pytest.approx(100 / 3)


def test_nothing_but_ignored_pixels_is_nan() -> None:
    metric = IoUMetric(num_classes=2)
    metric.process(None, [sample([[0, 0]], [[255, 255]])])
    assert all(np.isnan(value) for value in metric.evaluate(1).values())


def test_prefix_and_dicts() -> None:
    metric = IoUMetric(num_classes=2, prefix="val")
    metric.process({}, [sample([[0, 1]], [[0, 1]]).to_dict()])
    assert list(metric.evaluate(1)) == ["val/aAcc", "val/mIoU", "val/mAcc"]


def test_the_table_shows_two_decimals(caplog: Any) -> None:
    metric = simple(IoUMetric(), ("road", "traffic sign"))
    with caplog.at_level(logging.INFO, logger="seg_runner"):
        metric.evaluate(1)
    assert "per class results:" in caplog.text
    assert caplog.records[-1].getMessage() == "\n" + "\n".join(
        [
            "+--------------+------+-------+",
            "|    Class     | IoU  |  Acc  |",
            "+--------------+------+-------+",
            "|     road     | 50.0 | 100.0 |",
            "| traffic sign | 50.0 |  50.0 |",
            "+--------------+------+-------+",
        ]
    )


def read_png(path: Path) -> np.ndarray:
    body = path.read_bytes()
    width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
    start = body.index(b"IDAT")
    length = int.from_bytes(body[start - 4 : start], "big")
    lines = np.frombuffer(zlib.decompress(body[start + 4 : start + 4 + length]), np.uint8)
    depth = body[24] // 8
    return lines.reshape(height, width * depth + 1)[:, 1:].copy().view(f">u{depth}")


def test_predictions_are_written(tmp_path: Path) -> None:
    metric = IoUMetric(num_classes=2, output_dir=str(tmp_path / "out"), format_only=True)
    metric.process(None, [sample([[0, 1, 1]], [[0, 1, 1]], img_path="some/a.b.jpg")])
    metric.process(None, [sample([[0, 1, 1]], [[0, 1, 1]], img_path="c.jpg", reduce_zero_label=True)])
    assert metric.evaluate(2) == {}
    assert read_png(tmp_path / "out" / "a.b.png").tolist() == [[0, 1, 1]]
    assert read_png(tmp_path / "out" / "c.png").tolist() == [[1, 2, 2]]


def one(name: str) -> Any:
    return sample([[0, 1, 1]], [[0, 1, 1]], img_path=name)


@pytest.mark.parametrize("format_only", [False, True])
def test_predictions_that_are_not_there_are_told_at_the_end(format_only: bool, tmp_path: Path, caplog: Any) -> None:
    metric = IoUMetric(num_classes=2, output_dir=str(tmp_path / "out"), format_only=format_only)
    for name in ("b.png", "c.png"):
        (tmp_path / "out" / name).mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        metric.process(None, [one(name)])
    (tmp_path / "out" / "a.png").unlink()
    found = metric.evaluate(4)
    assert found == {} if format_only else found["mIoU"] == 100
    first, last = caplog.messages[0], [text for text in caplog.messages if "predictions are not" in text][-1]
    assert "b.png cannot be written" in first
    assert f"3 of 4 predictions are not in {tmp_path / 'out'}" in last
    assert not list((tmp_path / "out").glob(".*"))
    assert missing_files([Evaluator([metric])]) == 3
    metric.process(None, [one("a.jpg")])
    metric.evaluate(1)
    assert missing_files([Evaluator([metric])]) == 0


def test_where_the_first_prediction_cannot_be_written_the_test_stops(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    metric = IoUMetric(num_classes=2, output_dir=str(tmp_path / "out"))
    with pytest.raises(OSError, match=r"cannot be written: .*out/a\.png"):
        metric.process(None, [one("a.jpg")])


def test_written_classes_beyond_255_keep_their_numbers(tmp_path: Path) -> None:
    metric = IoUMetric(num_classes=300, output_dir=str(tmp_path), format_only=True)
    metric.process(None, [sample([[0, 255, 299]], [[0, 1, 1]], img_path="a.jpg")])
    assert read_png(tmp_path / "a.png").tolist() == [[0, 255, 299]]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"iou_metrics": ["mIou"]}, KeyError, "Did you mean 'mIoU'"),
        ({"collect_device": "tpu"}, ValueError, "collect_device"),
        ({"format_only": True}, TypeError, "output_dir"),
    ],
)
def test_mistakes_in_the_options(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        IoUMetric(**given)


def test_other_keys_are_named(caplog: Any) -> None:
    IoUMetric(classwise=True)
    assert "does not use classwise" in caplog.text


def test_mistakes_in_use() -> None:
    with pytest.raises(ValueError, match="num_classes="):
        simple(IoUMetric())
    metric = IoUMetric(num_classes=3)
    metric.dataset_meta = {"classes": ("a", "b")}
    with pytest.raises(ValueError, match="the data set has 2 classes"):
        simple(metric)
    with pytest.raises(ValueError, match=r"a.png: the prediction has \(1, 3\) pixels"):
        IoUMetric(num_classes=2).process(None, [sample([[0, 1, 1]], [[0, 1]], img_path="a.png")])
    with pytest.raises(ValueError, match="no 'pred_sem_seg'"):
        IoUMetric(num_classes=2).process(None, [SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 2, 2)))])


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([4, 5, 6], []),
        ([7], []),
        ([0, 0, 0], []),  # nothing is labelled: the other line tells that
        ([4, 5, 0], ["class 2 'c' has no labelled pixel in this data set"]),
        ([0, 5, 0, 4], ["classes 0 'a', 2 'c' have no labelled pixel in this data set"]),
        ([1, 0, 0, 0, 2], ["classes 1 'b', 2 'c', 3 'd' have no labelled pixel in this data set"]),
        ([1, 0, 0, 0, 0, 2], ["classes 1 'b', 2 'c', 3 'd' and 1 more have no labelled pixel in this data set"]),
        (
            [0, 3],
            [
                "class 0 'a' has no labelled pixel in this data set",
                "all labelled pixels are of one class, 'b': is this the right folder?",
            ],
        ),
    ],
)
def test_classes_that_never_occur_are_named(pixels: list[int], expected: list[str]) -> None:
    assert oddities(np.diag([*pixels, 0]), "abcdef"[: len(pixels)], 50.0) == expected
    told = oddities(np.diag([*pixels, 0]), "abcdef"[: len(pixels)], 50.1)
    assert told == [*expected, "50.1 % of the pixels are left out (ignore_index): is that meant?"]


def test_what_the_labels_look_like_is_told_once_and_strange_ones_each_time(caplog: Any) -> None:
    metric = IoUMetric(num_classes=2)
    for _ in range(2):
        metric.process(None, [sample([[0] * 8], [[0, 1, 2, 255, 255, 255, 255, 255]])])
        metric.evaluate(1)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    strange = "1 of 3 labelled pixels (33.3 %) hold no class, since labels are 0 ... 1 or ignore_index=255"
    assert [text.startswith(strange) for text in told] == [True, False, True]
    assert told[1] == "62.5 % of the pixels are left out (ignore_index): is that meant?"


def test_nothing_counted_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        IoUMetric(num_classes=2).evaluate(0)


def dataset(size: int) -> list[SegDataSample]:
    generator = np.random.default_rng(0)
    return [sample(generator.integers(0, 3, (4, 5)), generator.integers(0, 3, (4, 5))) for _ in range(size)]


def one_rank(rank: int, world: int, size: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    data, metric = dataset(size), IoUMetric(num_classes=3)
    padded = -(-size // world) * world
    for index in range(rank, padded, world):
        metric.process(None, [data[index % size]])
    torch.save(metric.evaluate(size), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("size", [5, 1])
def test_padded_samplers_over_two_processes_give_the_values_of_one(size: int, tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, __file__, str(rank), "2", str(size), str(tmp_path)]) for rank in range(2)
    ]
    assert [process.wait() for process in started] == [0, 0]
    alone = IoUMetric(num_classes=3)
    alone.process(None, dataset(size))
    expected = alone.evaluate(size)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected)


if __name__ == "__main__":
    one_rank(*map(int, sys.argv[1:4]), sys.argv[4])
