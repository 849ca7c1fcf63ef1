"""Every number and switch that parts of a run can hold: it is meant, or refused with an error that names it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seg_runner
import torch
from seg_runner import (
    CityscapesMetric,
    ClassBalancedSampler,
    DefaultSampler,
    DepthMetric,
    EpochBasedTrainLoop,
    InfiniteSampler,
    IoUMetric,
    IterBasedTrainLoop,
    LogitsModel,
    LogProcessor,
    MessageHub,
    Runner,
    SegDataPreProcessor,
    SegTTAModel,
    TestLoop,
    TrainBatches,
    ValLoop,
)

VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "-0.5": -0.5, "0.5": 0.5, "1": 1, "1.5": 1.5, "2.0": 2.0, "float32": np.float32(1),
    "int64": np.int64(2), "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "1e30": 1e30, "huge": 10**30,
    "text": "1", "True": True, "None": None, "dict": {"a": 1}, "list": [1, 2], "complex": 1j,
}  # fmt: skip
COUNT = {"1", "2.0", "float32", "int64"}
WHOLE = {"0", *COUNT}
LABEL = {"-1", "0", "1", "int64"}
FINITE = {"-1", "-0.5", "0", "0.5", "1.5", "1e30", "huge", *COUNT}
LEAST_0 = FINITE - {"-1", "-0.5"}
POSITIVE = LEAST_0 - {"0"}
SHARE = {"0", "0.5", "1", "float32"}
SWITCH = {"0", "1", "True"}
CLASSES = {"1", *COUNT}
SAMPLES = [{"inputs": torch.rand(3, 4, 4), "labels": torch.zeros(4, 4, dtype=torch.long)} for _ in range(4)]
NET = {"model": torch.nn.Conv2d(3, 2, 1), "loss": torch.nn.CrossEntropyLoss()}
DATA = {"dataset": SAMPLES}

CASES: list[tuple[Callable[..., Any], dict[str, Any], dict[str, set[str]]]] = [
    (IoUMetric, {}, {"ignore_index": {"None", *LABEL}, "nan_to_num": {"None", *FINITE}, "beta": LEAST_0,
                     "num_classes": {"None", *CLASSES}, "per_class": SWITCH, "decimals": {"None", *WHOLE},
                     "format_only": {"0"}}),
    (CityscapesMetric, {"output_dir": "."}, {"ignore_index": {"None", *LABEL}, "format_only": {"0"},
                                             "keep_results": SWITCH}),
    (DepthMetric, {}, {"min_depth_eval": FINITE, "max_depth_eval": {"inf", *POSITIVE},
                       "depth_scale_factor": POSITIVE, "format_only": {"0"}}),
    (DefaultSampler, DATA, {"shuffle": SWITCH, "seed": {"None", "-1", *WHOLE}, "round_up": SWITCH,
                            "rank": {"0", "None"}, "world_size": {"None", *COUNT}}),
    (InfiniteSampler, DATA, {"shuffle": SWITCH, "seed": {"None", "-1", *WHOLE}, "rank": {"0", "None"},
                             "world_size": {"None", *COUNT}}),
    (LogProcessor, {}, {"window_size": COUNT, "by_epoch": SWITCH, "num_digits": WHOLE, "log_with_hierarchy": SWITCH}),
    (LogitsModel, NET, {"aux_weight": {"list", *LEAST_0}, "ignore_index": {"-1", *WHOLE}, "align_corners": SWITCH,
                        "threshold": SHARE, "equal_pixels": SWITCH}),
    (MessageHub, {}, {"max_length": COUNT, "state_length": WHOLE}),
    (SegDataPreProcessor, {}, {"size": {"1", "int64", "list", "None"}, "size_divisor": {"None", *COUNT},
                               "pad_val": FINITE, "seg_pad_val": {"-1", *WHOLE}, "bgr_to_rgb": SWITCH,
                               "rgb_to_bgr": SWITCH, "mean": {"None"}, "std": {"None"}}),
    (SegTTAModel, {"module": LogitsModel(**NET)}, {"flip": SWITCH, "threshold": {"None", *SHARE},
                                                   "scales": {"list"}}),
]  # fmt: skip
ROWS = [(kind, base, name, works) for kind, base, table in CASES for name, works in table.items()]
ELSEWHERE = {
    ClassBalancedSampler: "tests/runner/data/test_samplers.py",
    EpochBasedTrainLoop: "below, by the keys of train_cfg",
    IterBasedTrainLoop: "below, by the keys of train_cfg",
    ValLoop: "below, by the keys of val_cfg",
    TestLoop: "below, by the keys of val_cfg",
    TrainBatches: "the runner gives its numbers",
}


@pytest.mark.parametrize(("kind", "base", "name", "works"), ROWS, ids=[f"{row[0].__name__}-{row[2]}" for row in ROWS])
def test_a_number_works_or_is_refused_by_name(
    check: Callable[..., None], kind: Callable[..., Any], base: dict[str, Any], name: str, works: set[str]
) -> None:
    for word, value in VALUES.items():
        check(word in works, word, name, lambda value=value: kind(**{**base, name: value}))  # type: ignore[misc]


def test_no_number_of_a_public_class_is_forgotten() -> None:
    tested = {(row[0].__name__, row[2]) for row in ROWS}
    for kind in (getattr(seg_runner, name) for name in seg_runner.__all__):
        if not isinstance(kind, type) or kind in ELSEWHERE or issubclass(kind, Exception):
            continue
        for each in inspect.signature(kind).parameters.values():
            if any(word in str(each.annotation) for word in ("int", "float", "bool")):
                assert (kind.__name__, each.name) in tested, each


class Nothing:
    """A metric that takes anything."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Count nothing."""

    def evaluate(self, size: int) -> dict[str, float]:
        """Nothing was counted."""
        return {"score": 0.0}


def run(folder: Path, **given: Any) -> Runner:
    """A run of two steps, with a validation."""
    net = torch.nn.Conv2d(3, 2, 1)
    loader = torch.utils.data.DataLoader(SAMPLES, batch_size=2)  # type: ignore[arg-type]
    parts: dict[str, Any] = {
        "model": net, "loss": torch.nn.CrossEntropyLoss(), "train_dataloader": loader, "val_dataloader": loader,
        "optim_wrapper": torch.optim.SGD(net.parameters(), 0.1), "train_cfg": {"max_iters": 2, "val_interval": 2},
        "val_evaluator": Nothing(), "val_cfg": {}, "work_dir": folder, "hooks": [],
    }  # fmt: skip
    for name, value in given.items():
        key, _, inner = name.partition("__")
        parts[key] = {**(parts.get(key) or {}), inner: value} if inner else value
    return Runner(**parts)


KEYS: dict[str, set[str]] = {
    "log_interval": COUNT,
    "train_cfg__max_iters": WHOLE,
    "train_cfg__max_epochs": set(),  # beside max_iters
    "train_cfg__val_begin": WHOLE,
    "train_cfg__val_interval": COUNT,
    "val_cfg__fp16": SWITCH,
    "val_cfg__loss": SWITCH,
    "randomness__seed": {"0", "1", "int64", "None"},
    "randomness__deterministic": SWITCH,
    "randomness__diff_rank_seed": SWITCH,
    "signals__grace": {"0.5", "1.5", "None", *COUNT},
    "checkpoint__async_save": SWITCH,
    "checkpoint__sharded": SWITCH,
    "auto_scale_lr__enable": {"0"},
    "auto_scale_lr__base_batch_size": POSITIVE - {"1e30", "huge"},
    "env_cfg__cudnn_benchmark": SWITCH,
    "env_cfg__resource_limit": WHOLE,
    "strict_keys": {"True", "None"},
    "strict_resume": {"True", "None"},
    "resume_data": {"True", "None"},
    "skip_checks": {"True", "None"},
    "channels_last": {"True", "None"},
    "overwrite": {"True", "None"},
}


@pytest.fixture
def settings() -> Iterator[None]:
    """What a run sets for its process is put back."""
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = False


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("key", "works"), KEYS.items(), ids=list(KEYS))
def test_a_key_of_the_runner_works_or_is_refused_by_name(
    check: Callable[..., None], tmp_path: Path, key: str, works: set[str]
) -> None:
    for number, (word, value) in enumerate(VALUES.items()):
        folder, given = tmp_path / str(number), {key: value}
        if key.endswith("base_batch_size"):
            given["auto_scale_lr__enable"] = True
        check(word in works, word, key.rpartition("__")[2], lambda a=folder, b=given: run(a, **b).train())  # type: ignore[misc]


LOADER: dict[str, set[str]] = {
    "batch_size": COUNT,
    "num_workers": {"0", "None"},
    "prefetch_factor": {"None", *COUNT},
    "timeout": LEAST_0 - {"1e30", "huge"},
    "drop_last": SWITCH,
    "shuffle": {"None", *SWITCH},
    "pin_memory": {"0"},
    "persistent_workers": SWITCH,
}


@pytest.mark.parametrize(("key", "works"), LOADER.items(), ids=list(LOADER))
def test_an_option_of_a_loader_works_or_is_refused_by_name(
    check: Callable[..., None], tmp_path: Path, key: str, works: set[str]
) -> None:
    for number, (word, value) in enumerate(VALUES.items()):
        if (key == "num_workers" and word in COUNT) or (key == "pin_memory" and word in SWITCH):
            continue  # more processes, and what torch warns of where there is no accelerator
        options = {"dataset": SAMPLES, "batch_size": 2, key: value}
        folder = tmp_path / str(number)
        check(word in works, word, key, lambda a=folder, b=options: run(a, train_dataloader=b).train())  # type: ignore[misc]
