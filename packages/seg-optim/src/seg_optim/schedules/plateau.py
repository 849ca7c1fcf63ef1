"""ReduceOnPlateau: lower a value when a metric stops getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, NoReturn, Unpack

from torch import Tensor

from seg_optim.checks import check_choice, check_given, check_list
from seg_optim.protocols import HasGroups
from seg_optim.schedules.arguments import (
    INF,
    POSITIONS,
    Checks,
    CommonArguments,
    by_name,
    check_factor,
    check_step_count,
)
from seg_optim.schedules.base import ParamScheduler

__all__ = ["ReduceOnPlateauParamScheduler"]


class ReduceOnPlateauParamScheduler(ParamScheduler):
    """Multiplies by `factor` after `patience` epochs in which `monitor` was no better than the best by `threshold`.

    `step()` without metrics counts an epoch; `step(metrics)` compares. The value does not fall below `min_value`, and
    changes smaller than `eps` are not made. A metric that is not a number counts as bad.

    In a config: `dict(type='ReduceOnPlateauLR', monitor='mIoU', rule='greater', patience=5)`.

    Args:
        monitor: The name of the metric.
        rule: 'less' or 'greater': which is better.
        factor: What the value is multiplied by.
        patience: Epochs without getting better until the value falls.
        threshold: How much counts as better.
        threshold_rule: 'rel': a share of the best so far; 'abs': in the metric's unit.
        cooldown: Epochs after a change in which nothing counts as bad.
        min_value: The lowest value, for all groups or one for each.
        eps: A smaller change is not made.

    Raises:
        ValueError: `by_epoch=False`, a factor of 1 or more, an unknown rule, or a wrong number of `min_value`s.
        KeyError: `monitor` is not among the metrics.
        TypeError: the metrics are not a dict.
    """

    need_val_args: ClassVar[bool] = True
    _checks: ClassVar[Checks] = {
        "factor": check_factor,
        "patience": check_step_count,
        "threshold": check_given,
        "cooldown": check_step_count,
        "eps": check_given,
    }
    _positions = tuple(name for name in POSITIONS if name != "unit")
    _shape = ("monitor", "rule", "factor", "patience", "threshold", "threshold_rule", "cooldown", "eps")
    _hidden = ParamScheduler._hidden | {"base_values"}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        monitor: str = "loss",
        rule: str = "less",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_rule: str = "rel",
        cooldown: int = 0,
        min_value: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        name, named = type(self).__name__, by_name(type(self), args, common)
        if not named.get("by_epoch", True):
            raise ValueError(f"{name} needs by_epoch=True: it looks at the metrics of each validation")
        check_given(f"{name}: factor", factor)
        if factor >= 1:
            raise ValueError(f"{name}: factor={factor} must be below 1")
        check_choice(f"{name}: rule", rule, ("less", "greater"))
        check_choice(f"{name}: threshold_rule", threshold_rule, ("rel", "abs"))
        if not isinstance(monitor, str):
            raise TypeError(f"{name}: monitor={monitor!r} is a {type(monitor).__name__}, a metric's name is needed")
        self.monitor, self.rule, self.factor, self.patience = monitor, rule, factor, patience
        self.threshold, self.threshold_rule, self.cooldown, self.eps = threshold, threshold_rule, cooldown, eps
        self.rule_worse = INF if rule == "less" else -INF
        self.best: float = self.rule_worse
        self.num_bad_epochs = self.cooldown_counter = self.reductions = 0
        many = isinstance(min_value, list | tuple)
        (check_list if many else check_given)(f"{name}: min_value", min_value, least=-math.inf)
        self._given_min = min_value
        super().__init__(optimizer, param_name, **named)

    def _prepare(self) -> None:
        given, groups = self._given_min, self._groups
        if not isinstance(given, list | tuple):
            self.min_values: list[float] = [float(given)] * len(groups)  # type: ignore[arg-type]
            return
        extra = len(getattr(self.optimizer, "base_groups", ()))  # a wrapper's own, at the end
        if len(given) != len(groups) - extra:
            raise ValueError(
                f"{type(self).__name__}: min_value has {len(given)} values for {len(groups) - extra} parameter groups"
                "; where groups are added later, give one number for all"
            )
        self.min_values = [*given, *[given[-1]] * extra]

    def _start(self) -> None:
        self._global_step = 0
        self._chain.follow(self)

    def step(self, metrics: Mapping[str, float] | None = None) -> None:
        """Count an epoch (no metrics), or compare the metrics with the best so far."""
        if metrics is None:
            self._global_step += 1
            return
        if not isinstance(metrics, Mapping):
            raise TypeError(f"{type(self).__name__}: metrics is a {type(metrics).__name__}, not a dict")
        self._take_in()
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._write(self._compared(metrics), self._groups)

    def _compared(self, metrics: Mapping[str, float]) -> list[float]:
        if self.monitor not in metrics:
            raise KeyError(f"{self.monitor!r} is not among the metrics: {', '.join(metrics)}")
        current = metrics[self.monitor]
        if not isinstance(current, Real | Tensor):
            raise TypeError(f"{self.monitor} is {current!r} in the metrics, a number is needed")
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = float(current), 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs <= self.patience:
            return self.values
        self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self.reductions += 1
        return [self._reduced(value, low) for value, low in zip(self.values, self.min_values, strict=True)]

    def is_better(self, current: float, best: float) -> bool:
        """Tell whether `current` beats `best` by the threshold."""
        gain = self.threshold * (best if self.threshold_rule == "rel" else 1)
        return current < best - gain if self.rule == "less" else current > best + gain

    def reapply(self) -> None:
        """Lower the values as often as they were lowered so far, after they were worked out anew."""
        self._take_in()
        for _ in range(self.reductions):
            pairs = zip(self.values, self.min_values, strict=True)
            self._write([self._reduced(value, low) for value, low in pairs], self._groups)

    def _reduced(self, value: float, low: float) -> float:
        lower = max(value * self.factor, low)
        return lower if value - lower > self.eps else value

    def state_dict(self) -> dict[str, Any]:
        """Return shape, position and memory as plain values."""
        unfold = getattr(self.optimizer, "unfold", list)
        return super().state_dict() | {"min_values": unfold(self.min_values)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over position and memory; of a shape that differs, the arguments' holds (see `resume_schedule`)."""
        super().load_state_dict(state_dict)
        for key in ("best", "num_bad_epochs", "cooldown_counter", "reductions"):
            if key in state_dict:
                setattr(self, key, state_dict[key])
        if self._chain.replaying:
            self.reapply()

    def _differences(self, shape: dict[str, Any], bases: list[float]) -> dict[str, tuple[Any, Any]]:
        return {}

    @classmethod
    def build_iter_from_epoch(cls, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: a plateau is judged once per validation."""
        raise ValueError(f"{cls.__name__} cannot count iterations: leave out convert_to_iter_based")
