"""Files that predictions become: PNG files, whole or absent, each in the folder that was asked for."""

from __future__ import annotations

import io
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["grey_png", "indexed_png", "place_in", "rgb_png", "write_file"]

Labels = npt.NDArray[np.uint8 | np.uint16]


def grey_png(labels: Labels) -> bytes:
    """A label map whose grey values are the labels."""
    return cv2.imencode(".png", labels)[1].tobytes()


def rgb_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture, H x W x 3, RGB."""
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def indexed_png(labels: Labels, palette: Any, classes: Sequence[str] | None = None) -> bytes:
    """A label map whose values are the labels and whose palette is in the file; plain colours beyond 256 labels.

    Args:
        labels: H x W.
        palette: N x 3 colours, or the name of a palette.
        classes: Names, for palettes that are made to measure.
    """
    from PIL import Image
    from seg_vis import get_palette

    colours = get_palette(palette, max(len(classes or ()), int(labels.max(initial=0)) + 1))
    table = np.zeros((max(256, int(labels.max(initial=0)) + 1), 3), np.uint8)
    table[: len(colours)] = colours[: len(table)]
    if labels.dtype != np.uint8:
        return rgb_png(table[labels])
    picture = Image.fromarray(labels)
    picture.putpalette(table.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def place_in(folder: str | Path, relative: str | Path) -> Path:
    """The path of a file in a folder.

    Raises:
        ValueError: a link, or '..', leads out of the folder.
    """
    path = Path(folder) / relative
    if not path.parent.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"{path} would be written to {path.parent.resolve()}, outside {folder}")
    return path


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; a link of this name is replaced, not followed.

    Raises:
        OSError: the disk is full, the folder cannot be written, ...
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
