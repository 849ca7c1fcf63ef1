"""The backends of one visualizer: made from configs, called one by one; what a failing one lacks is sent later."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from seg_vis.checks import did_you_mean
from seg_vis.output.waiting import Line
from seg_vis.output.writer import Writer

__all__ = ["Dispatch", "make_backends"]

GROUP = "seg_engine.vis_backends"
PLUG_INS = ("AimVisBackend", "ClearMLVisBackend", "DVCLiveVisBackend")
KINDS = {"add_scalar": "rows", "add_scalars": "rows", "add_image": "pictures"}
Log = logging.getLogger


def make_backends(backends: object, save_dir: str | None) -> dict[str, Any]:
    """Return backends by name, from a config, an object, or a list of them.

    Raises:
        TypeError: something else.
        ValueError: two of one name, or a `type` that is not known.
    """
    items = [] if backends is None else backends if isinstance(backends, list | tuple) else [backends]
    made: dict[str, Any] = {}
    for item in items:
        name, backend = make_backend(item, save_dir)
        if name in made:
            raise ValueError(f"two backends are called {name!r}: give one of them another `name`")
        if backend is not None:
            made[name] = backend
    return made


def make_backend(item: object, save_dir: str | None) -> tuple[str, Any]:
    """Name and object; the object is None where a folder is needed and nobody gave one."""
    if not isinstance(item, Mapping):
        if isinstance(item, str | bytes | int | float):
            raise TypeError(f"a backend is a dict with `type` or an object, got {item!r}")
        return str(getattr(item, "name", None) or type(item).__name__), item
    arguments = dict(item)
    kind = find_class(arguments.pop("type", None))
    name = str(arguments.pop("name", kind.__name__))
    if arguments.get("save_dir") is None:
        arguments["save_dir"] = None if save_dir is None else str(Path(save_dir, "vis_data"))
    if arguments["save_dir"] is None and needs_folder(kind):
        Log("seg_vis").warning("%s needs a save_dir and has none: it is left out", name)
        return name, None
    return name, kind(**arguments)


def needs_folder(kind: Callable[..., object]) -> bool:
    """Tell whether the class cannot be made without `save_dir`."""
    parameter = inspect.signature(kind).parameters.get("save_dir")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def find_class(kind: object) -> Any:
    """Return a class, or the one that an installed package offers under this name."""
    if callable(kind):
        return kind
    if not isinstance(kind, str):
        raise TypeError(f"a backend's `type` must be a class or a name, got {kind!r}")
    known = {point.name: point for point in entry_points(group=GROUP)}
    if kind in known:
        return known[kind].load()
    if kind in PLUG_INS:
        raise ValueError(f"{kind} does not come with seg-vis: install the plug-in of its folder examples/plugin")
    hint = did_you_mean(kind, known, 2)
    raise ValueError(f"no backend is called {kind!r}{hint} Known: {', '.join(sorted(known))}")


class Dispatch:
    """Calls every backend, each in a `Line` of its own."""

    def __init__(self, backends: dict[str, Any]) -> None:
        self.backends = dict(backends)
        self.writer: Writer | None = None
        self._lines = {name: Line(name) for name in backends}

    @property
    def lacks(self) -> int:
        """How many calls were dropped, or had not reached their backend when it was closed."""
        return sum(line.lacks for line in self._lines.values())

    def add(self, name: str, backend: object) -> None:
        """Add a backend."""
        self.backends[name], self._lines[name] = backend, Line(name)

    def each(self, method: str, *args: object, **kwargs: object) -> None:
        """Call a method of every backend that has it."""
        size = sum(int(getattr(value, "nbytes", 0)) for value in args)
        for name, backend in list(self.backends.items()):
            if hasattr(backend, method):
                call = functools.partial(getattr(backend, method), *args, **kwargs)
                self.guarded(name, call, KINDS.get(method, method), size)

    def later(self, job: Callable[[], None]) -> None:
        """Run a job on the writer's thread, or now where there is none."""
        if self.writer is None:
            job()
        else:
            self.writer.put(job)

    def guarded(self, name: str, call: Callable[[], Any], kind: str = "pictures", size: int = 0) -> None:
        """Make one call of one backend."""
        self._lines[name].take(call, kind, size)

    def finish(self) -> None:
        """Send what waits, then close every backend."""
        self.flush()
        for name, backend in list(self.backends.items()):
            self._lines[name].finish(getattr(backend, "close", None))

    def flush(self) -> None:
        """Return when nothing is waiting for the writer's thread."""
        if self.writer is not None:
            self.writer.wait()
