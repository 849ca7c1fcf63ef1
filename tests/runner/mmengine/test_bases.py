"""What derives from a class of MMEngine's, and what stands in for one, without importing it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from seg_runner.evaluation.evaluator import Evaluator
from seg_runner.mmengine.bases import counts_epochs, derives_from, with_base


class TheirLoop:
    """MMEngine's."""


class TheirEvaluator:
    """MMEngine's."""

    def evaluate(self, size: int) -> dict[str, Any]:
        raise AssertionError("ours is called")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, held in (("runner", {"EpochBasedTrainLoop": TheirLoop}), ("evaluator", {"Evaluator": TheirEvaluator})):
        module = ModuleType(f"mmengine.{name}")
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, f"mmengine.{name}", module)


@pytest.mark.usefixtures("engine")
def test_with_their_engine() -> None:
    loop = type("Mine", (TheirLoop,), {})
    assert derives_from(loop, "runner", "EpochBasedTrainLoop")
    assert derives_from(loop(), "runner", "EpochBasedTrainLoop")
    assert not derives_from(object(), "runner", "EpochBasedTrainLoop")
    assert counts_epochs(loop())
    evaluator = with_base(Evaluator([]), "evaluator", "Evaluator")
    assert isinstance(evaluator, TheirEvaluator)
    assert evaluator.evaluate(3) == {}
    assert type(evaluator).__name__ == "Evaluator"
    assert with_base(evaluator, "evaluator", "Evaluator") is evaluator


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mmengine.runner", "mmengine.evaluator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert not derives_from(TheirLoop(), "runner", "EpochBasedTrainLoop")
    assert counts_epochs(TheirLoop(), TheirLoop)
    assert type(with_base(Evaluator([]), "evaluator", "Evaluator")) is Evaluator
