"""Objects of other classes that only hold data (configs, dates, paths, namespaces), read as plain values."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["FUNCTIONS", "KINDS", "Fields", "RefusedError", "Text"]


class RefusedError(Exception):
    """A value that is not built."""


class Entries(dict[Any, Any]):
    """Stands for a config's dict: takes entries, and no attribute."""

    __slots__ = ()

    def __init__(self, *args: object) -> None:
        if args and not (len(args) == 1 and isinstance(args[0], dict)):
            raise RefusedError("a dict made of something else")
        super().__init__(*args)

    def __setstate__(self, state: object) -> None:
        pass


class Text(str):
    """Stands for a text of a class of its own, such as the version of torch."""

    __slots__ = ()

    def __new__(cls, text: object = "") -> Text:
        """Take a text, which nothing turns into one."""
        if not isinstance(text, str):
            raise RefusedError(f"a text made of a {type(text).__name__}")
        return super().__new__(cls, text)

    def __setstate__(self, state: object) -> None:
        pass


class Fields:
    """Stands for an object that is no more than its attributes."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: object = {}

    def __setstate__(self, state: object) -> None:
        self.state = state

    def plain(self) -> object:
        """Return the attributes; of a config, whose state is a tuple or a dict with more, its entries."""
        state = getattr(self, "state", {})
        if isinstance(state, tuple):
            state = next((part for part in state if isinstance(part, dict)), {})
        if not isinstance(state, dict):
            raise RefusedError("an object whose attributes are no dict")
        return state.get("_cfg_dict", state)


KINDS: dict[tuple[str, str], type] = {
    ("argparse", "Namespace"): Fields,
    ("types", "SimpleNamespace"): Fields,
    ("addict.addict", "Dict"): Entries,
    ("easydict", "EasyDict"): Entries,
    ("torch.torch_version", "TorchVersion"): Text,
} | {
    (module, name): kind
    for module in ("mmengine.config.config", "mmengine.config", "mmcv.utils.config", "mmcv.utils")
    for name, kind in (("ConfigDict", Entries), ("Config", Fields))
}
"""What stands for a class: each use of it gets a class of its own, so that a file can change nothing that stays."""


def _bytes(data: object, size: int) -> bytes:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes) or len(raw) != size:
        raise RefusedError("a date made of something else")
    return raw


def _zone(zone: tuple[object, ...]) -> dict[str, Any]:
    if len(zone) > 1 or not all(isinstance(one, datetime.timezone) for one in zone):
        raise RefusedError("a time zone with rules of its own")
    return {"tzinfo": zone[0]} if zone else {}


def _moment(data: object, *zone: object) -> str:
    return datetime.datetime(_bytes(data, 10)).replace(**_zone(zone)).isoformat()  # type: ignore[arg-type, call-arg]


def _date(data: object) -> str:
    return datetime.date(_bytes(data, 4)).isoformat()  # type: ignore[arg-type, call-arg]


def _time(data: object, *zone: object) -> str:
    return datetime.time(_bytes(data, 6)).replace(**_zone(zone)).isoformat()  # type: ignore[arg-type]


def _difference(days: object = 0, seconds: object = 0, microseconds: object = 0) -> float:
    if not all(type(part) is int for part in (days, seconds, microseconds)):
        raise RefusedError("a time made of something else")
    return days * 86400.0 + seconds + microseconds / 1e6  # type: ignore[operator]


def _offset(seconds: object, *name: object) -> datetime.timezone:
    if not isinstance(seconds, float):
        raise RefusedError("a time zone made of something else")
    return datetime.timezone(datetime.timedelta(seconds=seconds))


def _path(kind: type[PurePosixPath | PureWindowsPath]) -> Callable[..., str]:
    def path(*parts: object) -> str:
        if not all(isinstance(part, str) for part in parts):
            raise RefusedError("a path made of something else")
        return str(kind(*parts))  # type: ignore[arg-type]  # looked at above

    return path


FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("datetime", "datetime"): _moment,
    ("datetime", "date"): _date,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _difference,
    ("datetime", "timezone"): _offset,
}
FUNCTIONS |= {
    (module, f"{pure}{name}"): _path(kind)
    for module in ("pathlib", "pathlib._local")
    for pure in ("", "Pure")
    for name, kind in (("PosixPath", PurePosixPath), ("WindowsPath", PureWindowsPath), ("Path", PurePosixPath))
}
"""What a call makes: dates and times as ISO 8601 has them, differences in seconds, paths as text."""
