"""An exception out of a run keeps its type and gains one note: iteration, hook, samples, line of the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import Squares, config, model_cfg
from seg_registry import Config
from seg_runner import Runner
from seg_runner.assembly.from_config import arguments_of
from torch import nn

LINES = """\
model = dict(type='LogitsModel')
train_dataloader = dict(batch_size=4)
val_dataloader = dict(batch_size=4)
val_evaluator = [
    dict(type='IoUMetric'),
]
custom_hooks = [
    dict(type='Mine'),
]
"""


class MineError(Exception):
    """The user's own."""


class Model(nn.Module):
    """Fails at its second step of one kind."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.inner, self.fails_in_training, self.steps = model_cfg()["model"], training, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.training == self.fails_in_training:
            self.steps += 1
            if self.steps == 2:
                raise MineError
        return self.inner(image)  # type: ignore[no-any-return]


class Unreadable(Squares):
    """One sample cannot be read."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 5:
            raise MineError
        return super().__getitem__(index)


class Metric:
    """Fails where it is told to."""

    prefix = None
    dataset_meta = None

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def process(self, data_batch: Any, data_samples: Any) -> None:
        if self.fails == "process":
            raise MineError

    def evaluate(self, size: int) -> dict[str, float]:
        raise MineError


class Hook:
    """Fails after the second step."""

    def after_train_iter(self, runner: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            raise MineError


def changes(case: str) -> dict[str, Any]:
    workers = int(case == "worker")
    order = {"type": "DefaultSampler", "shuffle": False}
    unreadable = {"dataset": {"type": Unreadable}, "batch_size": 4, "num_workers": workers, "sampler": order}
    return {
        "model": lambda: {"model": {**model_cfg(), "model": Model(training=True)}},
        "validation": lambda: {"model": {**model_cfg(), "model": Model(training=False)}},
        "reading": lambda: {"train_dataloader": unreadable},
        "worker": lambda: {"train_dataloader": unreadable},
        "val reading": lambda: {"val_dataloader": unreadable},
        "process": lambda: {"val_evaluator": Metric("process")},
        "evaluate": lambda: {"val_evaluator": Metric("evaluate")},
        "hook": lambda: {"custom_hooks": [Hook()]},
    }[case]()


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("model", ["in training iteration 1, model ({file}:1), images: square_"]),
        ("validation", ["in validation iteration 1, model ({file}:1), images: square_4.png, square_5.png"]),
        (
            "reading",
            [
                "while reading sample 5 of Unreadable in pass 0",
                "while reading the batch of training iteration 1, train_dataloader ({file}:2)",
            ],
        ),
        ("worker", ["while reading the batch of training iteration 1, train_dataloader ({file}:2)"]),
        (
            "val reading",
            ["while reading sample 5 of Unreadable", "while reading val batch 1, val_dataloader ({file}:3)"],
        ),
        ("process", ["in validation iteration 0, val_evaluator ({file}:4), images: square_0.png"]),
        ("evaluate", ["while computing the metrics of 12 val samples, val_evaluator ({file}:4)"]),
        (
            "hook",
            [
                "in hook Hook ({file}:8), point after_train_iter, iteration 1",
                "in training iteration 1, images: square_",
            ],
        ),
    ],
)
def test_an_exception_gains_one_note_with_the_line_of_the_config(
    case: str, expected: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "train.py"
    file.write_text(LINES)
    given = config(tmp_path / "out", skip_checks=True, **changes(case))
    with pytest.raises(MineError) as caught:
        Runner(**arguments_of(given), cfg=Config.fromfile(file)).train()
    (note,) = caught.value.__notes__
    lines = [line for line in note.splitlines() if "interrupted_iter_" not in line]
    assert len(lines) == len(expected), note
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning.format(file=file)), note
