"""The base class of hooks: the 22 points, documented and doing nothing, and the helpers that say when to act."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from seg_hooks.checks import allowed_options, refuse_unknown
from seg_hooks.protocols import Progress

__all__ = ["PRIORITIES", "Hook", "priority_number"]

Point = TypeVar("Point", bound=Callable[..., None])
if TYPE_CHECKING:
    import typing_extensions

    # `class Mine(Hook)` may say of `runner` what it likes; `class Mine(Hook[MyRunner])` is held to what it says
    RunnerT = typing_extensions.TypeVar("RunnerT", default=Any)
else:
    RunnerT = TypeVar("RunnerT")

PRIORITIES = {
    "HIGHEST": 0,
    "VERY_HIGH": 10,
    "HIGH": 30,
    "ABOVE_NORMAL": 40,
    "NORMAL": 50,
    "BELOW_NORMAL": 60,
    "LOW": 70,
    "VERY_LOW": 90,
    "LOWEST": 100,
}


def priority_number(priority: object) -> int:
    """Return 0 (first) to 100 (last) for a priority given as a number or a name in any case.

    Raises:
        ValueError: The number lies outside 0 to 100.
        KeyError: There is no priority of that name.
        TypeError: It is neither a name nor a whole number.

    Example:
        >>> priority_number("very_low")
        90
    """
    priority = getattr(priority, "value", priority)
    if isinstance(priority, str):
        if priority.upper() not in PRIORITIES:
            raise KeyError(f"priority {priority!r} is not known; choose from {list(PRIORITIES)} or 0 to 100.")
        return PRIORITIES[priority.upper()]
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority {priority!r} is a {type(priority).__name__}; give a name or a whole number.")
    if not 0 <= priority <= 100:
        raise ValueError(f"priority {priority} is not between 0 (first) and 100 (last).")
    return priority


def _noop(point: Point) -> Point:
    """Mark a point that only documents, so that whoever runs hooks can leave it out."""
    point.__noop_point__ = True  # type: ignore[attr-defined]
    return point


class Hook(Generic[RunnerT]):
    """Something that acts at named moments of a run; write the points that you need, leave the others out.

    A hook need not inherit from this class: any object with a method named after a point is one. Inheriting gives
    the helpers below, near names for misspelt options, and the shared points `_before_iter`, `_after_iter`,
    `_before_epoch` and `_after_epoch`, which serve training, validation and testing at once.

    Where a run breaks off with an exception or a signal, `on_exception(runner)` of a hook that has it is called.

    Inside `after_train_iter` the step is not yet counted: `runner.iter` is its zero-based index. During validation
    `runner.iter` is the number of finished iterations.

    Example:
        >>> class Beep(Hook):
        ...     def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        ...         if self.every_n_train_iters(runner, 100):
        ...             print("beep")
        >>> Beep().get_triggered_stages()
        ['after_train_iter']
    """

    # A batch and what validation gives are `Any` below: a hook may say what they are, which `object` would forbid.
    priority: int | str = "NORMAL"
    stages = (
        "before_run",
        "after_load_checkpoint",
        "before_train",
        "before_train_epoch",
        "before_train_iter",
        "after_train_iter",
        "after_train_epoch",
        "before_val",
        "before_val_epoch",
        "before_val_iter",
        "after_val_iter",
        "after_val_epoch",
        "after_val",
        "before_save_checkpoint",
        "after_train",
        "before_test",
        "before_test_epoch",
        "before_test_iter",
        "after_test_iter",
        "after_test_epoch",
        "after_test",
        "after_run",
    )

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Refuse options that the class does not have, naming the nearest that it has."""
        if kwargs:
            has_init = cls.__init__ is not object.__init__
            refuse_unknown(cls.__name__, kwargs, allowed_options(cls.__init__) if has_init else [])
        return super().__new__(cls)

    @_noop
    def before_run(self, runner: RunnerT) -> None:
        """Run once per `train()`, `val()` or `test()`, before weights are loaded."""

    @_noop
    def after_run(self, runner: RunnerT) -> None:
        """Run once per `train()`, `val()` or `test()`, at its end."""

    @_noop
    def before_train(self, runner: RunnerT) -> None:
        """Run before the first training step, after weights were loaded or a run was resumed."""

    @_noop
    def after_train(self, runner: RunnerT) -> None:
        """Run after the last training step."""

    @_noop
    def before_val(self, runner: RunnerT) -> None:
        """Run before each validation."""

    @_noop
    def after_val(self, runner: RunnerT) -> None:
        """Run after each validation."""

    @_noop
    def before_test(self, runner: RunnerT) -> None:
        """Run before the test."""

    @_noop
    def after_test(self, runner: RunnerT) -> None:
        """Run after the test."""

    @_noop
    def before_save_checkpoint(self, runner: RunnerT, checkpoint: dict[str, Any]) -> None:
        """Run before a checkpoint is written; changing `checkpoint` changes the file."""

    @_noop
    def after_load_checkpoint(self, runner: RunnerT, checkpoint: dict[str, Any]) -> None:
        """Run after a checkpoint was read and before its weights enter the model; `checkpoint` may be changed."""

    @_noop
    def before_train_epoch(self, runner: RunnerT) -> None:
        """Run before each epoch; once in an iteration loop."""
        self._before_epoch(runner, mode="train")

    @_noop
    def before_val_epoch(self, runner: RunnerT) -> None:
        """Run before the batches of a validation."""
        self._before_epoch(runner, mode="val")

    @_noop
    def before_test_epoch(self, runner: RunnerT) -> None:
        """Run before the batches of a test."""
        self._before_epoch(runner, mode="test")

    @_noop
    def after_train_epoch(self, runner: RunnerT) -> None:
        """Run after each epoch; once in an iteration loop."""
        self._after_epoch(runner, mode="train")

    @_noop
    def after_val_epoch(self, runner: RunnerT, metrics: dict[str, Any] | None = None) -> None:
        """Run after the batches of a validation, with its metrics."""
        self._after_epoch(runner, mode="val")

    @_noop
    def after_test_epoch(self, runner: RunnerT, metrics: dict[str, Any] | None = None) -> None:
        """Run after the batches of a test, with its metrics."""
        self._after_epoch(runner, mode="test")

    @_noop
    def before_train_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None) -> None:
        """Run before each training step, with its batch."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="train")

    @_noop
    def before_val_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None) -> None:
        """Run before each validation batch."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="val")

    @_noop
    def before_test_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None) -> None:
        """Run before each test batch."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="test")

    @_noop
    def after_train_iter(
        self, runner: RunnerT, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Run after each training step; `outputs` are its log variables, detached tensors."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="train")

    @_noop
    def after_val_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Run after each validation batch; `outputs` are its data samples."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="val")

    @_noop
    def after_test_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Run after each test batch; `outputs` are its data samples."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="test")

    @_noop
    def _before_epoch(self, runner: RunnerT, mode: str = "train") -> None:
        """Run before an epoch of any `mode`: train, val or test."""

    @_noop
    def _after_epoch(self, runner: RunnerT, mode: str = "train") -> None:
        """Run after an epoch of any `mode`."""

    @_noop
    def _before_iter(self, runner: RunnerT, batch_idx: int, data_batch: Any = None, mode: str = "train") -> None:
        """Run before a batch of any `mode`."""

    @_noop
    def _after_iter(
        self, runner: RunnerT, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        """Run after a batch of any `mode`."""

    def every_n_epochs(self, runner: Progress, n: int, start: int = 0) -> bool:
        """Tell whether the epoch being finished is a multiple of `n`, counted from `start`; False for n <= 0."""
        return _due(runner.epoch + 1 - start, n)

    def every_n_train_iters(self, runner: Progress, n: int, start: int = 0) -> bool:
        """Tell whether the iteration being finished is a multiple of `n`, counted from `start`; False for n <= 0."""
        return _due(runner.iter + 1 - start, n)

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Tell whether `batch_idx + 1` is a multiple of `n`; False for n <= 0."""
        return _due(batch_idx + 1, n)

    def end_of_epoch(self, dataloader: Sized, batch_idx: int) -> bool:
        """Tell whether this is the loader's last batch."""
        return batch_idx + 1 == len(dataloader)

    def is_last_train_epoch(self, runner: Progress) -> bool:
        """Tell whether the epoch being finished is the run's last."""
        return bool(runner.epoch + 1 == runner.max_epochs)

    def is_last_train_iter(self, runner: Progress) -> bool:
        """Tell whether the iteration being finished is the run's last."""
        return bool(runner.iter + 1 == runner.max_iters)

    def get_triggered_stages(self) -> list[str]:
        """List the points at which this hook does something, in the order of a run."""
        return [stage for stage in self.stages if self._is_live(stage)]

    def _is_live(self, stage: str) -> bool:
        if not _is_noop(self, stage):
            return True
        moment, _, rest = stage.partition("_")
        kind = rest.rpartition("_")[2]
        return kind in ("iter", "epoch") and not _is_noop(self, f"_{moment}_{kind}")


def _is_noop(hook: object, name: str) -> bool:
    return bool(getattr(getattr(hook, name), "__noop_point__", False))


def _due(count: int, n: int) -> bool:
    return n > 0 and count >= 0 and count % n == 0
