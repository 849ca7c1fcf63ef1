"""TensorboardVisBackend: event files, written with the tensorboard package alone (no torch)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_vis.arrays import Image, to_rgb
from seg_vis.backends.base import BaseVisBackend, checked_number, checked_step, config_text, numbers_and_step
from seg_vis.backends.events import EventFile, take_out_events
from seg_vis.backends.line_files import ResumePoint, session_of
from seg_vis.files import encode
from seg_vis.libraries import load_library
from seg_vis.names import printable

__all__ = ["TensorboardVisBackend"]

INSTALL = "tensorboard"
EVENTS = "events.out.tfevents.*"
VAL = ("val/", "val_")
"""How the names of what a validation writes begin."""


class TensorboardVisBackend(BaseVisBackend):
    """Scalars, pictures and the config in TensorBoard event files.

    A resumed training goes on in the folder of its first session, so that TensorBoard shows one run.

    Args:
        save_dir: folder of the event files.

    Raises:
        ImportError: at first use, where tensorboard is not installed.

    Example:
        >>> backend = TensorboardVisBackend("out/vis_data")          # writes nothing yet
    """

    removes_rows = True

    def __init__(self, save_dir: str) -> None:
        super().__init__(str(save_dir))
        self._writer: EventFile | None = None
        self._config: Any = None
        self._restart_at: int | None = None
        self._session: str | None = None
        self._left_out: set[str] = set()

    @property
    def experiment(self) -> Any:
        """The open event file; it has the methods of TensorBoard's `EventFileWriter`."""
        if self._writer is None:
            load_library("tensorboard.summary.writer.record_writer", "tensorboard", INSTALL)
            self._writer = EventFile(str(self._save_dir), self._restart_at)
        return self._writer

    def add_config(self, config: object, **kwargs: object) -> None:
        """Write the config as the text `config`, with the first number or picture, or at the end."""
        load_library("tensorboard.summary.writer.record_writer", "tensorboard", INSTALL)
        self._config = config_text(config)
        if self._writer is not None:
            self._send_config()

    def _send_config(self) -> None:
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        tensor = load_library("tensorboard.compat.proto.tensor_pb2", "tensorboard", INSTALL)
        types = load_library("tensorboard.compat.proto.types_pb2", "tensorboard", INSTALL)
        text = "".join(f"    {line}\n" for line in self._config.splitlines())  # a block of code: nothing in it acts
        meta = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name="text"))
        value = tensor.TensorProto(dtype=types.DT_STRING, string_val=[text.encode("utf-8", "replace")])
        self._write([summary.Summary.Value(tag="config/text_summary", metadata=meta, tensor=value)], 0)
        self._config = None

    def add_image(self, name: str, image: Image, step: int = 0, **kwargs: object) -> None:
        """Write one picture under its name at a step."""
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        picture = to_rgb(image)
        height, width = picture.shape[:2]
        content = summary.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode(picture))
        self._begin_and_write([summary.Summary.Value(tag=tag(name), image=content)], checked_step(step))

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Write one number.

        Raises:
            TypeError: it is none.
        """
        self.add_scalars({name: checked_number(name, value)}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Write several numbers of one step; `step` in the dict is taken as the step, the text `mode` left out.

        What is no number is left out, with one line for its name; text without one.
        """
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        numbers, at = numbers_and_step(scalar_dict, step)
        others = {str(name): value for name, value in scalar_dict.items()}
        for name in others.keys() - numbers.keys() - {"step", "mode"} - self._left_out:
            if not isinstance(others[name], str):
                kind = type(others[name]).__name__
                logging.getLogger("seg_vis").warning("TensorBoard takes numbers; %s is %s", tag(name), kind)
            self._left_out.add(name)
        values = [summary.Summary.Value(tag=tag(name), simple_value=number) for name, number in numbers.items()]
        if values:
            self._begin_and_write(values, at)

    def resume_from(self, point: ResumePoint) -> None:
        """Go on in the folder of the first session, without the values that this one writes again."""
        own = Path(str(self._save_dir))
        for folder in point.folders(own).values():
            for path in folder.glob(EVENTS):
                take_out_events(path, lambda tags, at: point.repeats(mode_of(tags), at))
        begun = point.begun(own, EVENTS, self._session)
        if begun is not None and self._writer is None:
            self._save_dir = str(begun)
        self._restart_at = point.step + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the session whose folder holds the events, so that a resumed training goes on in it."""
        return {"session": session_of(str(self._save_dir))}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Remember the session of a checkpoint."""
        self._session = str(state_dict.get("session") or "") or None

    def close(self) -> None:
        """Write what is left; a later call opens another file."""
        if self._config is not None:
            self._send_config()
        self._writer = None

    def _begin_and_write(self, values: list[Any], step: int) -> None:
        if self._config is not None:
            self._send_config()
        self._write(values, step)

    def _write(self, values: list[Any], step: int) -> None:
        event = load_library("tensorboard.compat.proto.event_pb2", "tensorboard", INSTALL)
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        content = summary.Summary(value=values)
        self.experiment.add_event(event.Event(wall_time=time.time(), step=step, summary=content))


def mode_of(tags: list[str]) -> str:
    """Return `val` if a validation wrote values of these names, else an empty text."""
    return "val" if any(name.startswith(VAL) for name in tags) else ""


def tag(name: str) -> str:
    """Return a name that TensorBoard's page takes: without control characters, and not empty."""
    return printable(name, lines=False) or "_"
