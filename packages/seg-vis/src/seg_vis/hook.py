"""SegVisualizationHook: pictures of predictions while a run validates or tests."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_vis.arrays import Image, check_bands, check_stretch, to_rgb
from seg_vis.checks import check_flag, check_number, check_whole
from seg_vis.files import read_image
from seg_vis.libraries import load_cv2
from seg_vis.names import FileNames, printable
from seg_vis.output.ranks import first_process
from seg_vis.output.windows import check_windows
from seg_vis.protocols import DrawsSamples, HasShape, Position
from seg_vis.samples import field, image_path

__all__ = ["SegVisualizationHook"]


class SegVisualizationHook:
    """Draws samples of every `interval`-th batch of validation and test, never in training.

    A hook by shape: it needs no base class and no other package of ours. A picture that cannot be read or drawn is
    reported and left out; the run goes on. Pictures are written by a thread of their own, all of them before the
    pass ends. A picture has the name of its image; images of one name in two folders are told apart by the folder.

    Args:
        draw: whether to do anything.
        interval: every so many batches, each sample of the batch.
        show: open windows too; the backends still get everything.
        wait_time: seconds that a window stays; 0 or less waits for a key.
        backend_args: options for reading images from addresses such as `s3://...` (fsspec).
        file_client_args: old spelling of `backend_args`.
        samples: instead of every `interval`-th batch, this many samples, chosen by `seed`, the same at every pass.
        max_pictures: at most so many pictures a pass.
        seed: chooses `samples`.
        order: channel order of images that the batch holds; `"bgr"` for MMSegmentation's dict batches and `"rgb"`
            for others where it is None.
        bands: draw over these channels of the images that the batch holds, as for `to_rgb`; for images of more than
            three channels, which OpenCV does not read from files.
        stretch: with `bands`, the two percentiles that become black and white, as for `to_rgb`.
        background: write pictures on a thread of their own.
        picture: `"sheet"`: image, ground truth, prediction and errors with headings and a legend; `"plain"`:
            MMSegmentation's picture, ground truth beside prediction. A visualizer that knows no sheets draws its own.

    Raises:
        ValueError: an interval or a count below 1, or both spellings of `backend_args`.

    Example:
        >>> hook = SegVisualizationHook(draw=True, interval=1, samples=8)
        >>> hook.every_n_inner_iters(batch_idx=3, n=2)
        True
    """

    priority = "NORMAL"

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
        backend_args: dict[str, Any] | None = None,
        *,
        file_client_args: dict[str, Any] | None = None,
        samples: int | None = None,
        max_pictures: int | None = None,
        seed: int = 0,
        order: str | None = None,
        bands: Sequence[int] | None = None,
        stretch: tuple[float, float] | None = (2.0, 98.0),
        background: bool = True,
        picture: str = "sheet",
    ) -> None:
        if order not in (None, "rgb", "bgr"):
            raise ValueError(f"order must be 'rgb', 'bgr' or None, got {order!r}")
        if picture not in ("sheet", "plain"):
            raise ValueError(f"picture must be 'sheet' or 'plain', got {picture!r}")
        if backend_args is not None and file_client_args is not None:
            raise ValueError("file_client_args is the old name of backend_args: give one of them")
        self.draw = check_flag(draw, "draw")
        self.interval = check_whole(interval, "interval")
        self.show = check_flag(show, "show")
        self.wait_time = check_number(wait_time, "wait_time", -1)
        self.backend_args = backend_args if backend_args is not None else file_client_args
        self.samples = None if samples is None else check_whole(samples, "samples")
        self.max_pictures = None if max_pictures is None else check_whole(max_pictures, "max_pictures")
        self.seed = check_whole(seed, "seed", 0, 2**63)
        self.order = order
        self.bands = None if bands is None else check_bands(bands)
        self.stretch = None if stretch is None else check_stretch(stretch)
        self.background = check_flag(background, "background")
        self.picture = picture
        self._visualizer: Any = None
        self._chosen: set[int] | None = None
        self._seen = 0
        self._drawn = 0
        self._names = FileNames(endings=True)

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Tell whether this is the n-th batch of the pass, or a multiple."""
        return (batch_idx + 1) % n == 0 if n > 0 else False

    def before_run(self, runner: Position) -> None:
        """Take the run's visualizer.

        What would spoil every picture is an error here, rather than at the first validation.

        Raises:
            ImportError: OpenCV is missing, or a system library that it needs.
            RuntimeError: `show=True` where no window can be opened.
        """
        self._visualizer = runner.visualizer
        if self.draw and first_process():
            load_cv2()
            if self.show:
                check_windows()
        if self.draw and self.background and hasattr(self._visualizer, "write_in_background"):
            self._visualizer.write_in_background()

    def before_val_epoch(self, runner: Position) -> None:
        """Begin a pass: choose the samples, forget the counts."""
        self._begin(runner, "val")

    def before_test_epoch(self, runner: Position) -> None:
        """Begin a pass: choose the samples, forget the counts."""
        self._begin(runner, "test")

    def after_val_iter(
        self, runner: Position, batch_idx: int, data_batch: object = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the samples of this batch, if it is its turn."""
        self._after_iter(runner, batch_idx, data_batch, outputs, mode="val")

    def after_test_iter(
        self, runner: Position, batch_idx: int, data_batch: object = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the samples of this batch, if it is its turn."""
        self._after_iter(runner, batch_idx, data_batch, outputs, mode="test")

    def after_val_epoch(self, runner: Position, metrics: object = None) -> None:
        """Wait until the pictures of this pass are written."""
        self._flush()

    def after_test_epoch(self, runner: Position, metrics: object = None) -> None:
        """Wait until the pictures of this pass are written."""
        self._flush()

    def _begin(self, runner: Position, mode: str) -> None:
        self._seen = self._drawn = 0
        self._visualizer = runner.visualizer
        if self.samples is not None:
            self._chosen = choose(self.samples, pass_length(runner, mode), self.seed)

    def _flush(self) -> None:
        if self.draw and hasattr(self._visualizer, "flush"):
            self._visualizer.flush()

    def _after_iter(
        self, runner: Position, batch_idx: int, data_batch: object, outputs: Sequence[Any] | None, mode: str
    ) -> None:
        """Draw every sample of the batch that is wanted; a runner calls this one in training too, where nothing is."""
        if mode == "train" or not self.draw or not outputs or not first_process():
            return
        if self._visualizer is None or batch_idx == 0:
            self._begin(runner, mode)
        for position, sample in enumerate(outputs):
            if self._wanted(batch_idx, self._seen + position):
                self._draw_one(runner, data_batch, position, sample, mode)
        self._seen += len(outputs)

    def _wanted(self, batch_idx: int, number: int) -> bool:
        if self.max_pictures is not None and self._drawn >= self.max_pictures:
            return False
        if self._chosen is not None:
            return number in self._chosen
        return self.every_n_inner_iters(batch_idx, self.interval)

    def _draw_one(self, runner: Position, data_batch: object, position: int, sample: object, mode: str) -> None:
        path = image_path(sample)
        name = f"{mode}_{self._names.of(path) if path else self._seen + position}"
        try:
            self._visualizer.add_datasample(
                name,
                self._source(data_batch, position, sample, path),
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                step=runner.iter,
                **({"layout": "sheet"} if self.picture == "sheet" and knows_sheets(self._visualizer) else {}),
            )
            self._drawn += 1
        except Exception as error:
            log = getattr(runner, "logger", None) or logging.getLogger("seg_vis")
            reason = f"{type(error).__name__}: {error}"
            log.warning("no picture of %s: %s", printable(path or name, lines=False), printable(reason))

    def _source(self, data_batch: object, position: int, sample: object, path: str | None) -> Image:
        """Return the image, from the batch where it is still there as it was read, else from its file."""
        found = image_in_batch(data_batch, position)
        bgr = isinstance(data_batch, Mapping) if self.order is None else self.order == "bgr"
        layout = None if found is None else layout_by_labels(found, sample)
        if found is not None and self.bands is not None:
            return to_rgb(found, bands=self.bands, stretch=self.stretch, layout=layout)
        untouched = layout is not None and "uint8" in str(found.dtype)
        if found is not None and (path is None or untouched):
            return to_rgb(found, order="bgr" if bgr else "rgb", layout=layout)
        if path is None:
            raise ValueError("neither the sample has an img_path nor the batch the image")
        return read_image(path, self.backend_args)


def knows_sheets(visualizer: DrawsSamples) -> bool:
    """Tell whether the option `layout` may be given to a visualizer, which may be a user's own."""
    parameters = inspect.signature(visualizer.add_datasample).parameters.values()
    takes = any(one.name == "layout" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    return takes and bool(getattr(visualizer, "draws_sheets", False))


def choose(count: int, total: int | None, seed: int) -> set[int]:
    """Return positions of the samples to draw: a seeded choice, or the first ones where the length is not known."""
    if total is None or total <= count:
        return set(range(count))
    return {int(number) for number in np.random.default_rng(seed).choice(total, count, replace=False)}


def pass_length(runner: object, mode: str) -> int | None:
    """Return how many samples this process sees in a pass; None where nothing says."""
    loader = getattr(runner, f"{mode}_dataloader", None)
    try:
        return -(-len(loader.dataset) // int(getattr(runner, "world_size", 1)))  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        return None


def image_in_batch(data_batch: object, position: int) -> Any:
    """Return the image at a position of a batch: in `inputs` of a dict, or the first of a pair; None without one."""
    images = data_batch.get("inputs") if isinstance(data_batch, Mapping) else None
    if images is None and isinstance(data_batch, list | tuple) and data_batch:
        images = data_batch[0]
    try:
        image = images[position]  # type: ignore[index]
    except (TypeError, IndexError, KeyError):
        return None
    return image if hasattr(image, "shape") and len(image.shape) in (2, 3) else None


def layout_by_labels(image: HasShape, sample: object) -> str | None:
    """Return `chw` or `hwc`, where the image has the size of the sample's labels; None where it has another."""
    planes = [field(sample, f"{side}_sem_seg") for side in ("pred", "gt")]
    size = next((tuple(plane.shape[-2:]) for plane in planes if plane is not None), None)
    if len(image.shape) == 3 and tuple(image.shape[-2:]) == size:
        return "chw"
    return "hwc" if tuple(image.shape[:2]) == size else None
