"""SegLocalVisualizer: a data sample's ground truth and prediction as one picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from seg_vis.arrays import Image, Labels, as_labels, check_same_size, to_rgb
from seg_vis.backends.base import checked_step
from seg_vis.checks import check_alpha, check_flag, check_label, check_labels
from seg_vis.drawing.blend import shown_labels
from seg_vis.drawing.feature_maps import depth_map
from seg_vis.drawing.maps import error_map
from seg_vis.drawing.mmseg_blend import legacy_paint
from seg_vis.drawing.overlays import class_names, paint
from seg_vis.drawing.palettes import Palette, get_classes, resolve
from seg_vis.drawing.sheets import columns_for, magnified, panels, reduced, with_legend
from seg_vis.files import write_image
from seg_vis.output.ranks import first_process_only
from seg_vis.protocols import TakesImages
from seg_vis.samples import check_sample, field
from seg_vis.visualizer import Visualizer, VisualizerOptions

__all__ = ["SegLocalVisualizer"]


class DrawOptions(TypedDict, total=False):
    """Keywords of `add_datasample` beyond the first eight."""

    step: int
    with_labels: bool
    withLabels: bool
    with_image: bool
    with_errors: bool
    layout: str


DEFAULTS: DrawOptions = {
    "step": 0,
    "with_labels": True,
    "with_image": False,
    "with_errors": False,
    "layout": "plain",
}
LAYOUTS = ("plain", "sheet")
TITLES = {"gt": "ground truth", "pred": "prediction"}


class SegLocalVisualizer(Visualizer):
    """Draws segmentations and depth maps of data samples, and sends them to its backends.

    Args:
        name: name of the visualizer.
        image: a first picture, as for `set_image`.
        vis_backends: a backend, a config with `type`, or a list of them.
        save_dir: folder; backends that name none of their own write into its sub-folder `vis_data`.
        classes: names of the classes.
        palette: one colour a class, or a name as for `overlay`; made to measure where only `classes` is given.
        dataset_name: a known data set, for what the two leave open; without all three, `cityscapes`.
        alpha: weight of the colours, from 0 to 1.
        legacy_blend: MMSegmentation's picture bit for bit: truncated, ignored pixels darkened, names blended.
        ignore_index: the label that means "no label".
        only: paint these labels only.
        **kwargs: arguments of `Visualizer`.

    Raises:
        ValueError: classes and colours of different number, or a data set that is not known.

    Example:
        >>> import numpy as np
        >>> visualizer = SegLocalVisualizer(classes=["road", "car"], palette=[[0, 0, 0], [200, 0, 0]])
        >>> sample = {"gt_sem_seg": np.zeros((4, 4), int), "pred_sem_seg": np.ones((4, 4), int)}
        >>> visualizer.add_datasample("street", np.zeros((4, 4, 3), np.uint8), sample, with_labels=False)
        >>> visualizer.get_image().shape
        (4, 8, 3)
    """

    @property
    def draws_sheets(self) -> bool:
        """Whether pictures with headings are wanted where nobody says; not where pixels are compared."""
        return not self._legacy_blend

    def __init__(
        self,
        name: str = "visualizer",
        image: ArrayLike | None = None,
        vis_backends: object = None,
        save_dir: str | None = None,
        classes: Sequence[str] | None = None,
        palette: object = None,
        dataset_name: str | None = None,
        alpha: float = 0.8,
        *,
        legacy_blend: bool = False,
        ignore_index: int | None = 255,
        only: Sequence[int] | None = None,
        **kwargs: Unpack[VisualizerOptions],
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir, **kwargs)
        self.alpha = check_alpha(alpha)
        self._legacy_blend = check_flag(legacy_blend, "legacy_blend")
        self._ignore_index, self._only = check_label(ignore_index, "ignore_index"), check_labels(only, "only")
        self.set_dataset_meta(classes=classes, palette=palette, dataset_name=dataset_name)

    def set_dataset_meta(
        self, classes: Sequence[str] | None = None, palette: object = None, dataset_name: str | None = None
    ) -> None:
        """Say what the labels are; what is left open comes from `dataset_name`.

        Raises:
            ValueError: classes and colours of different number, or a data set that is not known.
        """
        if dataset_name is None and not classes and palette is None:
            dataset_name = "cityscapes"
        if dataset_name is not None:
            classes = classes or get_classes(dataset_name)
            palette = dataset_name if palette is None else palette
        meta: dict[str, Any] = {"classes": None if classes is None else tuple(classes), "palette": palette}
        colours, names = colours_and_names(meta)
        self.dataset_meta = {"classes": tuple(names), "palette": colours.tolist()}

    @first_process_only
    def add_datasample(
        self,
        name: str,
        image: ArrayLike,
        data_sample: object = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        **options: Unpack[DrawOptions],
    ) -> None:
        """Draw ground truth (left) and prediction (right), and send the picture on.

        Args:
            name: name of the picture; `/` makes sub-folders.
            image: any form that `to_rgb` takes; RGB.
            data_sample: has `gt_sem_seg`, `pred_sem_seg`, `gt_depth_map`, `pred_depth_map` or some of them, as
                arrays, tensors or objects with `data`; a dict or any object.
            draw_gt: draw the ground truth, if it is there.
            draw_pred: draw the prediction, if it is there.
            show: also open a window.
            wait_time: close it after so many seconds; 0 waits for a key.
            out_file: write this file and send nothing to the backends.
            **options: `step=0`; `with_labels=True` (also spelled `withLabels`) writes class names; `with_image`
                puts the image itself on the left; `with_errors` puts an error map on the right. `layout="sheet"`
                has all of these with headings and a legend instead, small pictures enlarged.

        Raises:
            ValueError: sizes that differ, empty or NaN input, a dict with none of the four.
            TypeError: an option that is not known, or no data sample.
        """
        asked = read_options(options)
        check_sample(data_sample)
        rgb = to_rgb(image)
        masks = self._masks(rgb, data_sample, draw_gt, draw_pred)
        sides = [side for side, wanted in (("gt", draw_gt), ("pred", draw_pred)) if wanted]
        if asked["layout"] == "sheet":
            picture = self._sheet(rgb, data_sample, sides, masks)
        else:
            picture = self._plain(rgb, data_sample, sides, masks, asked)
        self._image = picture.copy()
        if out_file is not None:
            write_image(out_file, picture)
        else:
            self._send(str(name), picture, (rgb, masks), checked_step(asked["step"]))
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)

    def _plain(
        self, rgb: Image, sample: object, sides: Sequence[str], masks: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> Image:
        """Put the parts beside one another, as MMSegmentation has them."""
        drawn = [self._part(rgb, sample, side, asked["with_labels"]) for side in sides]
        parts = [rgb] * asked["with_image"] + [part for part in drawn if part is not None]
        if asked["with_errors"] and len(masks) == 2:
            parts.append(error_map(rgb, masks["ground truth"], masks["prediction"], ignore_index=self._ignore_index))
        return side_by_side(parts or [rgb])

    def _sheet(self, rgb: Image, sample: object, sides: Sequence[str], masks: Mapping[str, Any]) -> Image:
        """Draw image, ground truth, prediction and errors under headings, and the classes that occur."""
        drawn = {TITLES[side]: self._part(rgb, sample, side, with_labels=False) for side in sides}
        named = {"image": rgb, **{title: part for title, part in drawn.items() if part is not None}}
        if len(masks) == 2:
            truth, guess = masks["ground truth"], masks["prediction"]
            errors = error_map(rgb, truth, guess, ignore_index=self._ignore_index)
            named[error_title(truth, guess, self._ignore_index)] = errors
        times = magnified(rgb.shape)
        shown = {title: reduced(part.repeat(times, 0).repeat(times, 1)) for title, part in named.items()}
        sheet = panels(shown, columns=columns_for(list(shown.values())), font=self.font)
        colours, names = colours_and_names(self.dataset_meta or {})
        return with_legend(sheet, colours, names, self._listed(masks, len(colours)), self.font)

    def _listed(self, masks: Mapping[str, Any], count: int) -> list[int]:
        """Return the classes that are painted somewhere."""
        shown = shown_labels(count, self._ignore_index, self._only)
        there = {int(label) for plane in masks.values() for label in np.unique(plane)}
        return [label for label in sorted(there) if 0 <= label < count and shown[label]]

    def _masks(self, rgb: Image, sample: object, draw_gt: bool, draw_pred: bool) -> dict[str, Any]:
        """Return the label maps to draw, by what they are."""
        wanted = {"ground truth": ("gt_sem_seg", draw_gt), "prediction": ("pred_sem_seg", draw_pred)}
        found = {key: field(sample, name) for key, (name, draw) in wanted.items() if draw}
        masks = {key: as_labels(value, key) for key, value in found.items() if value is not None}
        for key, plane in masks.items():
            check_same_size(rgb, plane, key)
        return masks

    def _part(self, rgb: Image, sample: object, side: str, with_labels: bool) -> Image | None:
        """Draw one side of the picture: segmentation, depth under it; None where the sample has neither."""
        labels, depth = field(sample, f"{side}_sem_seg"), field(sample, f"{side}_depth_map")
        if labels is None and depth is None:
            return None
        picture = rgb if labels is None else self._draw_sem_seg(rgb, labels, with_labels)
        return picture if depth is None else np.concatenate([picture, depth_map(depth, rgb.shape[:2])])

    def _draw_sem_seg(self, rgb: Image, labels: ArrayLike, with_labels: bool) -> Image:
        """Draw one label map over the image."""
        plane = as_labels(labels)
        colours, names = colours_and_names(self.dataset_meta or {})
        written = names if with_labels else None
        if self._legacy_blend:
            return legacy_paint(rgb, plane, colours, self.alpha, written)
        shown = shown_labels(len(colours), self._ignore_index, self._only)
        return paint(rgb, plane, colours, shown, self.alpha, self._ignore_index, written, self.font)

    def _send(self, name: str, picture: Image, source: tuple[Image, dict[str, Any]], step: int) -> None:
        """Send the picture to every backend; the image and its masks to those that draw themselves."""
        classes = list((self.dataset_meta or {}).get("classes") or ())
        rgb, masks = source
        if any(hasattr(backend, "add_masks") for backend in self._vis_backends.values()):
            # the caller may go on writing into them while they wait
            rgb, masks = rgb.copy(), {key: plane.copy() for key, plane in masks.items()}
        size = picture.nbytes + rgb.nbytes + sum(plane.nbytes for plane in masks.values())

        def send(backend: TakesImages) -> None:
            add_masks = getattr(backend, "add_masks", None) if masks else None
            if add_masks is None or not add_masks(name, rgb, masks, classes, step):
                backend.add_image(name, picture, step)

        def send_to_all() -> None:
            for key, backend in self._vis_backends.items():
                self._dispatch.guarded(key, functools.partial(send, backend), "pictures", size)

        self._dispatch.later(send_to_all)


def read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options with their defaults; the camel-case spelling of MMSegmentation's documents is taken too."""
    asked = dict(options)
    if "withLabels" in asked:
        asked["with_labels"] = asked.pop("withLabels")
    unknown = set(asked) - set(DEFAULTS)
    if unknown:
        raise TypeError(f"add_datasample does not know {', '.join(sorted(unknown))}; it takes {', '.join(DEFAULTS)}")
    if asked.get("layout", "plain") not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(map(repr, LAYOUTS))}, got {asked['layout']!r}")
    return {**DEFAULTS, **asked}


def error_title(truth: Labels, guess: Labels, ignore_index: int | None) -> str:
    """Return a heading that says how much is wrong."""
    counts = truth != ignore_index if ignore_index is not None else np.ones(truth.shape, bool)
    total = int(np.count_nonzero(counts))
    wrong = int(np.count_nonzero(counts & (truth != guess)))
    return f"errors: {wrong / total:.1%}" if total else "errors: no label"


def colours_and_names(meta: Mapping[str, Any]) -> tuple[Palette, list[str]]:
    """Return palette and class names of a data set; a missing palette is made, missing names are numbers."""
    classes, palette = meta.get("classes") or None, meta.get("palette")
    if palette is None or (hasattr(palette, "__len__") and len(palette) == 0):
        palette = "distinct"
    colours = resolve(palette, classes)
    return colours, class_names(palette, classes, len(colours))


def side_by_side(parts: Sequence[Image]) -> Image:
    """Put pictures side by side, black under those that are lower."""
    height = max(part.shape[0] for part in parts)
    even = [np.pad(part, ((0, height - part.shape[0]), (0, 0), (0, 0))) for part in parts]
    return even[0] if len(even) == 1 else np.concatenate(even, axis=1)
