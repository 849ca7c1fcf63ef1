"""Rows of numbers on their way to the backends: named as each takes them, and after a resume none twice."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_vis.backends.line_files import ResumePoint, axis
from seg_vis.backends.local import LocalVisBackend, RowBook, jsonable
from seg_vis.output.dispatch import Dispatch
from seg_vis.output.mmengine import is_of_mmengine, mmengine_row

__all__ = ["Rows"]

STYLES = ("mode", "mmengine")
PLACE = ("step", "iter", "epoch", "mode")
BY_THE_CLOCK = re.compile(r"(^|[/_])(time|eta|memory|speed|throughput|[a-z_]*per_second[a-z_]*)($|[/_])")
"""Names of what differs between two runs that are equal."""
Row = dict[str, Any]


class Rows:
    """Sends rows to every backend.

    Args:
        dispatch: calls the backends.
        tag_style: as for `Visualizer`.
        save_dir: where the visualizer writes.
    """

    def __init__(self, dispatch: Dispatch, tag_style: str, save_dir: str | Path | None) -> None:
        if tag_style not in STYLES:
            raise ValueError(f"tag_style must be one of {', '.join(map(repr, STYLES))}, got {tag_style!r}")
        self._dispatch = dispatch
        self._tag_style = tag_style
        self._there: dict[tuple[Any, int], str] = {}
        backends = dispatch.backends.values()
        if save_dir is not None and any(map(is_service, backends)) and not any(map(is_local, backends)):
            dispatch.add("sent.json", RowBook(str(Path(save_dir, "vis_data"))))

    def send(self, row: Row, step: int, file_path: str | None, **kwargs: object) -> None:
        """Send one row to each backend; to none that has it from before the resume."""
        named = row if self._tag_style == "mmengine" else tagged(row)
        known = self._there.pop(place_of(row, step), None)
        again = known is not None and known == lasting(row)
        for name, backend in self._dispatch.backends.items():
            if hasattr(backend, "add_scalars") and not (again and is_service(backend)):
                chosen = row if getattr(backend, "raw_rows", False) else named
                if is_of_mmengine(backend):
                    chosen = mmengine_row(row)
                call = functools.partial(backend.add_scalars, chosen, step, file_path, **kwargs)
                self._dispatch.guarded(name, call, "rows")

    def resume_from(self, point: ResumePoint) -> None:
        """Have the backends remove what is written again, and remember it for those that cannot."""
        for name, backend in self._dispatch.backends.items():
            if not hasattr(backend, "resume_from"):
                continue
            try:
                for row in backend.resume_from(point) or ():
                    self._there[place_of(row, 0)] = lasting(row)
            except Exception as error:
                text = "backend %s still has rows after iteration %d of earlier sessions; they occur twice now: %s"
                logging.getLogger("seg_vis").warning(text, name, point.step, error)


def is_service(backend: object) -> bool:
    """Tell whether a resumed training goes on in a run that keeps every row: it has an id, and removes none."""
    return hasattr(backend, "state_dict") and not getattr(backend, "removes_rows", False)


def is_local(backend: object) -> bool:
    """Tell whether a backend keeps rows in files."""
    return isinstance(backend, LocalVisBackend)


def tagged(row: Row) -> Row:
    """Return a record of LoggerHook with its mode in front of what it measures; any other as it is.

    Example:
        >>> tagged({"loss": 0.5, "mode": "train", "iter": 3})
        {'train/loss': 0.5, 'mode': 'train', 'iter': 3}
    """
    mode = row.get("mode")
    if not isinstance(mode, str) or not mode:
        return row
    lead = f"{mode}/"
    return {name if name in PLACE or name.startswith(lead) else lead + name: value for name, value in row.items()}


def place_of(row: Mapping[str, Any], step: int) -> tuple[Any, int]:
    """Return what a row is about and where it stands."""
    return str(row.get("mode") or ""), axis(row, step)


def lasting(row: Mapping[str, Any]) -> str:
    """Return a row as text, without what the clock decides."""
    kept = {name: jsonable(value) for name, value in row.items() if not BY_THE_CLOCK.search(name) and name != "step"}
    return json.dumps(kept, sort_keys=True)
