"""TensorboardVisBackend: event files, written with the tensorboard package alone (no torch)."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from typing import Any

from seg_vis.arrays import to_rgb
from seg_vis.backends.base import BaseVisBackend, axis, config_text, plain_number
from seg_vis.files import encode
from seg_vis.libraries import load_library

__all__ = ["TensorboardVisBackend"]

INSTALL = '"seg-vis[tensorboard]"'


class TensorboardVisBackend(BaseVisBackend):
    """Scalars, pictures and the config in TensorBoard event files.

    Args:
        save_dir: folder of the event files.

    Raises:
        ImportError: at first use, where tensorboard is not installed.

    Example:
        >>> backend = TensorboardVisBackend("out/vis_data")          # writes nothing yet
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(str(save_dir))
        self._writer: Any = None
        self._left_out: set[str] = set()

    @property
    def experiment(self) -> Any:
        """The `EventFileWriter`; made at first use."""
        if self._writer is None:
            module = load_library("tensorboard.summary.writer.event_file_writer", "tensorboard", INSTALL)
            self._writer = module.EventFileWriter(self._save_dir)
            weakref.finalize(self, self._writer.close)
        return self._writer

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """The config as the text `config`."""
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        tensor = load_library("tensorboard.compat.proto.tensor_pb2", "tensorboard", INSTALL)
        types = load_library("tensorboard.compat.proto.types_pb2", "tensorboard", INSTALL)
        text = "".join(f"    {line}\n" for line in config_text(config).splitlines())
        meta = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name="text"))
        value = tensor.TensorProto(dtype=types.DT_STRING, string_val=[text.encode()])
        self._write(summary.Summary.Value(tag="config/text_summary", metadata=meta, tensor=value), 0)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """One picture under its name at a step."""
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        picture = to_rgb(image)
        height, width = picture.shape[:2]
        content = summary.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode(picture))
        self._write(summary.Summary.Value(tag=name, image=content), step)
        self.experiment.flush()

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """One number; text is left out, and so is anything else that is no number, with one line for its name."""
        number = plain_number(value)
        if number is None:
            if name not in self._left_out and not isinstance(value, str):
                logging.getLogger("seg_vis").warning("TensorBoard takes numbers; %s is %s", name, type(value).__name__)
            self._left_out.add(name)
            return
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        self._write(summary.Summary.Value(tag=name, simple_value=number), step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Several numbers of one step; `step` in the dict is taken as the step, the text `mode` left out."""
        step = axis(scalar_dict, step)
        for name, value in scalar_dict.items():
            if name not in ("step", "mode"):
                self.add_scalar(name, value, step)
        self.experiment.flush()

    def close(self) -> None:
        """Write everything and close the file; a later call opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, value: Any, step: int) -> None:
        event = load_library("tensorboard.compat.proto.event_pb2", "tensorboard", INSTALL)
        summary = load_library("tensorboard.compat.proto.summary_pb2", "tensorboard", INSTALL)
        content = summary.Summary(value=[value])
        self.experiment.add_event(event.Event(wall_time=time.time(), step=int(step), summary=content))
