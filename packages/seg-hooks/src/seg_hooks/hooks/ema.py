"""EMAHook: validate, test and save with a running average of the weights."""

from __future__ import annotations

import copy
import sys
from typing import Any, Protocol

from torch import Tensor, nn

from seg_hooks.checks import allowed_options, did_you_mean, flag, number, refuse_unknown, whole
from seg_hooks.hook import Hook
from seg_hooks.model import averaging, following
from seg_hooks.model.weights import clean_key, clean_keys, unwrap
from seg_hooks.protocols import HasModel, Logs, Progress, Resumes

__all__ = ["EMAHook"]

NOTE = "state_dict holds the averaged weights, ema_state_dict the raw ones (under module.*) and the count of updates"


class _Runner(HasModel, Progress, Logs, Resumes, Protocol):
    pass


class Average(Protocol):
    """A class that follows a model, one of this package or the user's own."""

    module: nn.Module
    steps: Tensor

    def __init__(self, model: nn.Module, **options: object) -> None: ...

    def update_parameters(self, model: nn.Module) -> object:
        """Take in the present weights of `model`."""


class EMAHook(Hook[_Runner]):
    """Keeps a running average of the weights; it is what gets validated, tested and saved as `state_dict`.

    In checkpoints `state_dict` is the average and `ema_state_dict` the raw weights, as MMEngine lays them out;
    resuming puts both back where they were. Nothing is copied before the average begins. An exception during
    validation gives the raw weights back at the next point.

    Args:
        ema_type: `ExponentialMovingAverage`, `MomentumAnnealingEMA`, `StochasticWeightAverage`, an entry point of
            `seg_engine.models`, or a class that is built as `ema_type(model, **options)`.
        strict_load: On resuming, make a weight that is missing or has another shape an error instead of a report.
        begin_iter: First iteration (counted from 1) that is averaged.
        begin_epoch: The same in epochs; only one of the two.
        start_iters: Another name for `begin_iter`, as MMSegmentation's guide writes it.
        decay: Another way to write `momentum`: 0.9998 is momentum 0.0002.
        **kwargs: Options of the average: `momentum`, `gamma`, `interval`, `device`, `update_buffers`.

    Example:
        >>> EMAHook(begin_iter=500, momentum=0.001).begin_iter
        500
    """

    priority = "NORMAL"

    def __init__(
        self,
        ema_type: str | type[nn.Module] = "ExponentialMovingAverage",
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        start_iters: int | None = None,
        decay: float | None = None,
        **kwargs: object,
    ) -> None:
        self.strict_load = flag("EMAHook", "strict_load", strict_load)
        self.begin_iter = _begin_iter(begin_iter, start_iters)
        self.begin_epoch = whole("EMAHook", "begin_epoch", begin_epoch, least=0)
        if self.begin_iter and self.begin_epoch:
            raise ValueError(f"EMAHook: give begin_iter={begin_iter} or begin_epoch={begin_epoch}, not both.")
        self.ema_cls = _average_class(ema_type)
        self.ema_cfg = _average_options(self.ema_cls, dict(kwargs), decay)
        self.ema_model: Any = None
        self.src_model: Any = None
        self._swapped = False
        self._begun = False

    def before_run(self, runner: _Runner) -> None:
        """Find the model inside its wrappers; the average of an earlier `train()` is kept for the same model."""
        self.give_back()
        source = unwrap(runner.model)
        if source is not self.src_model:
            self.src_model, self.ema_model = source, None

    def before_train(self, runner: _Runner) -> None:
        """Check that the average begins before the run ends, and make room for it."""
        self.give_back()
        _check_begin("begin_iter", self.begin_iter, "iterations", runner.max_iters)
        _check_begin("begin_epoch", self.begin_epoch, "epochs", runner.max_epochs)
        self._begun = False
        average = self._average(runner)
        if isinstance(average, averaging.BaseAveragedModel):
            average.follow(self.src_model)
            self._tell_of_interval(runner, average.interval)

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Take the new weights into the average, once it has begun."""
        if not self._begun:
            if runner.iter + 1 < self.begin_iter or runner.epoch + 1 < self.begin_epoch:
                return
            self._begun = True
        self.ema_model.update_parameters(self.src_model)

    def before_val_epoch(self, runner: _Runner) -> None:
        """Put the average into the model."""
        self._put_in()

    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Put the raw weights back."""
        self.give_back()

    def before_test_epoch(self, runner: _Runner) -> None:
        """Put the average into the model."""
        self._put_in()

    def after_test_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Put the raw weights back."""
        self.give_back()

    def after_run(self, runner: _Runner) -> None:
        """Put the raw weights back, should an exception have kept the average in."""
        self.give_back()

    def on_exception(self, runner: _Runner) -> None:
        """Put the raw weights back at once."""
        self.give_back()

    def before_save_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Make `state_dict` the average and `ema_state_dict` the raw weights, by reference, without a copy."""
        if self._swapped and sys.exc_info()[0] is not None:
            self._after_failure(checkpoint)
        weights = checkpoint["state_dict"]
        other = clean_keys(self._average(runner).module.state_dict())
        exchanged = _with_values(weights, {name: other.get(clean_key(name), value) for name, value in weights.items()})
        if self._steps() == 0:
            averaged, raw = weights, weights
        else:
            averaged, raw = (weights, exchanged) if self._swapped else (exchanged, weights)
        checkpoint["state_dict"] = averaged
        checkpoint["ema_state_dict"] = {
            "steps": self.ema_model.steps.new_tensor(self._steps()).cpu(),
            **{f"module.{name}": value for name, value in raw.items()},
        }
        checkpoint.setdefault("meta", {})["ema"] = NOTE

    def after_load_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Put the average into the average and raw weights into the model, on resuming; else do nothing."""
        if not runner.resuming:
            return
        if "ema_state_dict" not in checkpoint:
            runner.logger.warning("EMAHook: the checkpoint holds no average; a new one starts from the loaded weights.")
            return
        saved = dict(checkpoint["ema_state_dict"])
        steps = int(saved.pop("steps", 0))
        raw = {name.removeprefix("module."): value for name, value in saved.items()}
        averaged = checkpoint["state_dict"]
        self._load(runner, averaged, steps)
        checkpoint["state_dict"] = _with_values(averaged, raw)

    def give_back(self) -> None:
        """Put the raw weights back where the average is in the model; else nothing."""
        if self._swapped:
            self._swapped = False
            swap(self.ema_model, self.src_model)

    def _tell_of_interval(self, runner: _Runner, interval: int) -> None:
        """Warn where the run ends before the second update of the average; MMEngine runs on and says nothing."""
        per_epoch = runner.max_iters // max(runner.max_epochs, 1)
        before = max(self.begin_iter - 1, (self.begin_epoch - 1) * per_epoch, runner.iter, 0)
        updates = self._steps() + runner.max_iters - before
        if runner.iter < runner.max_iters and 1 < updates <= interval:
            runner.logger.warning(
                "EMAHook: interval=%d, but the run makes only %d updates after the average begins: the average "
                "does not change after the first of them, and is validated, tested and saved like that. Give a "
                "smaller interval.",
                interval,
                updates,
            )

    def _after_failure(self, checkpoint: dict[str, Any]) -> None:
        """Put the raw weights back, in the checkpoint too: a runner saves after an exception in validation."""
        raw = clean_keys(self.ema_model.module.state_dict())
        values = {name: raw.get(clean_key(name), value) for name, value in checkpoint["state_dict"].items()}
        checkpoint["state_dict"] = _with_values(checkpoint["state_dict"], {n: v.clone() for n, v in values.items()})
        self.give_back()

    def _put_in(self) -> None:
        self.give_back()
        if self.ema_model is not None and self._steps() > 0:
            swap(self.ema_model, self.src_model)
            self._swapped = True

    def _average(self, runner: _Runner) -> Average:
        source = unwrap(runner.model)
        if self.ema_model is None or source is not self.src_model:
            self.src_model = source
            self.ema_model = self.ema_cls(source, **self.ema_cfg)
        average: Average = self.ema_model
        return average

    def _steps(self) -> int:
        return 0 if self.ema_model is None else int(getattr(self.ema_model, "count", self.ema_model.steps))

    def _load(self, runner: _Runner, averaged: dict[str, Tensor], steps: int) -> None:
        model = self._average(runner)
        own = {clean_key(name): (name, value) for name, value in model.module.state_dict().items()}
        fitting = {own[name][0]: value for name, value in averaged.items() if name in own and _fits(own[name], value)}
        skipped = sorted(set(own) - {clean_key(name) for name in fitting})
        if skipped and self.strict_load:
            raise ValueError(
                f"EMAHook: strict_load=True, but the checkpoint does not fit the model at {', '.join(skipped)}; give "
                "strict_load=False to start these from the current weights."
            )
        if skipped:
            runner.logger.warning(
                "EMAHook: missing in the checkpoint or of another shape, averaged from the current weights: %s",
                ", ".join(skipped),
            )
        model.module.load_state_dict(fitting, strict=False)
        model.steps.fill_(steps)
        if hasattr(model, "count"):
            model.count = steps


def swap(average: Average, model: nn.Module) -> None:
    """Exchange the values of two models, whoever wrote the average."""
    if isinstance(average, averaging.BaseAveragedModel):
        average.swap(model)
    else:
        following.exchange(following.matching(average.module, model))


def _fits(own: tuple[str, object], value: object) -> bool:
    """Tell whether a saved value can be loaded in place of a state dict's own; extra state may be anything."""
    return own[0].endswith("_extra_state") or getattr(own[1], "shape", None) == getattr(value, "shape", None)


def _with_values(weights: dict[str, Tensor], values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same state dict (order, device, versions of modules) with other values."""
    result = copy.copy(weights)
    for name, old in weights.items():
        value = values.get(name, old)
        if isinstance(value, Tensor) and isinstance(old, Tensor):
            value = value.to(old.device)
        result[name] = value
    return result


def _begin_iter(begin_iter: int, start_iters: int | None) -> int:
    begin_iter = whole("EMAHook", "begin_iter", begin_iter, least=0)
    if start_iters is None:
        return begin_iter
    if begin_iter:
        raise ValueError(
            f"EMAHook: begin_iter={begin_iter} and start_iters={start_iters} mean the same; give only begin_iter."
        )
    return whole("EMAHook", "start_iters", start_iters, least=0)


def _check_begin(name: str, begin: int, unit: str, most: int) -> None:
    if begin > most:
        raise ValueError(f"EMAHook: {name}={begin}, but the run has only {most} {unit}; the average would never begin.")


def _average_options(ema_cls: type[Average], options: dict[str, object], decay: float | None) -> dict[str, Any]:
    if decay is not None:
        if "momentum" in options:
            raise ValueError(f"EMAHook: decay={decay} and momentum={options['momentum']} mean the same; give one.")
        decay = number("EMAHook", "decay", decay, above=0, below=1)
        if "momentum" not in (allowed_options(ema_cls) or ["momentum"]):
            raise TypeError(f"EMAHook: decay={decay} has no use: {ema_cls.__name__} has no momentum; leave it out.")
        options["momentum"] = round(1 - decay, 12)  # 0.9998 is 0.0002 and no more digits
    allowed = allowed_options(ema_cls)
    if allowed is not None:
        own = ["strict_load", "begin_iter", "begin_epoch", "start_iters", "decay"]
        refuse_unknown(f"EMAHook({ema_cls.__name__})", options, [*own, *(n for n in allowed if n != "model")])
    make: type[Average] = ema_cls
    if issubclass(ema_cls, averaging.BaseAveragedModel):  # a wrong value is said now, not when the average begins
        make(nn.Identity(), **options)
    return options


def _average_class(ema_type: object) -> type[Average]:
    if isinstance(ema_type, type):
        if not callable(getattr(ema_type, "update_parameters", None)):
            raise TypeError(
                f"EMAHook: ema_type={ema_type.__name__} has no method update_parameters; give the class of an average."
            )
        return ema_type
    if not isinstance(ema_type, str):
        raise TypeError(f"EMAHook: ema_type={ema_type!r} is a {type(ema_type).__name__}; give a class or its name.")
    known = [name for name in averaging.__all__ if name != "BaseAveragedModel"]
    if ema_type in known:
        own: type[Average] = getattr(averaging, ema_type)
        return own
    from importlib.metadata import entry_points

    others = entry_points(group="seg_engine.models")
    if ema_type in others.names:
        found: type[Average] = others[ema_type].load()
        return found
    hint = did_you_mean(ema_type, known)
    raise ValueError(f"EMAHook: ema_type={ema_type!r} is not known; choose from {known}.{hint}")
