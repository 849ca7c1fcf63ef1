"""The front door: a label map over an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_vis.arrays import Image, Labels, as_labels, check_same_size, to_rgb
from seg_vis.checks import check_alpha, check_flag
from seg_vis.drawing.blend import (
    KEEP,
    blend_and_look,
    blend_many,
    few_codes,
    label_codes,
    shown_labels,
    warn_unknown_labels,
)
from seg_vis.drawing.label_places import anchors, place
from seg_vis.drawing.palettes import Palette, get_classes, is_made, resolve
from seg_vis.drawing.text import font_size, shortened, tag_margin, tag_size, write_tag
from seg_vis.libraries import load_cv2

__all__ = ["class_names", "overlay", "paint", "write_names"]

MOST_COVERED = 0.2
"""Names may hide this share of a picture: letters get smaller, and then names are left out, until they do."""
SMALLEST = 8
"""Height of the smallest letters that can be read."""


def overlay(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    palette: object,
    classes: Sequence[str] | None = None,
    alpha: float = 0.5,
    ignore_index: int | None = 255,
    with_labels: bool = False,
    only: Sequence[int] | None = None,
) -> Image:
    """Tint each pixel of an image with the colour of its label.

    Every pixel is `round((1 - alpha) * image + alpha * palette[label])`; pixels that are ignored, or whose label has
    no colour, keep the image. The picture has the image's size. The time does not depend on the number of classes.

    Args:
        image: H x W, H x W x 3 or any other form that `to_rgb` takes; RGB.
        labels: H x W or 1 x H x W whole numbers, arrays or tensors on any device.
        palette: N x 3 colours, the name of a data set (`"cityscapes"`), `"distinct"` or `"colour_blind"`.
        classes: one name a colour; those of the data set where `palette` names one.
        alpha: weight of the colours, from 0 to 1.
        ignore_index: the label that means "no label".
        with_labels: write the name of each class into the picture; of more than 255 classes, those with most pixels.
        only: paint these labels only.

    Returns:
        H x W x 3 uint8, RGB.

    Raises:
        ValueError: sizes that differ, classes and colours of different number, empty or NaN input.

    Example:
        >>> import numpy as np
        >>> grey = np.full((2, 2), 100, np.uint8)
        >>> overlay(grey, [[0, 1], [1, 255]], palette=[[0, 0, 0], [255, 0, 0]])[..., 0]
        array([[ 50, 178],
               [178, 100]], dtype=uint8)
    """
    rgb, plane = to_rgb(image), as_labels(labels)
    check_same_size(rgb, plane)
    colours = resolve(palette, classes)
    names = class_names(palette, classes, len(colours)) if check_flag(with_labels, "with_labels") else None
    shown = shown_labels(len(colours), ignore_index, only)
    return paint(rgb, plane, colours, shown, check_alpha(alpha), ignore_index, names)


def paint(
    rgb: Image,
    plane: Labels,
    colours: Palette,
    shown: NDArray[np.bool_],
    alpha: float,
    ignore_index: int | None,
    names: Sequence[str] | None = None,
    font: str = "sans",
) -> Image:
    """Draw labels over an image, from input that is checked already."""
    if len(colours) > KEEP:
        picture = blend_many(rgb, plane, colours, alpha, shown)
        warn_unknown_labels(plane, len(colours), ignore_index)
        if names is not None:
            codes, there = few_codes(plane, shown)
            write_names(picture, codes, colours[there], [names[label] for label in there], font)
        return picture
    codes, lost = label_codes(plane, shown)
    picture, unknown = blend_and_look(rgb, codes, colours, alpha)
    if lost or unknown:
        warn_unknown_labels(plane, len(colours), ignore_index)
    if names is not None:
        write_names(picture, codes, colours, names, font)
    return picture


def class_names(palette: object, classes: Sequence[str] | None, count: int) -> list[str]:
    """Return the names to write: those given (a number where one is empty), the data set's, or the numbers."""
    if classes is not None:
        return [str(name).strip() or str(label) for label, name in enumerate(classes)]
    if isinstance(palette, str) and not is_made(palette):
        return get_classes(palette)
    return [str(label) for label in range(count)]


def write_names(
    picture: Image, codes: NDArray[np.uint8], colours: Palette, names: Sequence[str], font: str = "sans"
) -> None:
    """Write the names of the classes that are there into the picture, inside it and none over another.

    They cover a fifth of the picture at most: letters are as small as can be read where there are many names or the
    picture is small; where that is not enough, the classes with fewest pixels are left out.
    """
    height, width = codes.shape
    there = load_cv2().calcHist([codes], [0], None, [256], [0, 256]).ravel()
    present = [int(code) for code in np.flatnonzero(there) if code < len(colours)]
    points = anchors(codes, present)
    size = font_size(height, width)
    words, sizes = tags(names, points, size, width, font)
    while size > SMALLEST and covered(sizes) > MOST_COVERED * height * width:
        size -= 1
        words, sizes = tags(names, points, size, width, font)
    for label in sorted(sizes, key=lambda label: there[label])[:-1]:
        if covered(sizes) > MOST_COVERED * height * width:
            del sizes[label]
    boxes = place(list(sizes.values()), [points[label] for label in sizes], width, height)
    for label, box in zip(sizes, boxes, strict=True):
        if box is not None:
            write_tag(picture, words[label], box, size, colours[label], font)


def tags(
    names: Sequence[str], points: Iterable[int], size: int, width: int, font: str
) -> tuple[dict[int, str], dict[int, tuple[int, int]]]:
    """Return what is written for each label, and how large; labels without room for three letters are left out."""
    room = width - 2 * tag_margin(size)
    words = {label: shortened(names[label], size, room, font) for label in points}
    return words, {label: tag_size(word, size, font) for label, word in words.items() if word}


def covered(sizes: Mapping[int, tuple[int, int]]) -> int:
    """Tell which pixels lie under a tag."""
    return sum(width * height for width, height in sizes.values())
