"""EarlyStoppingHook: ends training when a metric no longer gets better."""

from __future__ import annotations

import math
from typing import Any, Protocol

from seg_hooks.checks import flag, number, one_of, whole
from seg_hooks.hook import Hook
from seg_hooks.hooks.best import infer_rule, is_better, missing_text, read_score
from seg_hooks.processes.world import current_world
from seg_hooks.protocols import Logs, Progress, Stops

__all__ = ["EarlyStoppingHook"]


class _Runner(Stops, Progress, Logs, Protocol):
    pass


class EarlyStoppingHook(Hook[_Runner]):
    """Asks the loop to stop when `monitor` has not got better by `min_delta` for `patience` validations in a row.

    The count and the best score are saved in checkpoints; a run that is resumed after its stop stops at once, unless
    its options now allow more. Mind `min_delta`: its default, MMEngine's 0.1, is large
    for metrics between 0 and 1.

    Args:
        monitor: A metric by name, or an expression over metrics (`0.5*mIoU+0.5*mDice`).
        rule: 'greater' or 'less'; None infers it from the name.
        min_delta: The least change that counts as better, in the metric's unit.
        strict: Make a missing metric an error instead of a warning.
        check_finite: Stop at once when the metric is not finite.
        patience: Validations without getting better until the stop.
        stopping_threshold: Stop at once when the metric is better than this.
    """

    priority = "LOWEST"

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        own = "EarlyStoppingHook"
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"{own}: monitor={monitor!r}: give the name of a metric.")
        self.monitor = monitor
        self.rule = infer_rule(own, monitor) if rule is None else one_of(own, "rule", rule, ("greater", "less"))
        self.min_delta = number(own, "min_delta", min_delta, least=0, below=math.inf)
        self.strict = flag(own, "strict", strict)
        self.check_finite = flag(own, "check_finite", check_finite)
        self.patience = whole(own, "patience", patience, least=1)
        self.stopping_threshold = (
            None if stopping_threshold is None else number(own, "stopping_threshold", stopping_threshold)
        )
        self.wait_count = 0
        self.best_score: float | None = None
        self.last_score: float | None = None

    def before_train(self, runner: _Runner) -> None:
        """Stop a resumed run that had stopped when it was saved."""
        reason = self._over() if runner.iter else None
        if reason is not None:
            self._stop(runner, reason)

    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Judge the new score; without a training loop (validation alone) nothing is done."""
        if runner.train_loop is None:
            return
        score = current_world().first(lambda: read_score(metrics or {}, self.monitor))  # of rank 0, for all
        if score is None:
            self._missing(runner, metrics or {})
            return
        reason = self.judge(score)
        if reason is not None:
            self._stop(runner, reason)

    def judge(self, score: float) -> str | None:
        """Count this score in; return why to stop, or None."""
        self.last_score = score
        if not math.isfinite(score) or (self.best_score is not None and self._falls_short(score, self.best_score)):
            self.wait_count += 1
        else:
            self.best_score, self.wait_count = score, 0
        return self._over()

    def _over(self) -> str | None:
        """Say why training is over after the last score; None where it is not."""
        score = self.last_score
        if score is not None and self.check_finite and not math.isfinite(score):
            return f"{self.monitor} is {score}."
        if score is not None and self._beats_threshold(score):
            return f"{self.monitor} is {score:.4f}, better than stopping_threshold={self.stopping_threshold}."
        if self.wait_count >= self.patience:
            return f"{self.monitor} did not get better than {self.best_score} in {self.wait_count} validations."
        return None

    def _beats_threshold(self, score: float) -> bool:
        better_than = self.stopping_threshold
        return better_than is not None and math.isfinite(score) and is_better(score, better_than, self.rule)

    def _stop(self, runner: _Runner, reason: str) -> None:
        runner.train_loop.stop_training = True
        runner.logger.info("Early stop at iteration %d: %s", runner.iter, reason)

    def state_dict(self) -> dict[str, Any]:
        """Count, best and last score."""
        return {"wait_count": self.wait_count, "best_score": self.best_score, "last_score": self.last_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over count and scores."""
        self.wait_count = int(state_dict["wait_count"])
        self.best_score = state_dict["best_score"]
        self.last_score = state_dict.get("last_score")

    def _falls_short(self, score: float, best: float) -> bool:
        return best + self.min_delta > score if self.rule == "greater" else best - self.min_delta < score

    def _missing(self, runner: _Runner, metrics: dict[str, Any]) -> None:
        text = missing_text("EarlyStoppingHook", self.monitor, metrics)
        if self.strict:
            raise KeyError(text)
        runner.logger.warning(text)
