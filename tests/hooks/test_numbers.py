"""Every number and switch that seg-hooks takes: it is meant, or refused with an error that names it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import seg_hooks
import torch
from seg_hooks import (
    BaseAveragedModel,
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    EmptyCacheHook,
    ExponentialMovingAverage,
    LoggerHook,
    MomentumAnnealingEMA,
    NanGuardHook,
    ProfilerHook,
    ProgressBarHook,
    RuntimeInfoHook,
    StochasticWeightAverage,
    ThroughputHook,
    TrainState,
)

VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "-0.5": -0.5, "0.5": 0.5, "1": 1, "1.5": 1.5, "2.0": 2.0,
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "1e30": 1e30, "huge": 10**30,
    "text": "1", "True": True, "None": None, "dict": {"a": 1}, "list": [1, 2], "complex": 1j,
}  # fmt: skip
if find_spec("numpy") is not None:  # seg-hooks works without it
    import numpy

    VALUES |= {"float32": numpy.float32(1), "int64": numpy.int64(2)}
COUNT = {"1", "2.0", "float32", "int64"}
WHOLE = {"0", *COUNT}
OR_NEVER = {"-1", *WHOLE}
POSITIVE = {"0.5", "1.5", "inf", "1e30", "huge", *COUNT}
LEAST_0 = {"0", *POSITIVE} - {"inf"}
ANY = {"-0.5", "-1", "-inf", "0", *POSITIVE}
SWITCH = {"True"}
NET = {"model": torch.nn.Linear(2, 2)}
STOP = {"monitor": "mIoU"}
HOW_OFTEN = {"by_epoch": False}

CASES: list[tuple[Callable[..., Any], dict[str, Any], dict[str, set[str]]]] = [
    (CheckpointHook, {}, {"interval": OR_NEVER, "max_keep_ckpts": OR_NEVER, "save_begin": WHOLE, "by_epoch": SWITCH,
                          "save_optimizer": SWITCH, "save_param_scheduler": SWITCH, "save_last": SWITCH,
                          "best_weights_only": SWITCH}),
    (EMAHook, {}, {"begin_iter": WHOLE, "begin_epoch": WHOLE, "strict_load": SWITCH, "start_iters": {"None", *WHOLE},
                   "decay": {"None", "0.5"}}),
    (EarlyStoppingHook, STOP, {"min_delta": LEAST_0, "patience": COUNT, "stopping_threshold": {"None", *ANY},
                               "strict": SWITCH, "check_finite": SWITCH}),
    (EmptyCacheHook, {}, {"before_epoch": SWITCH, "after_epoch": SWITCH, "after_iter": SWITCH}),
    (LoggerHook, {}, {"interval": COUNT, "interval_exp_name": COUNT, "ignore_last": SWITCH, "keep_local": SWITCH,
                      "log_metric_by_epoch": SWITCH}),
    (NanGuardHook, {}, {"max_times": COUNT, "delay": WHOLE, "check_gradients": SWITCH, "keep_batch": SWITCH}),
    (ProfilerHook, HOW_OFTEN, {"profile_times": COUNT, "schedule": {"None"}, "activity_with_cpu": SWITCH,
                               "activity_with_cuda": SWITCH, "record_shapes": SWITCH, "profile_memory": SWITCH,
                               "with_stack": SWITCH, "with_flops": SWITCH}),
    (ProfilerHook, {}, {"by_epoch": SWITCH}),
    (ProgressBarHook, {}, {"plain_every": POSITIVE}),
    (RuntimeInfoHook, {}, {"group_rates": SWITCH}),
    (ThroughputHook, {}, {"interval": COUNT}),
    (BaseAveragedModel, NET, {"interval": COUNT, "update_buffers": SWITCH}),
    (StochasticWeightAverage, NET, {"interval": COUNT, "update_buffers": SWITCH}),
    (ExponentialMovingAverage, NET, {"momentum": {"0.5"}, "interval": COUNT, "update_buffers": SWITCH}),
    (MomentumAnnealingEMA, NET, {"momentum": {"0.5"}, "gamma": POSITIVE, "interval": COUNT, "update_buffers": SWITCH}),
]  # fmt: skip
ROWS = [(kind, base, name, works) for kind, base, table in CASES for name, works in table.items()]


@pytest.mark.parametrize(("kind", "base", "name", "works"), ROWS, ids=[f"{row[0].__name__}-{row[2]}" for row in ROWS])
def test_a_number_works_or_is_refused_by_name(
    check: Callable[..., None], kind: Callable[..., Any], base: dict[str, Any], name: str, works: set[str]
) -> None:
    for word, value in VALUES.items():
        check(word in works, word, name, lambda value=value: kind(**{**base, name: value}))  # type: ignore[misc]


def test_no_number_of_a_public_class_is_forgotten() -> None:
    tested = {(row[0].__name__, row[2]) for row in ROWS}
    for kind in (getattr(seg_hooks, name) for name in seg_hooks.__all__):
        if not isinstance(kind, type) or kind is TrainState:
            continue
        for each in inspect.signature(kind).parameters.values():
            if any(word in str(each.annotation) for word in ("int", "float", "bool")):
                assert (kind.__name__, each.name) in tested


TRAIN_STATE = {"max_iters": COUNT, "overwrite": SWITCH}


@pytest.mark.parametrize(("name", "works"), TRAIN_STATE.items(), ids=list(TRAIN_STATE))
def test_numbers_of_a_train_state(check: Callable[..., None], tmp_path: Path, name: str, works: set[str]) -> None:
    net = torch.nn.Linear(2, 2)
    given: dict[str, Any] = {"model": net, "optimizer": torch.optim.SGD(net.parameters(), 0.1), "max_iters": 4}
    for number, (word, value) in enumerate(VALUES.items()):
        given["work_dir"] = tmp_path / str(number)
        check(word in works, word, name, lambda value=value: TrainState(**{**given, name: value}))  # type: ignore[misc]
