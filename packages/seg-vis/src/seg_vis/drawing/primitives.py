"""Points, lines, shapes, masks and texts, drawn into a picture in place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_vis.arrays import Image, no_nan, to_numpy
from seg_vis.checks import check_alpha
from seg_vis.drawing.colours import colour, colour_list, dashes, numbers, spread
from seg_vis.drawing.text import draw_text, text_size
from seg_vis.libraries import load_cv2

__all__ = ["circles", "coordinates", "lines", "masks", "points", "polygons", "texts"]

Style = dict[str, Any]
SHIFT = 4
"""OpenCV takes whole numbers, of which so many bits stand for parts of a pixel."""
FAR, MOST_AREA, MOST_WIDTH, MOST_LETTERS = 1e5, 1e9, 1000, 500
"""In pixels; FAR is outside of every picture, and times 16 still fits the 32 bits that OpenCV takes."""
"""Coordinates and sizes, in pixels, that no picture needs more than; OpenCV crashes at larger ones."""


def coordinates(value: object, columns: int, name: str) -> NDArray[np.float64]:
    """Return N x `columns` numbers, far ones brought nearer; one row may come alone.

    Raises:
        TypeError: no array or tensor.
        ValueError: another shape.
    """
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array or a tensor, got {type(value).__name__}")
    array = np.atleast_2d(to_numpy(value, name).astype(np.float64))
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} must have shape (N, {columns}), got {tuple(value.shape)}")
    no_nan(array, name)
    return np.clip(array, -FAR, FAR)


def fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return coordinates as OpenCV takes them, in sixteenths of a pixel."""
    return np.rint(np.clip(points, -FAR, FAR) * (1 << SHIFT)).astype(np.int32)


def report_outside(image: Image, points: NDArray[np.float64], name: str) -> None:
    """Say so where something lies outside the picture; it is drawn as far as it is inside."""
    height, width = image.shape[:2]
    outside = ((points < 0) | (points > [width, height])).any(axis=1).sum()
    if outside:
        text = "%s: %d of %d points lie outside the picture of %d x %d"
        logging.getLogger("seg_vis").warning(text, name, outside, len(points), width, height)


def transparent(image: Image, alpha: float, draw: Callable[[Image], None]) -> None:
    """Draw on a copy and mix the two; only what was drawn changes."""
    if check_alpha(alpha) == 1:
        draw(image)
        return
    layer = image.copy()
    draw(layer)
    load_cv2().addWeighted(image, 1.0 - alpha, layer, alpha, 0.0, image)


def points(
    image: Image, positions: ArrayLike, colors: object = "g", marker: str | None = None, sizes: object = None
) -> None:
    """Draw filled dots; with `marker` crosses (`+`, `x`), stars, squares, diamonds or triangles."""
    cv2 = load_cv2()
    places = coordinates(positions, 2, "positions")
    report_outside(image, places, "points")
    radii = np.sqrt(numbers(20.0 if sizes is None else sizes, len(places), "sizes", 0, MOST_AREA))
    kinds = {"+": "CROSS", "x": "TILTED_CROSS", "*": "STAR", "s": "SQUARE", "D": "DIAMOND", "^": "TRIANGLE_UP"}
    for place, tint, radius in zip(places, colour_list(colors, len(places)), radii, strict=True):
        if marker in (None, "o", "."):
            at = [int(part) for part in fixed(place)]
            cv2.circle(image, at, int(radius / 2 * (1 << SHIFT)), tint, cv2.FILLED, cv2.LINE_AA, SHIFT)
        elif marker in kinds:
            kind = getattr(cv2, f"MARKER_{kinds[str(marker)]}")
            cv2.drawMarker(image, [round(part) for part in place], tint, kind, max(3, int(radius)), 1, cv2.LINE_AA)
        else:
            raise ValueError(f"a marker is one of 'o', {', '.join(map(repr, kinds))}, got {marker!r}")


def lines(image: Image, starts_ends: NDArray[np.float64], colors: object, styles: object, widths: object) -> None:
    """Draw straight lines, N x 2 x 2 (start and end, x and y)."""
    count = len(starts_ends)
    report_outside(image, starts_ends.reshape(-1, 2), "lines")
    kinds, thick = spread(styles, count, "line_styles"), numbers(widths, count, "line_widths", 0, MOST_WIDTH)
    for line, tint, style, width in zip(starts_ends, colour_list(colors, count), kinds, thick, strict=True):
        stroke(image, line, tint, style, width)


def stroke(image: Image, line: NDArray[np.float64], tint: object, style: str, width: float) -> None:
    """Draw one line through some points; of width 0 there is none."""
    cv2 = load_cv2()
    if tint is None or not width:
        return
    pieces = [fixed(piece) for piece in dashes(line, style, width)]
    cv2.polylines(image, pieces, False, tint, max(1, round(width)), cv2.LINE_AA, SHIFT)


def polygons(image: Image, shapes: Sequence[NDArray[np.float64]], style: Style, alpha: float) -> None:
    """Draw closed shapes with an edge and, where `face_colors` is not "none", a filling."""
    cv2 = load_cv2()
    count = len(shapes)
    edges, faces = colour_list(style["edge_colors"], count), colour_list(style["face_colors"], count)
    kinds = spread(style["line_styles"], count, "line_styles")
    widths = numbers(style["line_widths"], count, "line_widths", 0, MOST_WIDTH)

    def draw(layer: Image) -> None:
        for shape, edge, face, kind, width in zip(shapes, edges, faces, kinds, widths, strict=True):
            if face is not None:
                cv2.fillPoly(layer, [fixed(shape)], face, cv2.LINE_AA, SHIFT)
            stroke(layer, np.concatenate([shape, shape[:1]]), edge, kind, width)

    for shape in shapes:
        report_outside(image, shape, "shapes")
    transparent(image, alpha, draw)


def circles(image: Image, center: ArrayLike, radius: ArrayLike, style: Style, alpha: float) -> None:
    """Draw circles, as polygons of enough corners."""
    middles = coordinates(center, 2, "center")
    listed = to_numpy(radius, "radius").ravel()
    if len(listed) != len(middles):
        raise ValueError(f"{len(middles)} centres and {len(listed)} radii: there must be as many (radius)")
    radii = numbers(listed, len(middles), "radius", 0, FAR)
    shapes = []
    for middle, reach in zip(middles, radii, strict=True):
        corners = max(16, int(np.pi * reach))
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        shapes.append(middle + reach * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    polygons(image, shapes, style, alpha)


def masks(image: Image, binary_masks: ArrayLike, colors: object, alphas: object) -> None:
    """Tint where boolean masks (N x H x W or H x W) are true, one after another.

    Raises:
        TypeError: masks that are not boolean.
        ValueError: another size than the picture's.
    """
    array = to_numpy(binary_masks, "binary_masks")
    if array.dtype != np.bool_:
        raise TypeError(f"binary_masks must be boolean, got {array.dtype}: compare or cast them first")
    planes = array[None] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[1:] != image.shape[:2]:
        raise ValueError(f"binary_masks must be (N,) {image.shape[0]} x {image.shape[1]}, got shape {array.shape}")
    tints, weights = colour_list(colors, len(planes)), numbers(alphas, len(planes), "alphas", 0, 1)
    for plane, tint, alpha in zip(planes, tints, weights, strict=True):
        inside = image[plane].astype(np.float64)
        image[plane] = np.rint((1 - alpha) * inside + alpha * np.array(tint or (0, 0, 0), np.float64))


def texts(image: Image, words: str | Sequence[str], positions: ArrayLike, sizes: object, style: Style) -> None:
    """Write texts, each at a position that is its top, centre or bottom, left, centre or right."""
    lines_of_text = [words] if isinstance(words, str) else list(words)
    places = coordinates(positions, 2, "positions")
    count = len(lines_of_text)
    if len(places) != count:
        raise ValueError(f"{count} texts and {len(places)} positions: there must be as many")
    tints = colour_list(style["colors"], count)
    keys = ("vertical_alignments", "horizontal_alignments", "bboxes")
    looks = list(zip(*(spread(style[key], count, key) for key in keys), strict=True))
    for i, size in enumerate(numbers(sizes, count, "font_sizes", 1, MOST_LETTERS)):
        one_text(image, lines_of_text[i], places[i], int(size), tints[i] or (0, 0, 0), looks[i], style["font"])


def one_text(
    image: Image,
    text: str,
    place: NDArray[np.float64],
    size: int,
    tint: tuple[int, int, int],
    look: tuple[str, str, dict[str, Any] | None],
    font: str,
) -> None:
    """Write one text, of one line or several, on a box where `bboxes` asks for one."""
    cv2 = load_cv2()
    words = text.split("\n")
    extents = [text_size(line, size, font) for line in words]
    width, height = max(extent[0] for extent in extents), sum(extent[1] for extent in extents)
    shares = {"top": 0.0, "left": 0.0, "center": 0.5, "bottom": 1.0, "baseline": 0.8, "right": 1.0}
    for word in look[:2]:
        if word not in shares:
            raise ValueError(f"an alignment is one of {', '.join(shares)}, got {word!r}")
    x, y = round(place[0] - shares[look[1]] * width), round(place[1] - shares[look[0]] * height)
    if look[2] is not None:
        back = colour(look[2].get("facecolor", "white"))
        corner, end = (x - 2, y - 2), (x + width + 1, y + height + 1)
        weight = float(look[2].get("alpha", 1.0))
        transparent(image, weight, lambda layer: cv2.rectangle(layer, corner, end, back or (255, 255, 255), cv2.FILLED))
    for line, (_, down) in zip(words, extents, strict=True):
        draw_text(image, line, (x, y), size, tint, font)
        y += down
