from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from seg_hooks import EarlyStoppingHook


def make_runner() -> Any:
    logger = logging.Logger("test")
    return SimpleNamespace(train_loop=SimpleNamespace(stop_training=False), iter=7, logger=logger)


def stops_at(scores: list[float], **options: Any) -> int | None:
    """Index of the validation that stops, or None."""
    hook, runner = EarlyStoppingHook("mIoU", **options), make_runner()
    for index, score in enumerate(scores):
        hook.after_val_epoch(runner, metrics={"mIoU": score})
        if runner.train_loop.stop_training:
            return index
    return None


def test_patience_counts_validations_in_a_row() -> None:
    assert stops_at([1, 2, 2, 2], min_delta=0, patience=2) is None  # an equal score counts as better, as in MMEngine
    assert stops_at([1, 0.5, 0.6], min_delta=0.1, patience=2) == 2
    assert stops_at([1, 0.5, 1.5, 0.6, 0.7], min_delta=0.1, patience=2) == 4


def test_a_gain_of_exactly_min_delta_counts() -> None:
    assert stops_at([0.5, 0.6], min_delta=0.1, patience=1) is None
    assert stops_at([0.5, 0.59], min_delta=0.1, patience=1) == 1


def test_less_is_better() -> None:
    assert stops_at([1.0, 0.8, 0.79], rule="less", min_delta=0.1, patience=1) == 2


def test_thresholds_and_numbers_that_are_not_finite() -> None:
    assert stops_at([1, 3], stopping_threshold=2) == 1
    assert stops_at([1, 2], stopping_threshold=2) is None
    assert stops_at([1, float("nan")]) == 1
    assert stops_at([1, float("nan"), 5], check_finite=False, patience=2) is None
    assert stops_at([float("nan"), float("nan")], check_finite=False, patience=2) == 1


def test_an_expression_is_monitored() -> None:
    hook, runner = EarlyStoppingHook("0.5*mIoU + 0.5*mDice", patience=1), make_runner()
    for value in (1.0, 0.5):
        hook.after_val_epoch(runner, metrics={"mIoU": value, "mDice": value})
    assert runner.train_loop.stop_training


def test_state_survives() -> None:
    hook, runner = EarlyStoppingHook("mIoU", patience=3), make_runner()
    for value in (5.0, 1.0, 1.0):
        hook.after_val_epoch(runner, metrics={"mIoU": value})
    again = EarlyStoppingHook("mIoU", patience=3)
    again.load_state_dict(hook.state_dict())
    again.after_val_epoch(runner, metrics={"mIoU": 1.0})
    assert runner.train_loop.stop_training


def test_a_missing_metric_warns_or_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    runner = make_runner()
    runner.logger.addHandler(caplog.handler)
    EarlyStoppingHook("mIoU").after_val_epoch(runner, metrics={"mIou": 1})
    assert "Did you mean 'mIou'?" in caplog.text
    with pytest.raises(KeyError, match="mIoU"):
        EarlyStoppingHook("mIoU", strict=True).after_val_epoch(runner, metrics=None)


def test_validation_alone_is_left_in_peace() -> None:
    runner = make_runner()
    runner.train_loop = None
    EarlyStoppingHook("mIoU", strict=True).after_val_epoch(runner, metrics={})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"monitor": None}, TypeError, "monitor=None"),
        ({"monitor": "score"}, ValueError, "cannot tell"),
        ({"monitor": "mIoU", "rule": "larger"}, ValueError, "rule='larger'"),
        ({"monitor": "mIoU", "min_delta": -1}, ValueError, "min_delta=-1"),
        ({"monitor": "mIoU", "patience": 0}, ValueError, "patience=0"),
        ({"monitor": "mIoU", "patience": "x"}, TypeError, "patience='x'"),
        ({"monitor": "mIoU", "strict": "yes"}, TypeError, "strict='yes'"),
        ({"monitor": "mIoU", "check_finite": None}, TypeError, "check_finite=None"),
        ({"monitor": "mIoU", "stopping_threshold": "x"}, TypeError, "stopping_threshold='x'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        EarlyStoppingHook(**options)
