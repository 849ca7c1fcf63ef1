"""What every backend is: six methods, all of which may do nothing."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from seg_vis.arrays import Image
from seg_vis.backends.line_files import axis

__all__ = [
    "BaseVisBackend",
    "checked_number",
    "checked_place",
    "checked_step",
    "config_dict",
    "config_text",
    "numbers_and_step",
    "plain_number",
]


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

    def add_config(self, config: object, **kwargs: object) -> None:
        """Keep the resolved config."""

    def add_graph(self, model: object, data_batch: object = None, **kwargs: object) -> None:
        """Keep the model's graph."""

    def add_image(self, name: str, image: Image, step: int = 0, **kwargs: object) -> None:
        """Keep an H x W x 3 uint8 RGB picture."""

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Keep one number."""

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Keep several numbers of one step; what is no number is left out."""
        found, at = numbers_and_step(scalar_dict, step)
        for name, number in found.items():
            self.add_scalar(name, number, at, **kwargs)

    def close(self) -> None:
        """Return when everything is written."""


def plain_number(value: object) -> int | float | None:
    """Return the number in a value of Python or numpy, or in a tensor or array with one element; None for all else."""
    if isinstance(value, bool | np.bool_ | numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    if hasattr(value, "item") and getattr(value, "size", None) is not None:
        count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 0)
        try:
            return plain_number(value.item()) if count == 1 else None
        except (RuntimeError, NotImplementedError):  # a tensor without contents (device meta), or of sparse layout
            return None
    return None


def checked_number(name: str, value: object) -> int | float:
    """Return the number of `add_scalar`.

    Raises:
        TypeError: it is no number.
    """
    number = plain_number(value)
    if number is None:
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise TypeError(
            f"add_scalar({name!r}, ...) takes one number, or an array or tensor with one element, "
            f"got {type(value).__name__}{shape}: {str(value)[:60]}"
        )
    return number


def checked_step(step: object) -> int:
    """Return a step as a whole number, from any kind of number that is whole.

    Raises:
        TypeError: no number.
        ValueError: a fraction, NaN, or more than 64 bits.
    """
    number = plain_number(step)
    if number is None:
        raise TypeError(f"step must be a whole number, got {step!r}")
    if not -(2**63) <= number < 2**63 or number != int(number):  # NaN is in no range
        raise ValueError(f"step must be a whole number of at most 64 bits, got {step!r}")
    return int(number)


def checked_place(row: Mapping[str, Any], step: object) -> int:
    """Check where a record stands on the axis of its curves, and return it, as `axis` says.

    Raises:
        TypeError: the record is no dict, or a step no number.
        ValueError: a step that is not whole.
    """
    if not isinstance(row, Mapping):
        raise TypeError(f"add_scalars takes a dict of names and numbers, got {type(row).__name__}: {str(row)[:60]}")
    for key in ("iter", "step"):
        if row.get(key) is not None:
            checked_step(row[key])
    return axis(row, checked_step(step))


def numbers_and_step(scalar_dict: Mapping[str, Any], step: object) -> tuple[dict[str, int | float], int]:
    """Return the numbers of a record that fit 64 bits, without its step, and where it stands on the axis."""
    place = checked_place(scalar_dict, step)
    found = {str(name): plain_number(value) for name, value in scalar_dict.items() if name != "step"}
    return {name: fitting(n) for name, n in found.items() if n is not None}, place


def fitting(number: int | float) -> int | float:
    """Return the number; one that has more than 64 bits as a float."""
    if isinstance(number, float) or -(2**63) <= number < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def config_dict(config: object) -> dict[str, Any]:
    """Return a config as a plain dict."""
    to_dict = getattr(config, "to_dict", None)
    values: Any = to_dict() if callable(to_dict) else config
    return dict(values)


def config_text(config: object) -> str:
    """Return a config as text: what its `dump()` gives, or `name = value` lines."""
    if hasattr(config, "dump"):
        return str(config.dump())
    if isinstance(config, Mapping):
        return "".join(f"{name} = {value!r}\n" for name, value in config.items())
    return str(config)
