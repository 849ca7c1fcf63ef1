"""Wrong values are told where an object is made: what it is called, what was given, what is expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from seg_runner import (
    CityscapesMetric,
    ClassBalancedSampler,
    DefaultSampler,
    DepthMetric,
    Evaluator,
    InfiniteSampler,
    IoUMetric,
    LogitsModel,
    LogProcessor,
    MessageHub,
    SegDataPreProcessor,
    SegTTAModel,
)
from seg_runner.checks import MOST, choices, flag, number, pair, unused, whole
from torch import nn

DATA = range(8)
PRESENCE = np.ones((8, 3))


def _model(**options: Any) -> LogitsModel:
    return LogitsModel(nn.Conv2d(3, 4, 1), **options)


def _versions(**options: Any) -> SegTTAModel:
    return SegTTAModel(_model(), **options)


def _iou(**options: Any) -> IoUMetric:
    return IoUMetric(num_classes=3, **options)


def _cityscapes(**options: Any) -> CityscapesMetric:
    return CityscapesMetric(**{"output_dir": "out", **options})


def _balanced(**options: Any) -> ClassBalancedSampler:
    return ClassBalancedSampler(DATA, **{"presence": PRESENCE, **options})


def _offline(**options: Any) -> Any:
    return Evaluator(_iou()).offline_evaluate([1], **options)


def _scalar(**options: Any) -> None:
    MessageHub().update_scalar(**{"key": "loss", "value": 1.0, **options})


WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (IoUMetric, {"num_classes": "3"}, "num_classes must be a whole number of at least 1, not '3'"),
    (IoUMetric, {"num_classes": 3.5}, "num_classes must be a whole number of at least 1, not 3.5"),
    (IoUMetric, {"num_classes": 0}, "num_classes must be a whole number of at least 1, not 0"),
    (IoUMetric, {"num_classes": True}, "num_classes must be a whole number of at least 1, not True"),
    (_iou, {"beta": "x"}, "beta must be a number of at least 0, not 'x'"),
    (_iou, {"beta": -1}, "beta must be a number of at least 0, not -1"),
    (
        _iou,
        {"ignore_index": "255"},
        "ignore_index must be the label of pixels that do not count, such as 255, not '255'",
    ),
    (_iou, {"iou_metrics": []}, r"iou_metrics must be one of mIoU, mDice, mFscore, or a list of them, not \[\]"),
    (_iou, {"iou_metrics": 3}, "iou_metrics must be one of mIoU, mDice, mFscore, or a list of them, not 3"),
    (_iou, {"iou_metrics": ["mIuO"]}, "'mIuO' is not one of mIoU, mDice, mFscore. Did you mean 'mIoU'"),
    (_iou, {"nan_to_num": "x"}, "nan_to_num must be a number, not 'x'"),
    (_iou, {"prefix": 3}, "prefix must be a text, or None, not 3"),
    (_iou, {"per_class": "yes"}, "per_class must be True or False, not 'yes'"),
    (_iou, {"decimals": 2.5}, "decimals must be a whole number of at least 0, not 2.5"),
    (_iou, {"output_dir": ""}, "output_dir must be the path of a folder, not ''"),
    (_iou, {"format_only": "False"}, "format_only must be True or False, not 'False'"),
    (_cityscapes, {"output_dir": None}, "output_dir must be the path of a folder"),
    (_cityscapes, {"ignore_index": "x"}, "ignore_index must be the label"),
    (_cityscapes, {"keep_results": "no"}, "keep_results must be True or False, not 'no'"),
    (_cityscapes, {"collect_device": "x"}, "collect_device: 'cpu' or 'gpu' is expected, not 'x'"),
    (DepthMetric, {"depth_metrics": ["rmsee"]}, "'rmsee' is not one of .*Did you mean 'rmse'"),
    (DepthMetric, {"depth_metrics": []}, "depth_metrics must be one of d1"),
    (DepthMetric, {"min_depth_eval": "a"}, "min_depth_eval must be a number, not 'a'"),
    (DepthMetric, {"max_depth_eval": None}, "max_depth_eval must be a number, not None"),
    (DepthMetric, {"depth_scale_factor": -1}, "depth_scale_factor must be a number of more than 0, not -1"),
    (DepthMetric, {"collect_device": "x"}, "collect_device: 'cpu' or 'gpu'"),
    (_offline, {"chunk_size": 0}, "chunk_size must be a whole number of at least 1, not 0"),
    (_model, {"loss": "ce"}, r"loss must be a function loss\(logits, labels\), not 'ce'"),
    (_model, {"loss": nn.CrossEntropyLoss}, r"loss is the class CrossEntropyLoss.*write CrossEntropyLoss\(\.\.\.\)"),
    (_model, {"data_preprocessor": 3}, "data_preprocessor must be a module such as SegDataPreProcessor.*not 3"),
    (_model, {"data_preprocessor": {"meen": [1]}}, "data_preprocessor has 'meen'.*Did you mean 'mean'"),
    (_model, {"data_preprocessor": {"type": "SegDataPreprocesor"}}, "not 'SegDataPreprocesor'. Did you mean"),
    (_model, {"test_cfg": "slide"}, r"test_cfg must be a dict such as dict\(mode='whole'\), not 'slide'"),
    (_model, {"test_cfg": {"crop_sice": 4}}, r"test_cfg takes .*not crop_sice \(did you mean 'crop_size'\?\)"),
    (_model, {"test_cfg": {"mode": "slide", "crop_size": None, "stride": 3}}, "two positive numbers.*not None"),
    (_model, {"aux_weight": "x"}, "aux_weight must be a number of at least 0, not 'x'"),
    (_model, {"aux_weight": [0.4, "x"]}, "each of aux_weight must be a number of at least 0, not 'x'"),
    (_model, {"ignore_index": None}, "ignore_index must be a whole number, not None"),
    (_model, {"align_corners": "x"}, "align_corners must be True or False, not 'x'"),
    (_model, {"threshold": 2}, "threshold must be a number of at least 0 and at most 1, not 2"),
    (_model, {"equal_pixels": "x"}, "equal_pixels must be True or False, not 'x'"),
    (SegDataPreProcessor, {"mean": 3, "std": 3}, "mean must be a list of one number per channel, not 3"),
    (SegDataPreProcessor, {"mean": [1, 2, "x"], "std": [1, 2, 3]}, "each number of data_preprocessor.mean.*not 'x'"),
    (SegDataPreProcessor, {"mean": [1, 2], "std": [1, 0]}, "of data_preprocessor.std must be .*more than 0, not 0"),
    (SegDataPreProcessor, {"mean": [math.nan], "std": [1]}, "of data_preprocessor.mean must be a number, not nan"),
    (SegDataPreProcessor, {"mean": [], "std": []}, r"mean must be a list of one number per channel, not \[\]"),
    (SegDataPreProcessor, {"size": (4, 4, 4)}, r"data_preprocessor.size: two positive numbers.*not \(4, 4, 4\)"),
    (SegDataPreProcessor, {"size": (-4, 4)}, r"data_preprocessor.size: two positive numbers.*not \(-4, 4\)"),
    (SegDataPreProcessor, {"size_divisor": 0}, "size_divisor must be a whole number of at least 1, not 0"),
    (SegDataPreProcessor, {"pad_val": "x"}, "data_preprocessor.pad_val must be a number, not 'x'"),
    (SegDataPreProcessor, {"bgr_to_rgb": "x"}, "data_preprocessor.bgr_to_rgb must be True or False, not 'x'"),
    (SegDataPreProcessor, {"batch_augments": 3}, "batch_augments must be a list of callables, not 3"),
    (SegDataPreProcessor, {"test_cfg": {"size_divisr": 32}}, r"it has size_divisr \(did you mean 'size_divisor'\?\)"),
    (SegDataPreProcessor, {"test_cfg": {"size_divisor": "x"}}, "test_cfg.size_divisor must be a whole number"),
    (SegDataPreProcessor, {"test_cfg": 3}, r"test_cfg must be a dict such as dict\(size_divisor=32\), not 3"),
    (_versions, {"scales": "1"}, "scales: a list of positive factors is expected, not '1'"),
    (_versions, {"scales": ["x"]}, "each of scales.*not 'x'"),
    (_versions, {"scales": [math.inf]}, "each of scales.*not inf"),
    (_versions, {"flip": "x"}, "flip must be True or False, not 'x'"),
    (_versions, {"threshold": "x"}, "threshold must be a number of at least 0 and at most 1, not 'x'"),
    (DefaultSampler, {"dataset": 3}, "DefaultSampler needs a data set with a length, and int has none"),
    (DefaultSampler, {"dataset": DATA, "seed": "x"}, "seed must be a whole number, not 'x'"),
    (DefaultSampler, {"dataset": DATA, "shuffle": "x"}, "shuffle must be True or False, not 'x'"),
    (DefaultSampler, {"dataset": DATA, "rank": 3, "world_size": 2}, r"rank must be one of 0 \.\.\. .*1, not 3"),
    (DefaultSampler, {"dataset": DATA, "world_size": 0}, "world_size must be a whole number of at least 1, not 0"),
    (InfiniteSampler, {"dataset": iter([])}, "InfiniteSampler needs a data set with a length"),
    (_balanced, {"threshold": "x"}, "threshold, a share of the images, must be a number.*not 'x'"),
    (_balanced, {"threshold": math.nan}, "threshold, a share of the images, must be a number.*not nan"),
    (_balanced, {"presence": [[1, 0], [1]]}, "the rows of presence are not equally long"),
    (LogProcessor, {"window_size": 0}, "log_processor.window_size must be a whole number of at least 1, not 0"),
    (LogProcessor, {"by_epoch": "x"}, "log_processor.by_epoch must be True or False, not 'x'"),
    (LogProcessor, {"num_digits": "x"}, "log_processor.num_digits must be a whole number"),
    (LogProcessor, {"mean_pattern": "("}, r"log_processor.mean_pattern must be a regular expression, not '\('"),
    (_scalar, {"key": 3}, "the name of a scalar must be a text, not 3"),
    (_scalar, {"count": "x"}, "count of scalar 'loss' must be a whole number of at least 0, not 'x'"),
]


@pytest.mark.parametrize(("make", "options", "text"), WRONG)
def test_wrong_values_are_told_where_an_object_is_made(
    make: Callable[..., Any], options: dict[str, Any], text: str
) -> None:
    with pytest.raises((TypeError, ValueError, KeyError), match=text):
        make(**options)


def test_options_without_a_use_are_named_with_the_near_one(caplog: pytest.LogCaptureFixture) -> None:
    IoUMetric(num_classes=3, file_client_args=None, classwise=True)
    DepthMetric(min_depth=1)
    assert "IoUMetric does not use classwise" in caplog.text
    assert "file_client_args" in caplog.text
    assert "DepthMetric does not use min_depth (did you mean 'min_depth_eval'?)" in caplog.text
    assert unused([], ["num_classes"]) == ""


@pytest.mark.parametrize(
    ("make", "option", "meant"),
    [
        (IoUMetric, "ignore_indx", "ignore_index"),
        (IoUMetric, "iou_metric", "iou_metrics"),
        (IoUMetric, "num_clases", "num_classes"),
        (IoUMetric, "betta", "beta"),
        (DepthMetric, "min_depth_evl", "min_depth_eval"),
        (CityscapesMetric, "keep_result", "keep_results"),
    ],
)
def test_an_option_of_a_metric_that_is_misspelt_is_an_error(make: Callable[..., Any], option: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"has no option '{option}'[.] Did you mean '{meant}'"):
        make(**({"output_dir": "out"} if make is CityscapesMetric else {}), **{option: 0})


def test_a_sampler_of_an_empty_data_set_ends() -> None:
    assert list(ClassBalancedSampler([], presence=np.zeros((0, 3)))) == []
    assert list(InfiniteSampler([])) == list(DefaultSampler([])) == []


@given(strategies.one_of(strategies.integers(), strategies.floats(), strategies.booleans(), strategies.text()))
def test_whole_numbers(value: Any) -> None:
    fits = not isinstance(value, bool | str) and math.isfinite(value) and 2 <= value <= MOST and value == int(value)
    if fits:
        assert whole(value, "n", 2) == value
        assert type(whole(value, "n", 2)) is int
    else:
        with pytest.raises((TypeError, ValueError), match="n must be a whole number of at least 2"):
            whole(value, "n", 2)


def test_numpy_s_numbers_are_numbers() -> None:
    assert whole(np.int64(3), "n") == 3
    assert pair(np.int64(3), "size") == pair([3, np.int32(3)], "size") == (3, 3)
    assert number(np.float32(0.5), "x", least=0, most=1) == 0.5
    assert flag(np.bool_(True), "x") is flag(1, "x") is True
    assert choices(("a", "b"), "x", ["a", "b"]) == ["a", "b"]
    prepare = SegDataPreProcessor(mean=np.array([1.0, 2.0]), std=torch.tensor([1.0, 2.0]))
    assert prepare.std.flatten().tolist() == [1.0, 2.0]
