"""Parts inside parts: how they are built, and chains of transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

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

    def __call__(self, record: Record) -> Any:
        """Return the record after all transforms, or None."""
        result: Any = record
        for transform in self.transforms:
            try:
                lazily = vars(type(transform)).get("lazily")
                result = transform(with_pixels(result)) if lazily is None else lazily(transform, with_views(result))
            except Exception as error:
                name = getattr(transform, "__name__", type(transform).__name__)
                error.add_note(f"in transform {name} of {record.get('img_path', 'a record without img_path')}")
                raise
            if result is None:
                return None
        return with_pixels(result)

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"
