"""Visualizer: draws into one picture, and hands pictures and numbers to its backends."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from seg_vis.arrays import Image, to_rgb
from seg_vis.backends.base import checked_number, checked_place, checked_step, plain_number
from seg_vis.backends.line_files import ResumePoint
from seg_vis.drawing import primitives
from seg_vis.drawing.feature_maps import feature_map
from seg_vis.drawing.text import font_size
from seg_vis.output.dispatch import Dispatch, make_backends
from seg_vis.output.mmengine import is_of_mmengine, mmengine_config
from seg_vis.output.ranks import first_process_only
from seg_vis.output.rows import Rows
from seg_vis.output.windows import show_window
from seg_vis.output.writer import Writer

__all__ = ["Visualizer"]


class VisualizerOptions(TypedDict, total=False):
    """Arguments of `Visualizer` beyond the first four."""

    fig_save_cfg: Mapping[str, Any] | None
    fig_show_cfg: Mapping[str, Any] | None
    font: str
    tag_style: str


class Visualizer:
    """A picture to draw in, and backends to send pictures, numbers and the config to.

    In a distributed run only the first process does anything. A backend that fails is reported once and tried again;
    it never stops the run.

    Args:
        name: name of the visualizer.
        image: a first picture, as for `set_image`.
        vis_backends: a backend, a config with `type`, or a list of them.
        save_dir: folder; backends that name none of their own write into its sub-folder `vis_data`.
        fig_save_cfg: taken and not used (MMEngine draws with matplotlib).
        fig_show_cfg: taken and not used.
        font: `"sans"` or the path of a font file, for languages that OpenCV's own fonts lack.
        tag_style: names of curves. `"mode"`: `train/loss`, `val/mIoU`; `"mmengine"`: `loss`, `mIoU`, where training
            and validation share the curve `time`. Records in files of JSON lines are MMEngine's in both.

    Example:
        >>> import numpy as np
        >>> canvas = Visualizer(image=np.zeros((20, 20, 3), np.uint8))
        >>> _ = canvas.draw_bboxes(np.array([[4, 4, 15, 15]]), edge_colors="w")
        >>> int(canvas.get_image().max())
        204
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: ArrayLike | None = None,
        vis_backends: object = None,
        save_dir: str | None = None,
        fig_save_cfg: Mapping[str, Any] | None = None,
        fig_show_cfg: Mapping[str, Any] | None = None,
        *,
        font: str = "sans",
        tag_style: str = "mode",
    ) -> None:
        self.name = name
        self.font = font
        self._dataset_meta: dict[str, Any] | None = None
        self._image: Image | None = None
        self._vis_backends = make_backends(vis_backends, None if save_dir is None else str(save_dir))
        self._dispatch = Dispatch(self._vis_backends)
        self._rows = Rows(self._dispatch, tag_style, save_dir)
        if image is not None:
            self.set_image(image)

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """`classes` and `palette` of the data set; the loops of a run set it."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: Mapping[str, Any] | None) -> None:
        self._dataset_meta = None if meta is None else dict(meta)

    # -- the picture -------------------------------------------------------------------------------------------

    @first_process_only
    def set_image(self, image: ArrayLike) -> None:
        """Take a picture to draw in (any form that `to_rgb` takes); the caller's array stays as it is."""
        self._image = np.array(to_rgb(image))

    @first_process_only
    def get_image(self) -> Image:
        """Return the picture, H x W x 3 uint8 RGB."""
        return self._canvas()

    def _canvas(self) -> Image:
        if self._image is None:
            raise ValueError("there is no picture yet: call set_image(image) first")
        return self._image

    @first_process_only
    def show(
        self,
        drawn_img: ArrayLike | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
        backend: str = "cv2",
    ) -> None:
        """Open a window until a key, its closing, or the end of `wait_time` seconds (0: for ever).

        Raises:
            RuntimeError: no screen, or the headless OpenCV.
            ValueError: another backend than `cv2` (`matplotlib` is taken and means the same).
        """
        if backend not in ("cv2", "matplotlib"):
            raise ValueError(f"backend must be 'cv2', got {backend!r}")
        show_window(self._canvas() if drawn_img is None else to_rgb(drawn_img), win_name, wait_time, continue_key)

    @first_process_only
    def draw_points(
        self, positions: ArrayLike, colors: object = "g", marker: str | None = None, sizes: object = None
    ) -> Visualizer:
        """Draw dots at (x, y); `sizes` are areas in square pixels."""
        primitives.points(self._canvas(), positions, colors, marker, sizes)
        return self

    @first_process_only
    def draw_texts(
        self,
        texts: str | Sequence[str],
        positions: ArrayLike,
        font_sizes: object = None,
        colors: object = "g",
        vertical_alignments: object = "top",
        horizontal_alignments: object = "left",
        font_families: object = "sans-serif",
        bboxes: object = None,
        **font_properties: object,
    ) -> Visualizer:
        """Write texts at (x, y), in pixels; `bboxes=dict(facecolor=...)` puts a box behind. Fonts: see `font`."""
        canvas = self._canvas()
        style = {
            "colors": colors,
            "vertical_alignments": vertical_alignments,
            "horizontal_alignments": horizontal_alignments,
            "bboxes": bboxes,
            "font": self.font,
        }
        sizes = font_size(*canvas.shape[:2]) if font_sizes is None else font_sizes
        primitives.texts(canvas, texts, positions, sizes, style)
        return self

    @first_process_only
    def draw_lines(
        self,
        x_datas: ArrayLike,
        y_datas: ArrayLike,
        colors: object = "g",
        line_styles: object = "-",
        line_widths: object = 2,
    ) -> Visualizer:
        """Draw lines from (x[0], y[0]) to (x[1], y[1]); both N x 2."""
        xs, ys = primitives.coordinates(x_datas, 2, "x_datas"), primitives.coordinates(y_datas, 2, "y_datas")
        if xs.shape != ys.shape:
            raise ValueError(f"x_datas and y_datas must have one shape, got {xs.shape} and {ys.shape}")
        primitives.lines(self._canvas(), np.stack([xs, ys], axis=-1), colors, line_styles, line_widths)
        return self

    @first_process_only
    def draw_circles(
        self,
        center: ArrayLike,
        radius: ArrayLike,
        edge_colors: object = "g",
        line_styles: object = "-",
        line_widths: object = 2,
        face_colors: object = "none",
        alpha: float = 0.8,
    ) -> Visualizer:
        """Draw circles with centres (x, y) and radii in pixels."""
        primitives.circles(
            self._canvas(), center, radius, outline(edge_colors, line_styles, line_widths, face_colors), alpha
        )
        return self

    @first_process_only
    def draw_bboxes(
        self,
        bboxes: ArrayLike,
        edge_colors: object = "g",
        line_styles: object = "-",
        line_widths: object = 2,
        face_colors: object = "none",
        alpha: float = 0.8,
    ) -> Visualizer:
        """Draw boxes, given as x1, y1, x2, y2.

        Raises:
            ValueError: a box whose end lies before its start.
        """
        boxes = primitives.coordinates(bboxes, 4, "bboxes")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError("bboxes must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        return self.draw_polygons(list(corners), edge_colors, line_styles, line_widths, face_colors, alpha)

    @first_process_only
    def draw_polygons(
        self,
        polygons: ArrayLike,
        edge_colors: object = "g",
        line_styles: object = "-",
        line_widths: object = 2,
        face_colors: object = "none",
        alpha: float = 0.8,
    ) -> Visualizer:
        """Draw polygons, one M x 2 array each (or a list of them)."""
        shapes = polygons if isinstance(polygons, list | tuple) else [polygons]
        corners = [primitives.coordinates(shape, 2, "polygons") for shape in shapes]
        primitives.polygons(self._canvas(), corners, outline(edge_colors, line_styles, line_widths, face_colors), alpha)
        return self

    @first_process_only
    def draw_binary_masks(self, binary_masks: ArrayLike, colors: object = "g", alphas: object = 0.8) -> Visualizer:
        """Tint where boolean masks, (N,) H x W, are true."""
        primitives.masks(self._canvas(), binary_masks, colors, alphas)
        return self

    draw_featmap = staticmethod(feature_map)

    # -- the backends ------------------------------------------------------------------------------------------

    def get_backend(self, name: str) -> Any:
        """Return a backend by its name (its class's, unless its config gives another); None where there is none."""
        return self._vis_backends.get(name)

    @first_process_only
    def add_config(self, config: object, **kwargs: object) -> None:
        """Send the config to every backend."""
        for name, backend in list(self._dispatch.backends.items()):
            if hasattr(backend, "add_config"):
                own = mmengine_config(config) if is_of_mmengine(backend) else config
                self._dispatch.guarded(name, functools.partial(backend.add_config, own, **kwargs), "add_config")

    @first_process_only
    def add_graph(self, model: object, data_batch: object = None, **kwargs: object) -> None:
        """Send the model to every backend."""
        self._dispatch.each("add_graph", model, data_batch, **kwargs)

    @first_process_only
    def add_image(self, name: str, image: ArrayLike, step: int = 0) -> None:
        """Send a picture (any form that `to_rgb` takes) to every backend."""
        picture, at = to_rgb(image), checked_step(step)
        if picture is image:  # it may wait for its turn, and the caller may draw on
            picture = picture.copy()
        self._dispatch.later(lambda: self._dispatch.each("add_image", str(name), picture, at))

    @first_process_only
    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Send one number to every backend: one of Python, numpy, or a tensor or array with one element.

        Raises:
            TypeError, ValueError: another value, or a step that is no whole number; nothing is sent then.
        """
        self._dispatch.each("add_scalar", str(name), checked_number(name, value), checked_step(step), **kwargs)

    @first_process_only
    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Send several numbers of one step to every backend; each takes what it can of what is no number.

        Raises:
            TypeError, ValueError: a step that is no whole number; nothing is sent then.
        """
        checked_place(scalar_dict, step)
        row = {str(key): value if (n := plain_number(value)) is None else n for key, value in scalar_dict.items()}
        self._rows.send(row, checked_step(step), file_path, **kwargs)

    def add_datasample(self, *args: Any, **kwargs: Any) -> None:
        """Draw a sample; what that means is for subclasses to say."""

    def write_in_background(self, queue_size: int = 8) -> None:
        """Let a thread of its own encode and write pictures from now on; at most `queue_size` wait."""
        if self._dispatch.writer is None:
            self._dispatch.writer = Writer(queue_size)

    def flush(self) -> None:
        """Return when every picture is written."""
        self._dispatch.flush()

    @property
    def lacks(self) -> int:
        """How many rows and pictures never reached their backend; what still waits counts once `close` gave it up."""
        return self._dispatch.lacks

    def close(self) -> None:
        """Write what is waiting, then close every backend; a later call opens them again."""
        self._dispatch.finish()

    @first_process_only
    def resume_from(
        self,
        step: int,
        *,
        owes_validation: bool = False,
        log_dir: str | Path | None = None,
        earlier: Iterable[str | Path] = (),
    ) -> None:
        """Say where the checkpoint stands that the run goes on from, after `load_state_dict`.

        Rows that the resumed run writes again are taken out of the files of earlier sessions (into
        `superseded.json`), or not sent twice where they are the same; TensorBoard and a local MLflow store go on in the
        folder of the first session.

        Args:
            step: iterations that the checkpoint has.
            owes_validation: the validation after that iteration is run again.
            log_dir: folder of this session's logs.
            earlier: those of the sessions before it, the oldest first.
        """
        folders = tuple(Path(folder) for folder in earlier)
        point = ResumePoint(checked_step(step), owes_validation, None if log_dir is None else Path(log_dir), folders)
        self._rows.resume_from(point)

    def state_dict(self) -> dict[str, Any]:
        """Return what backends need to go on where they were, such as the id of a run; plain values only."""
        states = {n: b.state_dict() for n, b in self._vis_backends.items() if hasattr(b, "state_dict")}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Hand each backend its state; names that are not here any more are passed over."""
        for name, state in state_dict.items():
            if hasattr(self._vis_backends.get(name), "load_state_dict"):
                self._vis_backends[name].load_state_dict(state)


def outline(edge_colors: object, line_styles: object, line_widths: object, face_colors: object) -> dict[str, Any]:
    """Return the four things that say how a shape looks, by name."""
    return {
        "edge_colors": edge_colors,
        "line_styles": line_styles,
        "line_widths": line_widths,
        "face_colors": face_colors,
    }
