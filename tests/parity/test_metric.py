"""Our metrics and log lines beside the reference's, on the same input; skipped where that is not installed."""

from __future__ import annotations

import importlib.machinery
import logging
import math
import sys
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import IoUMetric, LogProcessor, MessageHub

pytest.importorskip("mmengine")
mmcv = pytest.importorskip("mmcv")
pytestmark = pytest.mark.filterwarnings("ignore")


class Operators(types.ModuleType):
    """Has every operator, and none that works."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@pytest.fixture(scope="module")
def mmseg_metrics() -> Any:
    """MMSegmentation's metrics; the compiled operators of MMCV, which metrics do not use, are stood in for."""
    kept = mmcv.__version__
    mmcv.__version__ = "2.1.0"
    operators = Operators("mmcv.ops")
    operators.__path__ = []
    operators.__spec__ = importlib.machinery.ModuleSpec("mmcv.ops", None, is_package=True)
    if importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv.ops"] = operators
    yield pytest.importorskip("mmseg.evaluation")
    mmcv.__version__ = kept


def samples(seed: int, classes: int, count: int = 3, beyond: bool = False) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    made = []
    for index in range(count):
        shape = (17 + index, 23)
        truth = random.integers(0, classes, shape)
        predicted = np.where(random.random(shape) < 0.6, truth, random.integers(0, classes, shape))
        truth[random.random(shape) < 0.1] = 255
        if beyond:
            truth[random.random(shape) < 0.1] = classes + 3
        maps = {"gt_sem_seg": truth, "pred_sem_seg": predicted}
        made.append({name: {"data": torch.from_numpy(value)[None]} for name, value in maps.items()})
    return made


OPTIONS: list[dict[str, Any]] = [
    {},
    {"iou_metrics": ["mDice"]},
    {"iou_metrics": ["mFscore"], "beta": 2},
    {"iou_metrics": ["mIoU", "mDice", "mFscore"]},
    {"iou_metrics": ["mFscore", "mIoU"], "nan_to_num": 0},
    {"ignore_index": 3},
    {"prefix": "val"},
    {"nan_to_num": -1},
]


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_iou_metric(mmseg_metrics: Any, options: dict[str, Any], beyond: bool, caplog: Any) -> None:
    names = ["a", "wall", "sky scraper", "never seen", "e"]
    data = samples(3, 3 if "nan" in str(options) else 5, beyond=beyond)
    ours, theirs = IoUMetric(**options), mmseg_metrics.IoUMetric(**options)
    tables = []
    for metric in (ours, theirs):
        metric.dataset_meta = {"classes": names}
        metric.process({}, data)
    with caplog.at_level(logging.INFO):
        found = ours.evaluate(len(data))
    ours_table = next(record.message for record in caplog.records if "+--" in record.message)
    reader = logging.Handler()
    reader.emit = lambda record: tables.append(record.getMessage())  # type: ignore[method-assign]
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(reader)
    wanted = theirs.evaluate(len(data))
    logger.removeHandler(reader)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert math.isclose(found[name], float(value), abs_tol=0.0051) or (math.isnan(found[name]) and np.isnan(value))
    theirs_table = next(text for text in tables if "+--" in text)
    assert ours_table.strip() == theirs_table.strip()


def test_iou_metric_of_nothing_but_ignored_pixels(mmseg_metrics: Any) -> None:
    one = {"gt_sem_seg": {"data": torch.full((1, 4, 4), 255)}, "pred_sem_seg": {"data": torch.zeros(1, 4, 4).long()}}
    results = []
    for metric in (IoUMetric(), mmseg_metrics.IoUMetric()):
        metric.dataset_meta = {"classes": ["a", "b"]}
        metric.process({}, [one])
        results.append(metric.evaluate(1))
    assert [math.isnan(float(value)) for value in results[0].values()] == [True] * 3
    assert [math.isnan(float(value)) for value in results[1].values()] == [True] * 3


def runs(**given: Any) -> tuple[Any, Any]:
    """The same scalars in our hub and in MMEngine's, and a runner round each."""
    from mmengine.logging import MessageHub as Reference

    made = []
    for hub in (MessageHub(), Reference(f"hub-{id(given)}")):
        for step in range(12):
            hub.update_scalars({"train/base_lr": 0.1 / (step + 1), "train/lr": 0.2 / (step + 1)})
            hub.update_scalars({"train/data_time": 0.01 * step, "train/loss": 1.0 * step, "train/acc": 3.0 * step})
            hub.update_scalars({"train/time": 0.1 * step, "train/grad_norm": step * 2.5})
        for step in range(5):
            hub.update_scalars({"val/time": 0.1 * step, "val/data_time": 0.05 * step})
        hub.update_info("eta", 3725)
        loop = SimpleNamespace(dataloader=range(10), max_iters=100, max_epochs=10)
        parts = {"message_hub": hub, "epoch": 0, "iter": 11, "max_epochs": 10, "max_iters": 100, "world_size": 1}
        loaders = {"train_dataloader": range(10), "val_dataloader": range(5), "test_dataloader": range(7)}
        loops = {"train_loop": loop, "_train_loop": loop, "val_loop": loop, "test_loop": loop}
        made.append(SimpleNamespace(**(parts | loaders | loops | given)))
    return made[0], made[1]


CUSTOM = [
    {"data_src": "loss", "method_name": "max", "window_size": 4, "log_name": "loss_max"},
    {"data_src": "lr", "method_name": "mean", "window_size": 3, "log_name": "mean_lr"},
    {"data_src": "loss", "method_name": "min", "window_size": "global"},
]


@pytest.mark.parametrize(
    "options",
    [{}, {"num_digits": 2}, {"window_size": 3}, {"log_with_hierarchy": True}, {"custom_cfg": CUSTOM}],
    ids=str,
)
@pytest.mark.parametrize("by_epoch", [True, False])
def test_log_lines(options: dict[str, Any], by_epoch: bool) -> None:
    from mmengine.runner import LogProcessor as Reference

    ours, theirs = runs()
    mine, reference = LogProcessor(by_epoch=by_epoch, **options), Reference(by_epoch=by_epoch, **options)
    for processor, run, found in ((mine, ours, first := []), (reference, theirs, second := [])):
        found.append(processor.get_log_after_iter(run, 3, "train"))
        found.append(processor.get_log_after_iter(run, 4, "val"))
        run.message_hub.update_scalars({"val/mIoU": 33.25, "val/aAcc": 50.5})
        run.message_hub.update_info("val/table", [1, 2])
        found.append(processor.get_log_after_epoch(run, 5, "val"))
        found.append(processor.get_log_after_epoch(run, 5, "val", with_non_scalar=True))
        run.message_hub.update_scalars({"test/time": 0.5, "test/data_time": 0.25})
        found.append(processor.get_log_after_iter(run, 6, "test"))
        run.message_hub.update_scalars({"test/mIoU": 3.5})
        found.append(processor.get_log_after_epoch(run, 7, "test", with_non_scalar=True))
    for (record, line), (wanted, wanted_line) in zip(first, second, strict=True):
        assert drop_position(line) == drop_position(wanted_line)
        for key in wanted.keys() - {"iter", "epoch"}:
            assert record[key] == (pytest.approx(wanted[key]) if isinstance(wanted[key], float) else wanted[key])
        assert [*record] == [*wanted]


def drop_position(line: str) -> str:
    """Without the numbers that MMEngine reads off a real loop, which the stand-in is not."""
    return line[line.index("]  ") :]
