"""Label maps as files with the palette in them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["indexed_png"]

Labels = npt.NDArray[np.uint8 | np.uint16]


def indexed_png(labels: Labels, palette: object, classes: Sequence[str] | None = None) -> bytes:
    """Return a label map whose values are the labels and whose palette is in the file; plain colours beyond 256 labels.

    Args:
        labels: H x W.
        palette: N x 3 colours, or the name of a palette.
        classes: Names, for palettes that are made to measure.
    """
    from PIL import Image
    from seg_vis import get_palette
    from seg_vis.files import encode

    colours = get_palette(palette, max(len(classes or ()), int(labels.max(initial=0)) + 1))
    table = np.zeros((max(256, int(labels.max(initial=0)) + 1), 3), np.uint8)
    table[: len(colours)] = colours[: len(table)]
    if labels.dtype != np.uint8:
        return encode(table[labels])
    picture = Image.fromarray(labels)
    picture.putpalette(table.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
