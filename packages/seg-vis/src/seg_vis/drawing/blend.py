"""The blend: one look-up and one weighted sum per pixel, in strips that stay in the processor's cache."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import Image, Labels
from seg_vis.checks import check_label, check_labels
from seg_vis.drawing.palettes import Palette
from seg_vis.libraries import load_cv2

__all__ = [
    "blend",
    "blend_and_look",
    "blend_many",
    "byte_values",
    "few_codes",
    "label_codes",
    "shown_labels",
    "warn_unknown_labels",
]

STRIP_PIXELS = 1 << 18
"""A strip and its result stay in the cache."""
PATCH_PIXELS = 1 << 16
"""Less than what malloc asks the system for each time: fresh pages cost more than the work on them."""
KEEP = 255
"""The code of a pixel that keeps the image: no label, or none of the palette."""


def strips(height: int, width: int, pixels: int = STRIP_PIXELS) -> Iterator[slice]:
    """Yield row ranges of about 256 Ki pixels each."""
    rows = max(1, pixels // width)
    return (slice(top, top + rows) for top in range(0, height, rows))


def shown_labels(count: int, ignore_index: int | None, only: Sequence[int] | None) -> NDArray[np.bool_]:
    """Return, for each label of the palette, whether it is painted.

    Raises:
        TypeError: `ignore_index` is no whole number, or `only` no list of them.
        ValueError: `only` has a label that the palette has no colour for.
    """
    ignore_index, only = check_label(ignore_index, "ignore_index"), check_labels(only, "only")
    shown = np.empty(count, np.bool_)
    shown.fill(True)
    if only is not None:
        beyond = [label for label in only if not 0 <= label < count]
        if beyond:
            raise ValueError(f"only={beyond} is beyond a palette of {count} colours")
        shown[:] = False
        shown[np.array(only, np.intp)] = True
    if ignore_index is not None and 0 <= ignore_index < count:
        shown[ignore_index] = False
    return shown


def label_codes(labels: Labels, shown: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], bool]:
    """Return labels as bytes, 255 where the image is kept, and whether some were lost that may have to be reported.

    Only for palettes of up to 255 colours.
    """
    count = len(shown)
    codes, all_fit = to_bytes(labels)
    if np.count_nonzero(shown) == count:
        return codes, not all_fit
    table = np.full(256, KEEP, np.uint8)
    table[:count][shown] = np.flatnonzero(shown)
    coded: NDArray[np.uint8] = load_cv2().LUT(codes, table)
    beyond = any(int((codes[rows] - np.uint8(count)).min()) < KEEP - count for rows in strips(*codes.shape))
    return coded, beyond or not all_fit


def to_bytes(labels: Labels) -> tuple[NDArray[np.uint8], bool]:
    """Return labels as contiguous bytes, and whether all of them fit; what does not becomes 255."""
    if labels.dtype == np.uint8:
        return np.ascontiguousarray(labels), True
    out, all_fit = np.empty(labels.shape, np.uint8), True
    for rows in strips(*labels.shape):
        part = labels[rows]
        fits = 0 <= int(np.bitwise_or.reduce(part, axis=None)) <= KEEP  # one pass instead of a minimum and a maximum
        out[rows] = part if fits else np.where((part < 0) | (part > KEEP), KEEP, part)
        all_fit &= fits
    return out, all_fit


def warn_unknown_labels(labels: Labels, count: int, ignore_index: int | None) -> None:
    """Warn of labels that are neither in the palette nor the ignored one; 255 is always "no label"."""
    beyond = (labels < 0) | (labels >= count)
    if ignore_index is not None:
        beyond &= labels != ignore_index
    found = np.unique(labels[beyond & (labels != KEEP)])
    if len(found):
        names = ", ".join(map(str, found[:5].tolist())) + (", ..." if len(found) > 5 else "")
        warnings.warn(
            f"labels {names} lie beyond a palette of {count} colours; those pixels keep the image",
            UserWarning,
            stacklevel=4,
        )


def byte_values(codes: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return which values occur."""
    return np.flatnonzero(load_cv2().calcHist([codes], [0], None, [256], [0, 256]))


def blend(image: Image, codes: NDArray[np.uint8], colours: Palette, alpha: float) -> Image:
    """Return `round((1-a) * image + a * colour[code])`, and the image itself where the code has no colour.

    Equal to rounding in float64 (half to even) at alpha 0, .25, .5, .6, .8 and 1; at others a tie may round the other
    way, so a value may be 1 off (`cv2.addWeighted` works in float32).

    Args:
        image: H x W x 3 uint8.
        codes: H x W uint8, labels; from `len(colours)` on the image is kept.
        colours: N x 3 uint8, N at most 256.
        alpha: weight of the colour.
    """
    return blend_and_look(image, codes, colours, alpha)[0]


def blend_and_look(image: Image, codes: NDArray[np.uint8], colours: Palette, alpha: float) -> tuple[Image, bool]:
    """Blend likewise, and tell whether a code lies between the palette and 255."""
    cv2, count, unknown = load_cv2(), len(colours), False
    table = np.zeros((256, 1, 3), np.uint8)
    table[:count, 0] = colours
    out = np.empty(image.shape, np.uint8)
    for rows in strips(*codes.shape):
        part, code, target = image[rows], codes[rows], out[rows]
        cv2.applyColorMap(code, table, target)
        cv2.addWeighted(part, 1.0 - alpha, target, alpha, 0.0, target)
        if count <= KEEP:
            unknown |= keep_image(cv2, part, code, target, count)
    return out, unknown


def keep_image(cv2: ModuleType, part: Image, code: NDArray[np.uint8], target: Image, count: int) -> bool:
    """Put the image back where no colour belongs; whether that was for another code than 255.

    Bytes wrap round, so codes less `count` are least where they lie beyond the palette: one minimum tells it all.
    """
    last, unknown = KEEP - count, False
    for rows in strips(len(code), code.shape[1], PATCH_PIXELS):
        if int(code[rows].max()) >= count:
            beyond = code[rows] - np.uint8(count)
            unknown |= int(beyond.min()) < last
            mask = np.less_equal(beyond, last, out=beyond.view(np.bool_)).view(np.uint8)
            cv2.copyTo(part[rows], mask, target[rows])
    return unknown


def few_codes(labels: Labels, shown: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], list[int]]:
    """Return labels of any number as bytes, 255 where none is shown, and the label that each byte stands for.

    Of more than 255 labels the 255 with most pixels get a byte.
    """
    there, counts = np.unique(labels[(labels >= 0) & (labels < len(shown))], return_counts=True)
    there, counts = there[shown[there]], counts[shown[there]]
    chosen = np.sort(there[np.argsort(-counts, kind="stable")[:KEEP]])
    if not len(chosen):
        return np.full(labels.shape, KEEP, np.uint8), []
    place = np.minimum(np.searchsorted(chosen, labels), len(chosen) - 1)
    return np.where(chosen[place] == labels, place, KEEP).astype(np.uint8), chosen.tolist()


def blend_many(image: Image, labels: Labels, colours: Palette, alpha: float, shown: NDArray[np.bool_]) -> Image:
    """Blend with palettes of more than 255 colours."""
    known = (labels >= 0) & (labels < len(colours))
    safe = np.where(known, labels, 0)
    painted = load_cv2().addWeighted(image, 1.0 - alpha, colours[safe], alpha, 0.0)
    kept = ~known | ~shown[safe]
    painted[kept] = image[kept]
    out: Image = painted
    return out
