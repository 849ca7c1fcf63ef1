"""The training loops: they drive batches through the model and fire the hook points. They know no config.

Any class with `run()` is a loop; these two are the ones that configs name. Validation and test: `evaluate.py`.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from signal import Signals
from typing import Any, Protocol

import torch

from seg_runner.checks import whole
from seg_runner.data.prefetch import prefetched
from seg_runner.data.seeds import seed_step
from seg_runner.data.stream import TrainBatches
from seg_runner.distributed.agreement import Agreement
from seg_runner.distributed.shares import SharedLoss, weighed
from seg_runner.distributed.world import World
from seg_runner.errors import add_note, note_step, part_of, sample_paths
from seg_runner.hooks.table import Points
from seg_runner.loop.out_of_memory import note_out_of_memory
from seg_runner.mmengine.attributes import TRAIN_LOOP, serves
from seg_runner.mmengine.bases import counts_epochs
from seg_runner.process.randomness import Randomness
from seg_runner.process.signals import StopNow, StopRequested, StopSignals

__all__ = ["EpochBasedTrainLoop", "IterBasedTrainLoop", "Process", "Steps", "TrainLoop", "TrainRunner", "progress"]

Intervals = Sequence[tuple[int, int]]


class Stops(Protocol):
    """What ends a training before its time."""

    @property
    def signals(self) -> StopSignals | None:
        """Return the signals that stop the run; None where none are heard."""

    @property
    def agreement(self) -> Agreement | None:
        """Return what several ranks have agreed on; None with one process."""

    def check_signals(self, now: bool = False) -> None:
        """Save and stop if a signal has asked for it; `now`: ask the other ranks, which are all at this place."""


class Steps(Stops, Protocol):
    """What a step asks of the runner."""

    @property
    def model(self) -> Any:
        """Return the model, wrapped or not."""

    @property
    def optim_wrapper(self) -> Any:
        """Return the optimizer wrapper; None where nothing is trained."""

    @property
    def points(self) -> Points:
        """Return the hooks."""


class Process(Protocol):
    """Which process of the run this is, on which device, and where its random numbers come from."""

    @property
    def rank(self) -> int:
        """Return its number, from 0."""

    @property
    def world_size(self) -> int:
        """Return how many processes train together."""

    @property
    def world(self) -> World:
        """Return the processes, and what they tell one another."""

    @property
    def device(self) -> torch.device:
        """Return where batches go."""

    @property
    def randomness(self) -> Randomness:
        """Return the seed, and what is drawn from it."""


class TrainRunner(Steps, Process, Protocol):
    """The runner, as a training loop sees it."""

    @property
    def val_loop(self) -> Any:
        """Return the validation loop; None where there is none."""


@serves(TRAIN_LOOP)
class TrainLoop:
    """What both training loops share: counters, one step, when validation is due.

    `iter` and `epoch` count finished steps. A hook may set `stop_training`; the loop then ends after the
    current step and its validation. With several ranks, it may be set on one of them; all end after the same step,
    at most about a quarter of a second later.
    """

    hooks_tell_epochs = False
    """Whether the sampler hears of an epoch by DistSamplerSeedHook, which every run from a config has."""

    def __init__(
        self,
        runner: TrainRunner,
        dataloader: Iterable[object],
        val_begin: int,
        val_interval: int,
        dynamic_intervals: Intervals | None,
    ) -> None:
        self.runner = runner
        self.dataloader = dataloader
        self.val_begin = whole(val_begin, "val_begin")
        self.val_interval = whole(val_interval, "val_interval", 1)
        self._milestones, self._intervals = _interval_table(dynamic_intervals, self.val_interval)
        self.iter = 0
        self.epoch = 0
        self.stop_training = False
        self.finished_iters = 0  # as `iter`, but a step counts as soon as its update is done, before the hooks
        self.finished_epochs = 0
        self.validated = 0  # `iter` when validation last ran
        self.validating = False
        batches = TrainBatches(
            dataloader,
            runner.randomness,
            rank=runner.rank,
            world_size=runner.world_size,
            tells_passes=not self.hooks_tell_epochs or getattr(runner, "cfg", None) is None,
        )
        self.batches = prefetched(batches, runner.device, runner.randomness, runner.rank)

    def seek(self, iteration: int, epoch: int) -> None:
        """Go to where a run stands after `iteration` steps and `epoch` epochs; reads no sample."""
        self.iter = self.finished_iters = self.validated = iteration
        self.epoch = self.finished_epochs = epoch
        self.batches.seek(iteration)

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint must know of the loop besides its counters."""
        return {"validated": self.validated}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, after `seek`: a validation that was due but not run yet is then run first."""
        self.validated = int(state_dict.get("validated", self.iter))

    def step(self, batch: object, on: Points, batch_idx: int) -> None:
        """Do one iteration: hooks, forward, backward, update, hooks."""
        runner, part = self.runner, ""  # "model" while the update may be half done
        try:
            on.before_train_iter(batch_idx=batch_idx, data_batch=batch)
            part = "model"
            alone = runner.agreement is None
            step = runner.model.train_step if alone else self._shared_step
            outputs = step(batch, optim_wrapper=runner.optim_wrapper)
            part = ""
            self.finished_iters = self.iter + 1  # before the hooks, since a checkpoint that one saves holds the update
            on.after_train_iter(batch_idx=batch_idx, data_batch=batch, outputs=outputs)
        except StopNow as stop:
            stop.between_steps = not part  # hooks run between two updates
            raise
        except Exception as error:
            note_out_of_memory(error, runner.model, batch, runner.optim_wrapper)
            where = f"training iteration {self.iter}{part_of(runner, part)}"
            note_step(error, where, sample_paths(batch) or self.batches.last_samples())
            raise
        self.iter += 1

    def _shared_step(self, batch: object, optim_wrapper: Any) -> Any:
        """Do the model's step; where this rank has more or fewer samples than others, its losses weigh accordingly."""
        model, share = self.runner.model, self.batches.share
        if share == 1:
            return model.train_step(batch, optim_wrapper=optim_wrapper)
        return weighed(model.train_step(batch, optim_wrapper=SharedLoss(optim_wrapper, share)), share)

    def run_iter(self, data_batch: object) -> None:
        """Do one iteration with this batch, as loops written for MMEngine are asked to."""
        self.step(data_batch, self.runner.points, self.iter)

    def next_batch(self) -> Any:
        """Return the next batch of the endless stream; that also sets the main process's random numbers for this step.

        The last step is done while the next batch is waited for, so a signal that comes meanwhile is acted on at once.
        """
        signals = self.runner.signals
        if signals is not None and self.runner.agreement is not None:
            signals = None  # several ranks stop after a step, all after the same one
        try:
            if signals is not None:
                signals.waiting = True  # from here on a signal's handler raises StopNow ...
                if signals.requested is not None:  # ... and here, if the signal came just before
                    raise StopNow(Signals[signals.requested])
            return next(self.batches)
        except StopNow:
            if signals is not None:
                signals.waiting = False  # first: to act on the signal may take its time
                self.runner.check_signals()
            raise
        except Exception as error:
            if self.runner.agreement is None:
                self.runner.check_signals()  # one to all processes of the job may have ended the workers
            line = part_of(self.runner, "train_dataloader")
            add_note(error, f"while reading the batch of training iteration {self.iter}{line}")
            raise
        finally:
            if signals is not None:
                signals.waiting = False

    def validation_is_due(self, count: int, last: int) -> bool:
        """Tell whether validation follows the `count`-th step (or epoch) of `last`."""
        if self.runner.val_loop is None or count < self.val_begin:
            return False
        interval = self.val_interval
        if self._milestones:
            interval = self._intervals[bisect.bisect(self._milestones, count + 1)]
        return count % interval == 0 or count == last

    def begin(self, count: int, last: int) -> None:
        """Set the model to training; first run the validation that an interrupted session still owes."""
        if self.runner.agreement is not None:
            self.runner.check_signals(now=True)
        if count and self.validated != self.iter and self.validation_is_due(count, last):
            self.validate()
        self.runner.model.train()

    def validate(self) -> None:
        """Run the validation loop, set the model back to training, and act on a signal that came meanwhile."""
        before, self.validated = self.validated, self.iter
        # The same numbers in a resumed run; negative, since training steps are seeded by the numbers from 0 on.
        rank = 0 if self.runner.randomness.ranks else self.runner.rank
        seed_step(self.runner.randomness, -1 - self.iter, rank)
        self.validating = True
        try:
            self.runner.val_loop.run()
        except (StopRequested, StopNow) as stop:
            self.validated = before  # still owed
            if self.runner.agreement is not None and isinstance(stop, StopNow):
                raise  # of this rank alone, whose time is over
            self.runner.check_signals()  # here, where hooks see that validation broke off
        finally:
            self.validating = False
        self.runner.model.train()
        self.runner.check_signals(now=True)

    @property
    def over(self) -> bool:
        """Tell whether a hook has ended the training: with several ranks, once all of them know."""
        agreement = self.runner.agreement
        return self.stop_training if agreement is None else agreement.stop


class IterBasedTrainLoop(TrainLoop):
    """Train for `max_iters` steps, validating every `val_interval`; the whole run counts as one epoch.

    Args:
        runner: Holds model, optimizer wrapper, hooks.
        dataloader: Any iterable of batches; it is run through again and again.
        max_iters: Steps of the whole run.
        val_begin: No validation before this many steps.
        val_interval: Steps from one validation to the next.
        dynamic_intervals: `[(from_step, interval), ...]` to validate more or less often later on.
    """

    def __init__(
        self,
        runner: TrainRunner,
        dataloader: Iterable[object],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Intervals | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self.max_iters = whole(max_iters, "max_iters")
        self.max_epochs = 1
        self.batches.open()

    def run(self) -> Any:
        """Train to the end and return the model. Hook points fire where `on.` stands."""
        runner, on = self.runner, self.runner.points
        on.before_train()
        on.before_train_epoch()
        self.begin(self.iter, self.max_iters)
        while self.iter < self.max_iters and not self.over:
            self.step(self.next_batch(), on, self.iter)
            runner.check_signals()
            if self.validation_is_due(self.iter, self.max_iters):
                self.validate()
        on.after_train_epoch()
        on.after_train()
        return runner.model


class EpochBasedTrainLoop(TrainLoop):
    """Train for `max_epochs` passes over the loader, validating every `val_interval` epochs.

    In a config: `dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=5)`.

    Args:
        runner: Holds model, optimizer wrapper, hooks.
        dataloader: An iterable of batches with a length.
        max_epochs: Passes of the whole run.
        val_begin: No validation before this many epochs.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: `[(from_epoch, interval), ...]`.

    Raises:
        TypeError: the loader has no length.
    """

    hooks_tell_epochs = True

    def __init__(
        self,
        runner: TrainRunner,
        dataloader: Iterable[object],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Intervals | None = None,
    ) -> None:
        try:
            len(dataloader)  # type: ignore[arg-type]  # raises where there is no length
        except TypeError as error:
            add_note(
                error, "train_cfg counts epochs, but train_dataloader has no length: use train_cfg=dict(max_iters=...)"
            )
            raise
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self.epoch_length = self.batches.batches_per_pass or 0
        self.max_epochs = whole(max_epochs, "max_epochs")
        if not self.epoch_length and self.max_epochs:
            raise ValueError(
                "train_dataloader gives no batch, so an epoch has no step: is its data set empty, or smaller than a "
                f"batch with drop_last=True?{part_of(runner, 'train_dataloader')}"
            )
        self.max_iters = self.max_epochs * self.epoch_length

    def run(self) -> Any:
        """Train to the end and return the model. Hook points fire where `on.` stands."""
        runner, on = self.runner, self.runner.points
        on.before_train()
        between_epochs = self.iter == self.epoch * self.epoch_length  # in the middle of one, no validation is owed
        self.begin(self.epoch if between_epochs else 0, self.max_epochs)
        while self.epoch < self.max_epochs and not self.over:
            self._run_epoch(on)
            if self.validation_is_due(self.epoch, self.max_epochs):
                self.validate()
        on.after_train()
        return runner.model

    def _run_epoch(self, on: Points) -> None:
        """Run through one pass, or what is left of it after a resume."""
        on.before_train_epoch()
        self._check_length()
        for batch_idx in range(self.iter - self.epoch * self.epoch_length, self.epoch_length):
            self.step(self.next_batch(), on, batch_idx)
            self.runner.check_signals()
            if self.over:
                break
        self.finished_epochs = self.epoch + 1
        on.after_train_epoch()
        self.epoch += 1

    def _check_length(self) -> None:
        """Refuse a loader that a hook has made longer or shorter: where a run stands is counted by its first length."""
        length = self.batches.batches_per_pass
        if length != self.epoch_length:
            raise RuntimeError(
                f"train_dataloader had {self.epoch_length} batches when training began, and has {length} in epoch "
                f"{self.epoch + 1}, since a hook has changed its batch size or its data set. Count iterations instead: "
                "train_cfg=dict(by_epoch=False, max_iters=...), where that may change"
            )


def progress(train_loop: object) -> tuple[int, int]:
    """Return finished and planned steps, in epochs or iterations as the training loop counts; zeros without one."""
    if train_loop is None:
        return 0, 0
    if counts_epochs(train_loop, EpochBasedTrainLoop):
        return getattr(train_loop, "epoch", 0), getattr(train_loop, "max_epochs", 0)
    return getattr(train_loop, "iter", 0), getattr(train_loop, "max_iters", 0)


def _interval_table(dynamic: Intervals | None, first: int) -> tuple[list[int], list[int]]:
    """Return milestones, and the interval before the first and from each of them on."""
    pairs = list(dynamic) if isinstance(dynamic, list | tuple) else [dynamic] if dynamic is not None else []
    for item in pairs:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise ValueError(f"dynamic_intervals must be a list of pairs (from, interval), as [(1000, 50)]: {item!r}")
    milestones = [whole(begin, "dynamic_intervals: from") for begin, _ in pairs]
    if milestones != sorted(milestones):
        raise ValueError(f"dynamic_intervals must be in the order of their beginnings, not {milestones}")
    return milestones, [first, *(whole(step, "dynamic_intervals: interval", 1) for _, step in pairs)]
