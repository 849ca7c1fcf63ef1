"""Parts inside parts: how they are built, and chains of transforms."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from seg_engine.data.views import with_pixels, with_views

__all__ = ["Compose", "NestedBuilder", "build", "reads_file"]

Record = dict[str, Any]


class Builder(Protocol):
    """Turns names into objects, as `seg_registry.builder` makes one."""

    def get(self, kind: str, name: str) -> Any:
        """Return the class or function of this name."""

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: object) -> Any:
        """Return an object from a config with a `type`."""


class NestedBuilder:
    """A builder whose parts build what lies inside them with the same builder: one config, one set of permissions.

    Args:
        builder: What turns names into objects.
        files: What becomes of an option that names a file to read: 'read'; 'leave' it out, for a model that only
            predicts; 'refuse' it, for a config from elsewhere.
    """

    def __init__(self, builder: Builder, files: str = "read") -> None:
        self.builder, self.files = builder, files

    def get(self, kind: str, name: str) -> Any:
        """Return the class or function called `name`."""
        return self.builder.get(kind, name)

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: object) -> Any:
        """Return an object from a config with a `type`."""
        before = _CURRENT.set(self)
        try:
            return self.builder.build(kind, cfg, **defaults)
        finally:
            _CURRENT.reset(before)


# The builder at work, while one is: set and reset by NestedBuilder.build.
_CURRENT: ContextVar[NestedBuilder | None] = ContextVar("builder at work", default=None)


def build(kind: str, cfg: Any, **defaults: object) -> Any:
    """Return the part inside another part that a dict describes; an object passes through."""
    if not isinstance(cfg, Mapping):
        return cfg
    current = _CURRENT.get()
    if current is not None:
        return current.build(kind, cfg, **defaults)
    from seg_registry import builder

    return builder().build(kind, cfg, **defaults)


def reads_file(option: str) -> bool:
    """Tell whether a part that is being built may read the file that its config names; False: do without.

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
        self.clock = PartsClock(len(self.transforms))

    def __call__(self, record: Record) -> Any:
        """Return the record after all transforms, or None."""
        result: Any = record
        began, spent = perf_counter(), []
        for transform in self.transforms:
            try:
                lazily = vars(type(transform)).get("lazily")
                result = transform(with_pixels(result)) if lazily is None else lazily(transform, with_views(result))
            except Exception as error:
                where = record.get("img_path", "a record without img_path")
                error.add_note(f"in transform {_name(transform)} of {where}")
                raise
            if result is None:
                return None
            ended = perf_counter()
            spent.append(ended - began)
            began = ended
        self.clock.add(spent)
        return with_pixels(result)

    def seconds(self) -> dict[str, float]:
        """Return the mean seconds of each transform, over the samples of all forked workers; empty before the first."""
        return dict(zip(map(_name, self.transforms), self.clock.means(), strict=False))

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


class PartsClock:
    """Sums of seconds, one for each part of a sample, in memory that forked workers share with the main process.

    Two workers that add at the same time may lose one of the two; means of many samples do not show it. A copy, and a
    spawned worker, has sums of its own.

    Args:
        parts: How many there are.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self._sums = np.frombuffer(mmap.mmap(-1, 8 * (parts + 1)), np.float64)  # the last one counts the samples

    def add(self, spent: Sequence[float]) -> None:
        """Add the seconds of one sample; left out where its owner has changed the number of parts since."""
        if len(spent) == self.parts:
            self._sums += (*spent, 1.0)

    def means(self) -> list[float]:
        """Return the mean of each part; nothing before the first sample."""
        *sums, samples = self._sums.tolist()
        return [one / samples for one in sums] if samples else []

    def __getstate__(self) -> dict[str, int]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["parts"])  # type: ignore[misc]


def _name(transform: object) -> str:
    return str(getattr(transform, "__name__", type(transform).__name__))
