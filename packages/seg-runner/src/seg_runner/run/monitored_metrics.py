"""The metrics that hooks and schedulers wait for: whether validation gives them, before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from torch.optim.lr_scheduler import ReduceLROnPlateau

from seg_runner.assembly.fallback import each_scheduler, monitored_metric
from seg_runner.errors import nearest
from seg_runner.hooks.table import HookTable

__all__ = ["Waits", "check_monitored", "monitored_keys"]


class Waits(Protocol):
    """A run whose hooks and schedulers may wait for metrics."""

    @property
    def table(self) -> HookTable:
        """The hooks."""

    @property
    def param_schedulers(self) -> Any:
        """The schedulers."""


def monitored_keys(hooks: Iterable[object]) -> dict[str, tuple[object, str]]:
    """Return what hooks wait for (a metric, or a sum of some) -> the hook, and its option (`save_best`, `monitor`)."""
    found: dict[str, tuple[object, str]] = {}
    for hook in hooks:
        for option in ("save_best", "monitor"):
            wanted = getattr(hook, option, None)
            for name in [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, (list, tuple)) else ():
                if isinstance(name, str) and name != "auto":
                    found[name] = (hook, option)
    return found


def check_monitored(runner: Waits, known: set[str]) -> None:
    """Raise where a hook or a scheduler waits for a metric that validation does not give."""
    schedulers = each_scheduler(runner.param_schedulers)
    for scheduler in schedulers:
        if isinstance(scheduler, ReduceLROnPlateau):
            monitored_metric(scheduler, dict.fromkeys(sorted(known), 0.0))
    waiting = [*runner.table.hooks, *(one for one in schedulers if getattr(one, "need_val_args", False))]
    for wanted, (hook, option) in monitored_keys(waiting).items():
        missing = _missing(wanted, known)
        if missing is not None:
            raise KeyError(
                f"{type(hook).__name__}({option}={wanted!r}){runner.table.where_of(hook)} waits for a metric that "
                f"validation does not give.{_instead(missing, option, known)}"
            )


def _missing(wanted: str, known: set[str]) -> str | None:
    """Return the metric that is not there; of a formula such as `0.5*mIoU + 0.5*mDice` the first one."""
    if wanted in known:
        return None
    terms = [term.strip() for term in re.split(r"[-+*/()]", wanted)]
    names = [term for term in terms if term and not re.fullmatch(r"[\d.]+", term)]
    unknown = [name for name in names if name not in known]
    if not unknown:
        return None
    return unknown[0] if set("+*() ") & set(wanted) else wanted


def _instead(name: str, option: str, known: set[str]) -> str:
    """Say what to write instead of a metric that there is none of."""
    if not known:
        return f" It gives none at all: leave {option} out, or give val_evaluator a metric"
    near = nearest(name, known)
    write = f" Did you mean {near!r}? Write {option}={near!r}." if near is not None else ""
    return f"{write} Validation gives: {', '.join(sorted(known))}"
