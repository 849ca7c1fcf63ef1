"""Parts inside parts: how they are built, and chains of transforms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

__all__ = ["Compose", "NestedBuilder", "build", "counts", "reads_file", "switch"]

Record = dict[str, Any]


class NestedBuilder:
    """A builder whose parts build what lies inside them with the same builder: one config, one set of permissions.

    Args:
        builder: What turns names into objects.
        files: What becomes of an option that names a file to read: 'read'; 'leave' it out, for a model that only
            predicts; 'refuse' it, for a config from elsewhere.
    """

    def __init__(self, builder: Any, files: str = "read") -> None:
        self.builder, self.files = builder, files

    def get(self, kind: str, name: Any) -> Any:
        """The class or function called `name`."""
        return self.builder.get(kind, name)

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: Any) -> Any:
        """An object from a config with a `type`."""
        before = _CURRENT.set(self)
        try:
            return self.builder.build(kind, cfg, **defaults)
        finally:
            _CURRENT.reset(before)


# The builder at work, while one is: set and reset by NestedBuilder.build.
_CURRENT: ContextVar[NestedBuilder | None] = ContextVar("builder at work", default=None)


def build(kind: str, cfg: Any, **defaults: Any) -> Any:
    """The part inside another part that a dict describes; an object passes through."""
    if not isinstance(cfg, Mapping):
        return cfg
    current = _CURRENT.get()
    if current is not None:
        return current.build(kind, cfg, **defaults)
    from seg_registry import builder

    return builder().build(kind, cfg, **defaults)


def reads_file(option: str) -> bool:
    """Whether a part that is being built may read the file that its config names; False: do without.

    Args:
        option: The option and its value, for the message.

    Raises:
        ValueError: The config came from elsewhere, so it reads no file.
    """
    current = _CURRENT.get()
    if current is not None and current.files == "refuse":
        raise ValueError(
            f"{option}: a config from elsewhere reads no file: write the numbers into the config, or, where the config "
            "is your own, give --trust-config"
        )
    return current is None or current.files == "read"


def counts(values: Any, name: str, least: int | None = 1) -> list[int]:
    """A list of whole numbers.

    Raises:
        TypeError: It is no list, or holds something that is no number.
        ValueError: It is empty, or a number is too small.
    """
    from seg_runner.checks import whole  # the help of the command waits for no torch

    if not isinstance(values, list | tuple):
        raise TypeError(f"{name} must be a list of whole numbers, not {values!r}")
    if not values:
        raise ValueError(f"{name} is an empty list")
    return [whole(one, f"each of {name}", least) for one in values]


def switch(value: Any, name: str) -> bool:
    """True or False; None is False, as MMEngine takes it, with a warning (an error with `python -W error`).

    Raises:
        TypeError: It is neither: a text such as 'no' would count as True.

    >>> switch(True, "keep_ratio")
    True
    """
    from seg_runner.checks import flag

    if value is None:
        warnings.warn(f"{name}=None is taken as False: write False, or leave it out for its default", stacklevel=3)
    return value is not None and flag(value, name)


class Compose:
    """Transforms one after the other; a transform that returns None ends the chain.

    An exception in a transform keeps its type and gains one note: which transform, and for which image.

    >>> Compose([lambda record: {**record, "x": 1}])({"img_path": "a.png"})
    {'img_path': 'a.png', 'x': 1}
    """

    def __init__(self, transforms: Iterable[Mapping[str, Any] | Callable[[Record], Record | None]]) -> None:
        self.transforms = [build("transform", one) for one in transforms]
        for one in self.transforms:
            if not callable(one):
                raise TypeError(f"pipeline: a dict with a type, or a callable, is expected, not {one!r}")

    def __call__(self, record: Record) -> Any:
        """The record after all transforms, or None."""
        result: Any = record
        for transform in self.transforms:
            try:
                result = transform(result)
            except Exception as error:
                name = getattr(transform, "__name__", type(transform).__name__)
                error.add_note(f"in transform {name} of {record.get('img_path', 'a record without img_path')}")
                raise
            if result is None:
                return None
        return result

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"
