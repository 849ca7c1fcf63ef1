"""The loops of validation and test: every batch through the model, then the metrics."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from logging import Logger
from typing import Any, Protocol

import torch

from seg_runner.checks import flag, whole
from seg_runner.data.deal import deal_of
from seg_runner.data.private_loader import NamedLoader
from seg_runner.data.seeds import seed_step
from seg_runner.distributed.agreement import Agreement
from seg_runner.errors import add_note, did_you_mean, note_step, origin_of, part_of, sample_paths
from seg_runner.evaluation.fields import LogitsWatch
from seg_runner.loop.dealt_out import put_lists_in_order, tell_of_ranks
from seg_runner.loop.out_of_memory import note_out_of_memory
from seg_runner.loop.train import Process, Steps, progress
from seg_runner.loop.validation_loss import LossMeter
from seg_runner.mmengine.attributes import EVAL_LOOP, EVAL_LOOP_INSTEAD, serves
from seg_runner.process.device import random_states, restore_random_states
from seg_runner.process.randomness import global_state, set_global_state
from seg_runner.process.signals import StopNow, StopRequested
from seg_runner.protocols import Metric

__all__ = ["EvalLoop", "TestLoop", "ValLoop", "dataset_size", "set_dataset_meta"]


NAMES = {"val": "validation", "test": "test"}

Loader = Iterable[object]
Loaders = Loader | dict[str, Loader]
"""A loader, or several by the names of their sets."""
Evaluators = Metric | dict[str, Metric | None] | None
"""What measures: it has the shape of a metric. None to measure nothing but the loss."""


class EvalRunner(Steps, Process, Protocol):
    """The runner, as the loops of validation and test see it."""

    @property
    def iter(self) -> int:
        """Return how many training iterations are finished."""

    @property
    def train_loop(self) -> Any:
        """Return the training loop; None where nothing is trained."""

    @property
    def visualizer(self) -> Any:
        """Return where pictures and scalars go."""

    @property
    def logger(self) -> Logger:
        """Return the log of the run."""


@serves(EVAL_LOOP, EVAL_LOOP_INSTEAD)
class EvalLoop:
    """What validation and test share.

    Several named sets of data run one after another; their metrics get the set's name as prefix.
    """

    def __init__(
        self,
        runner: EvalRunner,
        dataloader: Loaders,
        evaluator: Evaluators,
        fp16: bool = False,
        *,
        mode: str,
        loss: bool = False,
        intervals: dict[str, int] | None = None,
    ) -> None:
        self.runner = runner
        self.mode = mode
        self.fp16, self.loss = flag(fp16, f"{mode}_cfg.fp16"), flag(loss, f"{mode}_cfg.loss")
        self.sets = _named_sets(dataloader, evaluator)
        _refuse_endless(self.sets, mode, getattr(runner, "cfg", None))
        self.intervals = _checked_intervals(intervals, self.sets)
        self.current = next(iter(self.sets))
        self._named: dict[tuple[str, bool], NamedLoader] = {}
        self._deals = {
            name: deal_of(loader, runner.randomness, runner.world) for name, (loader, _) in self.sets.items()
        }
        tell_of_ranks(runner, mode, self.sets)
        self._began: dict[str, tuple[Any, list[torch.Tensor]]] = {}
        self._logits = LogitsWatch()
        self._pass: Agreement | None = None
        for loader, measure in reversed(self.sets.values()):  # the first last: it is the one that is shown before a run
            set_dataset_meta(loader, measure, runner.visualizer)

    @property
    def dataloader(self) -> Any:
        """Return the loader of the set that is being run (of the first one before that)."""
        return self.sets[self.current][0]

    @property
    def evaluator(self) -> Any:
        """Return the evaluator of the set that is being run."""
        return self.sets[self.current][1]

    def run(self) -> dict[str, Any]:
        """Run every set that is due; return the metrics, with the set's name before them where there are several."""
        runner, mode = self.runner, self.mode
        on = runner.points
        getattr(on, f"before_{mode}")()
        getattr(on, f"before_{mode}_epoch")()
        runner.model.eval()
        metrics: dict[str, Any] = {}
        for name in self._due_sets():
            self.current = name
            self._seed()
            values = self._run_set()
            metrics.update({f"{name}/{key}" if name else key: value for key, value in values.items()})
        getattr(on, f"after_{mode}_epoch")(metrics=metrics)
        getattr(on, f"after_{mode}")()
        return metrics

    def _seed(self) -> None:
        """Begin each pass with numbers of its own, so that it does not depend on what ran before.

        Where nothing is trained, the first pass goes on from the seed of the run, whatever the stream, as MMEngine's
        does: so a model that draws when it predicts gives the metrics that it gives there.
        """
        runner = self.runner
        if runner.randomness.ranks:
            seed_step(runner.randomness, -1 - runner.iter)
        elif runner.train_loop is not None:
            seed_step(runner.randomness, runner.iter, runner.rank)
        elif (began := self._began.get(self.current)) is None:
            self._began[self.current] = global_state(), random_states()
        elif runner.randomness.by_sample:
            set_global_state(began[0])
            restore_random_states(began[1])

    def _due_sets(self) -> list[str]:
        done, last = progress(self.runner.train_loop)
        return [name for name in self.sets if done in (0, last) or done % self.intervals.get(name, 1) == 0]

    @torch.no_grad()
    def _run_set(self) -> dict[str, Any]:
        loader, evaluator = self.sets[self.current]
        meter = LossMeter(self.runner.model if self.loss else None, self.runner.world)
        set_dataset_meta(loader, evaluator, self.runner.visualizer)
        agreement, validating = self.runner.agreement, getattr(self.runner.train_loop, "validating", False)
        self._pass = agreement.of_pass(loader) if agreement is not None and validating else None
        forward = getattr(self.runner.model, f"{self.mode}_step")
        counts, self._logits, deal = list[int](), LogitsWatch(), self._deals[self.current]
        with closing(self._batches()) as batches:
            for batch_idx, batch in enumerate(batches):
                if deal is not None and batch_idx >= len(deal.own):
                    meter.follow(forward(batch), batch)  # another rank's: all call the model equally often
                    self._check_signals(batch_idx + 1)
                    continue
                if self.runner.randomness.ranks:
                    number = deal.own[batch_idx] if deal is not None else batch_idx
                    seed_step(self.runner.randomness, -1 - self.runner.iter, 1 + number)
                counts.append(self._step(forward, evaluator, meter, batch_idx, batch))
                self._check_signals(batch_idx + 1)
        if deal is not None:
            put_lists_in_order(evaluator, self.runner.world, deal.own, counts, self.runner.logger)
        seen = sum(self.runner.world.gather(sum(counts)))
        name = f"{NAMES[self.mode]} of {self.current!r}" if self.current else NAMES[self.mode]
        if told := self._logits.told(name, self.runner.world):
            self.runner.logger.warning(told)
        return {**self._metrics(evaluator, dataset_size(loader, seen)), **meter.values(self.mode)}

    def _batches(self) -> Generator[Any, None, None]:
        """Yield the batches of the current set; an exception says which one it was, and which sample."""
        alone = self.runner.train_loop is None
        if (self.current, alone) not in self._named:
            first = self.runner.randomness.seed + self.runner.rank * getattr(self.dataloader, "num_workers", 0)
            order = self._deals[self.current]
            self._named[self.current, alone] = NamedLoader(self.dataloader, first if alone else None, order)
        loader = self._named[self.current, alone]
        count, batches = 0, iter(loader)
        try:
            while True:
                try:
                    batch = self._next(batches)
                except StopIteration:
                    return
                yield batch
                count += 1
        except Exception as error:
            self._check_signals()  # one to all processes of the job may have ended the workers
            add_note(error, f"while reading {self.mode} batch {count}{self._where('dataloader')}")
            raise
        finally:
            loader.finish(batches)

    def _next(self, batches: Iterator[Any]) -> Any:
        """Return the next batch; a signal that comes while one of our training loops waits for it acts at once."""
        signals, alone = self.runner.signals, self.runner.agreement is None
        if signals is None or not alone or not getattr(self.runner.train_loop, "validating", False):
            return next(batches)
        try:
            signals.wait()
            return next(batches)
        except StopNow as stop:
            raise StopRequested from stop
        finally:
            signals.waiting = False

    def close(self) -> None:
        """Stop workers that live on from pass to pass."""
        for loader in self._named.values():
            loader.close()

    def run_iter(self, idx: int, data_batch: object) -> None:
        """Do one step with this batch, as loops written for MMEngine are asked to."""
        forward = getattr(self.runner.model, f"{self.mode}_step")
        with torch.no_grad():
            self._step(forward, self.evaluator, LossMeter(None), idx, data_batch)

    def _check_signals(self, done: int = 0) -> None:
        """End a validation of our training loops where a signal came: on several ranks after the same batch."""
        signals, agreement = self.runner.signals, self.runner.agreement
        if signals is None or not getattr(self.runner.train_loop, "validating", False):
            return
        came = signals.requested
        if came is not None if agreement is None else agreement.ends(self._pass, done, came):
            raise StopRequested

    def _where(self, part: str) -> str:
        """Return ` of 'city', val_dataloader (configs/train.py:12)`: the set's name, if any, and the config's line."""
        name = f" of {self.current!r}" if self.current else ""
        return f"{name}{part_of(self.runner, f'{self.mode}_{part}')}"

    def _metrics(self, evaluator: Metric | None, size: int) -> dict[str, Any]:
        try:
            return dict(evaluator.evaluate(size)) if evaluator is not None else {}
        except Exception as error:
            where = self._where("evaluator")
            add_note(error, f"while computing the metrics of {size} {self.mode} samples{where}")
            raise

    def _step(
        self,
        forward: Callable[[Any], Any],
        evaluator: Metric | None,
        meter: LossMeter,
        batch_idx: int,
        batch: object,
    ) -> int:
        on, mode, part = self.runner.points, self.mode, ""
        try:
            getattr(on, f"before_{mode}_iter")(batch_idx=batch_idx, data_batch=batch)
            part = "model"
            with torch.autocast(self.runner.device.type, enabled=self.fp16):
                outputs = meter.split(forward(batch), batch)
            self._logits.add(outputs)
            part = f"{mode}_evaluator"
            if evaluator is not None:
                evaluator.process(data_samples=outputs, data_batch=batch)
            part = ""
            getattr(on, f"after_{mode}_iter")(batch_idx=batch_idx, data_batch=batch, outputs=outputs)
        except Exception as error:
            note_out_of_memory(error, self.runner.model, batch, self.runner.optim_wrapper, mode)
            note_step(error, f"{NAMES[mode]} iteration {batch_idx}{part_of(self.runner, part)}", sample_paths(batch))
            raise
        return len(outputs)


class ValLoop(EvalLoop):
    """Validate: `val_step` on every batch, then the metrics.

    Args:
        runner: Holds model and hooks.
        dataloader: Loader, or a dict name -> loader.
        evaluator: Has `process` and `evaluate`; a dict of them for a dict of loaders; None to measure the loss only.
        fp16: Run under autocast.
        loss: Also measure the loss (as `val_loss` and its parts).
        intervals: With several sets: name -> run it only when the step (or epoch) count divides by this.
    """

    def __init__(
        self,
        runner: EvalRunner,
        dataloader: Loaders,
        evaluator: Evaluators,
        fp16: bool = False,
        loss: bool = False,
        intervals: dict[str, int] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16, mode="val", loss=loss, intervals=intervals)


class TestLoop(EvalLoop):
    """Test: `test_step` on every batch, then the metrics. Arguments as of `ValLoop`."""

    __test__ = False  # no test class of pytest's

    def __init__(
        self,
        runner: EvalRunner,
        dataloader: Loaders,
        evaluator: Evaluators,
        fp16: bool = False,
        loss: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16, mode="test", loss=loss)


def dataset_size(loader: object, seen: int) -> int:
    """Return the number of samples of the loader's data set, or of those seen where it does not say."""
    try:
        return len(getattr(loader, "dataset", None))  # type: ignore[arg-type]  # raises where there is none
    except (TypeError, AttributeError):
        return seen


def set_dataset_meta(loader: object, *takers: object) -> None:
    """Hand the data set's `metainfo` (classes, palette) to whatever has a place for it."""
    meta = getattr(getattr(loader, "dataset", None), "metainfo", None)
    for taker in takers if meta is not None else ():
        if hasattr(taker, "dataset_meta"):
            taker.dataset_meta = meta


def _named_sets(dataloader: Loaders, evaluator: Evaluators) -> dict[str, tuple[Loader, Metric | None]]:
    if not isinstance(dataloader, dict):
        if isinstance(evaluator, dict):
            raise ValueError(f"evaluators are named {sorted(evaluator)}, but there is one loader: name the loaders too")
        return {"": (dataloader, evaluator)}
    evaluators = evaluator if isinstance(evaluator, dict) else dict.fromkeys(dataloader, evaluator)
    missing = sorted(set(dataloader) ^ set(evaluators))
    if missing:
        raise ValueError(
            f"named loaders {sorted(dataloader)} and named evaluators {sorted(evaluators)} do not match: {missing}"
        )
    return {name: (loader, evaluators[name]) for name, loader in dataloader.items()}


def _refuse_endless(sets: Mapping[str, tuple[Loader, Metric | None]], mode: str, cfg: object) -> None:
    for name, (loader, _) in sets.items():
        own = getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None)
        endless = next((sampler for sampler in own if getattr(sampler, "endless", False)), None)
        if endless is not None:
            key = f"{mode}_dataloader.{name}.sampler" if name else f"{mode}_dataloader.sampler"
            raise ValueError(
                f"{key}{origin_of(cfg, key)} is {type(endless).__name__}, which never ends, and so would "
                f"{'validation' if mode == 'val' else 'the test'}: "
                "give dict(type='DefaultSampler', shuffle=False), which shows each image once"
            )


def _checked_intervals(intervals: Mapping[str, object] | None, sets: Mapping[str, object]) -> dict[str, int]:
    if not isinstance(intervals, Mapping | None):
        raise TypeError(f"val_cfg.intervals must be a dict from the name of a set to its interval, not {intervals!r}")
    for name in intervals or ():
        if name not in sets:
            known = ", ".join(map(repr, filter(None, sets))) or "none, since val_dataloader is one loader"
            raise ValueError(f"val_cfg.intervals names no set {name!r}.{did_you_mean(name, sets)} There are {known}")
    return {name: whole(every, f"val_cfg.intervals.{name}", 1) for name, every in (intervals or {}).items()}
