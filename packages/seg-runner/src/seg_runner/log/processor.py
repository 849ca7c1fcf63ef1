"""The log processor: from the message hub's scalars to the record and the line of text of one log point."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from seg_runner.checks import flag, whole
from seg_runner.log.across_ranks import across_ranks
from seg_runner.log.history import HistoryBuffer
from seg_runner.log.waiting import DataWaits
from seg_runner.log.windows import read_windows
from seg_runner.process.device import peak_memory

__all__ = ["LogProcessor", "LogRunner"]

DEFAULT_MEAN = r".*(loss|time|data_time|grad_norm).*"


class Hub(Protocol):
    """The message hub, as it is read for a log point."""

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """Return the histories by name."""

    @property
    def runtime_info(self) -> dict[str, Any]:
        """Return the notes by name."""

    def get_info(self, key: str, default: object = None) -> Any:
        """Return one note."""


class LogRunner(Protocol):
    """Where a run stands, and what it has measured; loaders and the optimizer wrapper are looked at if they exist."""

    @property
    def message_hub(self) -> Hub:
        """Return what was measured."""

    @property
    def iter(self) -> int:
        """Return how many iterations are finished."""

    @property
    def epoch(self) -> int:
        """Return how many epochs are finished."""

    @property
    def max_iters(self) -> int:
        """Return how many iterations the whole run has."""

    @property
    def max_epochs(self) -> int:
        """Return how many epochs the whole run has."""


class LogProcessor:
    """Makes the log records and lines, in the layout that MMEngine's log readers know.

    Scalars whose name matches `mean_pattern` are shown as the mean over the last `window_size` values, all others as
    the latest value. Reading brings everything that waits in the message hub over in one transfer.

    Args:
        window_size: over how many values means are taken.
        by_epoch: whether lines count epochs (`Epoch(train) [1][10/100]`) or iterations (`Iter(train) [10/1000]`).
        custom_cfg: further records: dicts with `data_src` (a scalar's name without `train/`), `method_name` (mean,
            max, min, current, or a registered statistic), `window_size` (a number, 'epoch' or 'global') and
            `log_name` (default: `data_src`, which is then replaced).
        num_digits: how many decimals are printed.
        log_with_hierarchy: keep `train/`, `val/` in the names.
        mean_pattern: which scalars are averaged.

    Example:
        >>> LogProcessor(window_size=50, by_epoch=False, custom_cfg=[
        ...     dict(data_src="loss", log_name="loss_max", method_name="max", window_size="global")])
        LogProcessor(window_size=50, by_epoch=False, custom=['loss_max'])
    """

    def __init__(
        self,
        window_size: int = 10,
        by_epoch: bool = True,
        custom_cfg: Sequence[Mapping[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = DEFAULT_MEAN,
    ) -> None:
        self.window_size = whole(window_size, "log_processor.window_size", 1)
        self.by_epoch = flag(by_epoch, "log_processor.by_epoch")
        self.num_digits = whole(num_digits, "log_processor.num_digits")
        self.log_with_hierarchy = flag(log_with_hierarchy, "log_processor.log_with_hierarchy")
        self.mean_pattern = _compiled(mean_pattern)
        self.custom_cfg = read_windows(custom_cfg, by_epoch)
        self._printed: dict[str, tuple[int | None, int, int]] = {}
        self._waits = DataWaits()

    def __repr__(self) -> str:
        """Show the settings that one looks for."""
        custom = [window.log_name for window in self.custom_cfg]
        return f"LogProcessor(window_size={self.window_size}, by_epoch={self.by_epoch}, custom={custom})"

    # -- what hooks call ---------------------------------------------------------------------------------------------

    def get_log_after_iter(self, runner: LogRunner, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the record and the line after a batch.

        Args:
            runner: whatever has `message_hub`, `iter`, `epoch`, `max_iters`, `max_epochs` and the loaders.
            batch_idx: the batch's index; the finished step's index in an iteration loop.
            mode: 'train', 'val' or 'test'.
        """
        window = self.window_size if mode == "train" else min(self.window_size, batch_idx + 1)
        values, memory = self._values(runner, batch_idx, mode, window), peak_memory()
        if mode == "train":  # ranks may have different numbers of batches in validation
            values, memory = across_ranks(runner, values, memory)
        record = {self._name(key): value for key, value in values.items()}
        record |= self._progress(runner, batch_idx, mode)
        bare = {_bare(key): value for key, value in values.items()}
        if mode == "train":
            world = getattr(runner, "world", None)
            self._waits.look(bare, getattr(runner, "train_dataloader", None), getattr(world, "local_size", 1))
        lead = self._lead_iter(runner, batch_idx, mode) + self._rates(bare)
        times = self._times(runner, bare, memory)
        if memory is not None and mode == "train":
            record["memory"] = memory
        shown = {"time", "data_time"} if len(times) > 1 else set()
        rest = [self._show(key, value) for key, value in bare.items() if key not in shown and not _is_rate(key)]
        if "optim_step" in record:
            rest.append(f"optim_step: {record['optim_step']}")
        if mode != "train":
            rest = [""]
        return record, lead + "  ".join(times + rest)

    def get_log_after_epoch(
        self, runner: LogRunner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Return the record and the line after a validation or a test.

        Args:
            runner: see above.
            batch_idx: how many batches there were.
            mode: 'val' or 'test'.
            with_non_scalar: whether the record holds what is no number, too; the line always shows it.

        Raises:
            ValueError: for another mode.
        """
        if mode not in ("val", "test"):
            raise ValueError(f"get_log_after_epoch is for mode 'val' or 'test', not {mode!r}")
        values, _ = across_ranks(runner, self._values(runner, batch_idx - 1, mode, None), None)
        times = {key: value for key, value in values.items() if _bare(key) in ("time", "data_time")}
        scalars = {self._name(key): value for key, value in values.items() if key not in times}
        notes = _notes(runner.message_hub, mode, self.log_with_hierarchy)
        ends = {self._name(key): value for key, value in times.items()}
        record = scalars | (notes if with_non_scalar else {}) | ends
        shown = scalars | notes | ends
        return record, self._lead_epoch(runner, batch_idx, mode) + "  ".join(map(self._show, shown, shown.values()))

    # -- values ------------------------------------------------------------------------------------------------------

    def _values(self, runner: LogRunner, batch_idx: int, mode: str, window: int | None) -> dict[str, float]:
        """Return this mode's scalars by full name, in first-seen order, then those of `custom_cfg`.

        Without a window, what was added since the last validation counts: means are taken over that, and scalars
        that were not renewed are left out.
        """
        scalars = runner.message_hub.log_scalars
        values: dict[str, float] = {}
        for key, history in scalars.items():
            if not key.startswith(f"{mode}/") or not history.updates:
                continue
            size = self._renewed(key, history, runner.iter) if window is None else window
            if window is None and _bare(key) in ("time", "data_time"):
                size = min(size, batch_idx + 1)
            if size or window is not None:
                values[key] = history.mean(size) if self.mean_pattern.match(_bare(key)) else history.current()
        for custom in self.custom_cfg:
            source = f"{mode}/{custom.data_src}"
            if source in values:
                values[f"{mode}/{custom.log_name}"] = custom.value(scalars[source], batch_idx)
        return values

    def _renewed(self, key: str, history: HistoryBuffer, now: int) -> int:
        """Return how many values this validation has added; the same when it is asked for again."""
        at, before, seen = self._printed.get(key, (None, 0, history.loaded))
        if history.updates != seen:
            at, before, seen = now, seen, history.updates
            self._printed[key] = (at, before, seen)
        return seen - before if at == now else 0

    # -- text --------------------------------------------------------------------------------------------------------

    def _name(self, key: str) -> str:
        return key if self.log_with_hierarchy else _bare(key)

    def _show(self, key: str, value: object) -> str:
        return f"{key}: {value:.{self.num_digits}f}" if isinstance(value, float) else f"{key}: {value}"

    def _rates(self, values: Mapping[str, float]) -> str:
        rates = [f"{key}: {value:.{self.num_digits}e}" for key, value in values.items() if _is_rate(key)]
        return " ".join(rates) + "  "

    def _times(self, runner: LogRunner, values: Mapping[str, float], memory: int | None) -> list[str]:
        """Show time left, time, time spent on data, and the memory where there is an accelerator."""
        parts = []
        eta = runner.message_hub.get_info("eta")
        if "time" in values and isinstance(eta, int | float):
            parts.append(f"eta: {datetime.timedelta(seconds=int(eta))}")
            parts += [self._show(key, values[key]) for key in ("time", "data_time") if key in values]
        if memory is not None:
            parts.append(f"memory: {memory}")
        return parts

    def _progress(self, runner: LogRunner, batch_idx: int, mode: str) -> dict[str, int]:
        if mode == "test":
            return {"iter": runner.iter}
        step = _under_way(runner, mode)
        epoch = {"epoch": runner.epoch + step} if self.by_epoch else {}
        return epoch | {"iter": runner.iter + step} | _optimizer_step(runner, mode)

    def _lead_iter(self, runner: LogRunner, batch_idx: int, mode: str) -> str:
        if self.by_epoch:
            total = loader_length(runner, mode)
            bracket = f"[{batch_idx + 1:>{len(str(total))}}/{total}]"
            if mode == "test":
                return f"Epoch({mode}) {bracket}  "
            epoch = runner.epoch + _under_way(runner, mode)
            width = len(str(runner.max_epochs)) + 3 if runner.max_epochs else 3
            return f"Epoch({mode}){f'[{epoch}]':>{width}}{bracket}  "
        total = runner.max_iters if mode == "train" else loader_length(runner, mode)
        done = runner.iter + _under_way(runner, mode) if mode == "train" else batch_idx + 1
        return f"Iter({mode}) [{done:>{len(str(total))}}/{total}]  "

    def _lead_epoch(self, runner: LogRunner, batch_idx: int, mode: str) -> str:
        total = loader_length(runner, mode)
        if not self.by_epoch:
            return f"Iter({mode}) [{total}/{total}]    "
        epoch = "" if mode == "test" else f"[{runner.epoch}]"
        return f"Epoch({mode}) {epoch}[{total}/{total}]    "


def _optimizer_step(runner: LogRunner, mode: str) -> dict[str, int]:
    """Return how often the weights were changed, where that is not once for each iteration (accumulated gradients)."""
    wrapper: Any = getattr(runner, "optim_wrapper", None)
    counts = getattr(wrapper, "accumulative_counts", 1)
    if mode != "train" or counts == 1:
        return {}
    done, rest = divmod(wrapper.inner_count, counts)  # known over a resume, which a count of calls is not
    return {"optim_step": done + bool(rest and wrapper.should_update())}


def _under_way(runner: LogRunner, mode: str) -> int:
    """Return 1 inside a training step, which is not yet counted; 0 in validation and after the last training step."""
    return int(mode == "train" and getattr(runner, "finished_iters", runner.iter + 1) > runner.iter)


def loader_length(runner: LogRunner, mode: str) -> int | str:
    """Return how many batches the loader of this mode has; '?' where it does not know."""
    known = getattr(getattr(runner, "train_loop", None), "epoch_length", None) if mode == "train" else None
    if known is not None:  # of several processes no loader knows how its samples are dealt out
        return int(known)
    loader = getattr(runner, f"{mode}_dataloader", None)
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return "?"


def _bare(key: str) -> str:
    return key.partition("/")[2]


def _is_rate(key: str) -> bool:
    return key.endswith("lr")


def _notes(hub: Hub, mode: str, hierarchy: bool) -> dict[str, Any]:
    """Return metrics that are no numbers: they lie among the hub's notes."""
    lead = f"{mode}/"
    return {(k if hierarchy else k[len(lead) :]): v for k, v in hub.runtime_info.items() if k.startswith(lead)}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"log_processor.mean_pattern must be a regular expression, not {pattern!r}: {error}"
        ) from error
