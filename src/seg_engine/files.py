"""Reading picture files, with errors that name the file and say what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["IMAGE_SUFFIXES", "images_in", "nearest_folder", "read_picture"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read_picture(path: str | Path, flags: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """The pixels of an image file, as OpenCV orders them (BGR); paths may hold any character.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, cut off, or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} ({nearest_folder(path)})")
    data = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(data, flags) if data.size else None
    if pixels is None:
        raise ValueError(
            f"{path} ({data.size} bytes) is not a picture that OpenCV can read: empty, cut off or no image?"
        )
    return np.asarray(pixels)


def nearest_folder(path: str | Path) -> str:
    """Where a path stops existing: a hint for messages about missing files.

    >>> nearest_folder("/nowhere/at/all")
    'the path exists up to /'
    """
    for parent in Path(path).absolute().parents:
        if parent.exists():
            return f"the path exists up to {parent}"
    return "no part of the path exists"


def images_in(path: str | Path) -> list[Path]:
    """The image file itself, or all image files of a folder and the folders below, sorted.

    Raises:
        FileNotFoundError: nothing is there, or the folder holds no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no image or folder {path} ({nearest_folder(path)})")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise FileNotFoundError(f"the folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found
