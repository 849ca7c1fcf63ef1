"""What every backend is: six methods, all of which may do nothing."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["BaseVisBackend", "axis", "config_dict", "config_text", "numbers_and_step", "plain_number"]


class BaseVisBackend:
    """A place for pictures and scalars. Override what your service can take; the rest does nothing.

    Nothing has to derive from this class: any object with these methods is a backend.

    Args:
        save_dir: folder for local files; None where there are none.

    Example:
        >>> class Printer(BaseVisBackend):
        ...     def add_scalar(self, name, value, step=0, **kwargs):
        ...         print(step, name, value)
        >>> Printer().add_scalars({"loss": 0.5}, step=3)
        3 loss 0.5
    """

    def __init__(self, save_dir: str | None = None) -> None:
        self._save_dir = save_dir

    @property
    def experiment(self) -> Any:
        """The object of the service's own library; by default this backend."""
        return self

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Keep the resolved config."""

    def add_graph(self, model: Any, data_batch: Any = None, **kwargs: Any) -> None:
        """Keep the model's graph."""

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Keep an H x W x 3 uint8 RGB picture."""

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Keep one number."""

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Keep several numbers of one step; what is no number is left out."""
        numbers, at = numbers_and_step(scalar_dict, step)
        for name, number in numbers.items():
            self.add_scalar(name, number, at, **kwargs)

    def close(self) -> None:
        """Everything is written when this returns."""


def plain_number(value: Any) -> int | float | None:
    """A number from a Python, numpy or tensor scalar; None from anything else."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if hasattr(value, "item") and getattr(value, "size", None) is not None:
        count = value.numel() if hasattr(value, "numel") else value.size
        return plain_number(value.item()) if count == 1 else None
    return None


def axis(scalar_dict: Mapping[str, Any], step: int) -> int:
    """Where a record stands on the axis of its curves: `step` in it, else the argument.

    A record of LoggerHook says in `mode` and `iter` where it comes from. Its iteration is the axis then: in epoch
    loops its step is the epoch in validation, and both kinds of curves would lie apart.

    Example:
        >>> axis({"mIoU": 0.5, "mode": "val", "iter": 300}, 3), axis({"loss": 0.5, "iter": 1}, 10)
        (300, 10)
    """
    if "mode" in scalar_dict and "iter" in scalar_dict:
        return int(scalar_dict["iter"])
    own = scalar_dict.get("step")
    return int(step if own is None else own)


def numbers_and_step(scalar_dict: Mapping[str, Any], step: int) -> tuple[dict[str, int | float], int]:
    """The numbers of a record as plain ones, without its step, and where it stands on the axis."""
    found = {name: plain_number(value) for name, value in scalar_dict.items() if name != "step"}
    return {name: number for name, number in found.items() if number is not None}, axis(scalar_dict, step)


def config_dict(config: Any) -> dict[str, Any]:
    """A config as a plain dict."""
    if hasattr(config, "to_dict"):
        return dict(config.to_dict())
    return dict(config)


def config_text(config: Any) -> str:
    """A config as text: what its `dump()` gives, or `name = value` lines."""
    if hasattr(config, "dump"):
        return str(config.dump())
    if isinstance(config, Mapping):
        return "".join(f"{name} = {value!r}\n" for name, value in config.items())
    return str(config)
