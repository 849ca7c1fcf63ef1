"""`custom_cfg` of the log processor: further records, each a statistic of a scalar over a window of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seg_runner.errors import did_you_mean
from seg_runner.log.history import HistoryBuffer

__all__ = ["LogWindow", "read_windows"]


@dataclass(frozen=True)
class LogWindow:
    """One further record: which statistic of which scalar over which window, under which name."""

    data_src: str
    method_name: str = "mean"
    window_size: int | str | None = None
    log_name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def value(self, history: HistoryBuffer, batch_idx: int) -> Any:
        """Return the statistic now; `batch_idx` is the index of the batch within its epoch."""
        options = dict(self.options)
        if self.method_name != "current" and self.window_size not in (None, "global"):
            options["window_size"] = batch_idx + 1 if self.window_size == "epoch" else self.window_size
        return history.statistics(self.method_name, **options)


def read_windows(custom_cfg: Sequence[Mapping[str, Any]] | None, by_epoch: bool) -> list[LogWindow]:
    """Check `custom_cfg` and read it.

    Raises:
        TypeError: if it is no list of dicts, or a value has the wrong type.
        ValueError: if a key is missing, a name comes twice, there is no such statistic, or 'epoch' is asked for in
            an iteration run.
    """
    if custom_cfg is None:
        return []
    if isinstance(custom_cfg, Mapping | str) or not isinstance(custom_cfg, Sequence):
        raise TypeError(f"log_processor.custom_cfg: a list of dicts is expected, not {type(custom_cfg).__name__}")
    windows = [_read(index, cfg, by_epoch) for index, cfg in enumerate(custom_cfg)]
    seen: dict[str, int] = {}
    for index, window in enumerate(windows):
        if window.log_name in seen:
            raise ValueError(
                f"log_processor.custom_cfg[{index}]: {window.log_name!r} is already the name of item "
                f"{seen[window.log_name]}; give each its own log_name"
            )
        seen[window.log_name] = index
    return windows


def _read(index: int, cfg: Mapping[str, Any], by_epoch: bool) -> LogWindow:
    where = f"log_processor.custom_cfg[{index}]"
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{where}: a dict is expected, not {type(cfg).__name__}")
    given = dict(cfg)
    if not isinstance(given.get("data_src"), str):
        raise ValueError(f"{where}: data_src is missing: the name of the scalar, such as 'loss'")
    source, method = given.pop("data_src"), given.pop("method_name", "mean")
    window, name = given.pop("window_size", None), given.pop("log_name", source)
    if window == "epoch" and not by_epoch:
        raise ValueError(f"{where}: window_size='epoch' needs by_epoch=True; write a number or 'global'")
    if not (window is None or window in ("epoch", "global") or (type(window) is int and window > 0)):
        raise TypeError(f"{where}: window_size is a positive number, 'epoch' or 'global', not {window!r}")
    known = HistoryBuffer.statistics_names()
    if method not in known:
        raise ValueError(
            f"{where}: no statistic is called {method!r}.{did_you_mean(str(method), known)} There are "
            f"{', '.join(known)}; add one with HistoryBuffer.register_statistics"
        )
    return LogWindow(source, method, window, name, given)
