"""Reading picture files, with errors that name the file, say what is wrong with it, and what to do."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "declared_size",
    "decoded",
    "file_bytes",
    "files_below",
    "folders_below",
    "full_pictures",
    "images_in",
    "nearest_folder",
    "orientation",
    "picture_in",
    "read_picture",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

NOT_SAMPLES = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
"""What systems leave beside pictures, apart from names that begin with a dot."""

Bytes = npt.NDArray[np.uint8]


def read_picture(path: str | Path, flags: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image file, as OpenCV orders them (BGR); paths may hold any character.

    A file of several pictures (an animation, pages) gives the first, with a warning.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, cut off, no picture, or larger than OpenCV reads.
    """
    return picture_in(file_bytes(path), path, flags)


def picture_in(data: Bytes, path: str | Path, flags: int) -> npt.NDArray[np.uint8]:
    """Return what `read_picture` does, of a file that is read already."""
    pixels = decoded(data, path, flags)
    count = _pictures_in(data)
    if count > 1:
        warnings.warn(f"{path} holds {count} pictures (an animation, or pages); only the first is used", stacklevel=3)
    return pixels


def file_bytes(path: str | Path) -> Bytes:
    """Return all bytes of a file.

    Raises:
        FileNotFoundError: there is no such file; the message says how far its path goes.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {path} ({nearest_folder(path)})")
    return np.fromfile(path, np.uint8)


def decoded(data: Bytes, path: str | Path, flags: int) -> npt.NDArray[Any]:
    """Return the pixels of a picture's bytes; `path` is for messages.

    Raises:
        ValueError: they are no whole picture that OpenCV reads.
    """
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:
        raise ValueError(_refused(path, error)) from error
    if pixels is None:
        raise ValueError(f"{path} ({data.size} bytes) is not a picture that OpenCV can read: {_cause(data)}")
    return np.asarray(pixels)


def _refused(path: str | Path, error: cv2.error) -> str:
    """Say what to do where OpenCV raises: that it does for sizes that a file declares."""
    for limit in ("PIXELS", "WIDTH", "HEIGHT"):
        if f"CV_IO_MAX_IMAGE_{limit}" in str(error):
            return (
                f"{path} declares more pixels than OpenCV reads: cut it into tiles, or set the environment variable "
                f"OPENCV_IO_MAX_IMAGE_{limit} to a larger number before the start"
            )
    return f"{path} is not a picture that OpenCV can read: {str(error).strip()}"


def _cause(data: Bytes) -> str:
    """Say why these bytes are no picture, and what helps."""
    head = data[:512].tobytes()
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not data.size:
        return "it is empty; copy it again, or leave it out"
    if head[4:8] == b"ftyp":
        kind = "a HEIC picture" if head[8:11] in (b"hei", b"hev", b"mif", b"msf") else "a video, or a picture like one"
        return f"it is {kind}; save it as PNG or JPEG"
    if text.startswith(b"%pdf"):
        return "it is a PDF document; save the page as PNG"
    if b"<svg" in text:
        return "it is an SVG drawing; save it as PNG"
    if text.startswith((b"<!doctype", b"<html")):
        return "it is a web page (a failed download?); fetch the picture again"
    if text.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with: git lfs pull"
    if head.startswith((b"II", b"MM")):
        return (
            "it is a TIFF or a camera's raw file, cut off or of a kind that OpenCV makes no colours of "
            "(32-bit values: color_type='unchanged' reads them); save it as PNG or TIFF of 8 or 16 bits"
        )
    if head.startswith(b"\x89PNG") and max(sides := struct.unpack(">II", head[16:24].ljust(8, b"\0"))) > 10**6:
        return f"it declares {sides[0]} x {sides[1]} pixels, and no side may be above a million; cut it into tiles"
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF", b"GIF8")):
        return "it is cut off or damaged; copy it again, or leave it out"
    return "it is cut off, damaged, or no image; copy it again, or save it as PNG or JPEG"


def _pictures_in(data: Bytes) -> int:
    """Count how many pictures of full size a GIF or TIFF holds; 1 for other files (they cost nothing here)."""
    if data[:4].tobytes() not in (b"GIF8", b"II*\0", b"MM\0*"):
        return 1
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            return full_pictures(picture)
    except (OSError, ValueError, Image.DecompressionBombError):  # of a kind that Pillow does not know
        return 1


def full_pictures(picture: Image.Image) -> int:
    """Count how many frames or pages of the first one's size an opened picture holds: previews are not counted.

    Args:
        picture: What `PIL.Image.open` gives; it stands at its first page before and after.
    """
    size, count = picture.size, 1
    for page in range(1, getattr(picture, "n_frames", 1)):
        picture.seek(page)
        count += picture.size == size
    picture.seek(0)
    return count


def orientation(data: Bytes) -> int:
    """Tell how the EXIF data of a JPEG, PNG or WebP says to turn it, 1 ... 8; 1 is as stored.

    TIFF has it too, and both libraries turn those on reading, whatever they are told.
    """
    kind = data[:4].tobytes()
    if kind in (b"II*\0", b"MM\0*") or not (b"Exif" in _beginning(data, kind) or _says_later(data, kind)):
        return 1
    held = data.tobytes()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(held)) as picture:
            return int(picture.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def _beginning(data: Bytes, kind: bytes) -> bytes:
    """Return the first 64 kB; of a JPEG all that stands before its pixels, which may be more: profiles, notes."""
    end = 1 << 16
    if kind[:2] == b"\xff\xd8":
        at = 2
        while at + 4 <= data.size and data[at] == 255 and data[at + 1] != 0xDA:
            at += 2 + (int(data[at + 2]) << 8 | int(data[at + 3]))
        end = max(end, at)
    return data[:end].tobytes()


def _says_later(data: Bytes, kind: bytes) -> bool:
    """Tell whether a PNG or WebP may hold EXIF data, which stand anywhere; a JPEG has them before its pixels."""
    if kind[:2] == b"\xff\xd8":
        return False
    held = data.tobytes()  # a search for bytes takes a tenth of one for a pattern
    return b"eXIf" in held or b"EXIF" in held


def declared_size(path: str | Path, turns: bool) -> tuple[int, int] | None:
    """Return (height, width) that a picture's file declares, turned by its EXIF data or not; None where unclear.

    No pixel is read. A TIFF with EXIF data is read differently by different libraries.
    """
    from PIL import Image

    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with Image.open(path) as picture:
            turned = int(picture.getexif().get(0x0112, 1))
            kind, (width, height) = picture.format, picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if turned != 1 and kind == "TIFF":
        return None
    return (width, height) if turns and turned >= 5 else (height, width)


def nearest_folder(path: str | Path) -> str:
    """Tell where a path stops existing: a hint for messages about missing files.

    >>> nearest_folder("/nowhere/at/all")
    'the path exists up to /'
    """
    for parent in Path(path).absolute().parents:
        if parent.exists():
            return f"the path exists up to {parent}"
    return "no part of the path exists"


def files_below(folder: str | Path) -> list[Path]:
    """Return all files of a folder and the folders below it, sorted.

    Hidden files and folders and what systems leave (`.ipynb_checkpoints`, `._a.png`, `Thumbs.db`) are left out. Links
    are followed, each folder is read once, and a link that leads nowhere is given like a file.
    """
    found = [Path(here, name) for here, files, links in folders_below(folder) for name in (*files, *links)]
    return sorted(found)


def folders_below(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield a folder and those below it: path, names of files in it, and names of links to files or to nothing."""
    folders, linked = [str(folder)], list[str]()
    seen: set[str] = set()
    while folders or linked:
        here = folders.pop() if folders else linked.pop(0)  # real folders first: their names are the files' own
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        files, links, inside = list[str](), list[str](), list[tuple[str, bool]]()
        with os.scandir(here) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name in NOT_SAMPLES:
                    continue
                if entry.is_file(follow_symlinks=False):
                    files.append(name)
                elif entry.is_dir():
                    inside.append((entry.path, entry.is_symlink()))
                elif entry.is_symlink():
                    links.append(name)
        for path, is_link in sorted(inside):
            (linked if is_link else folders).append(path)
        yield here, files, links


def images_in(path: str | Path) -> list[Path]:
    """Return the image file itself, or all image files of a folder and the folders below, sorted.

    Raises:
        FileNotFoundError: nothing is there, or the folder holds no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no image or folder {path} ({nearest_folder(path)})")
    found = [file for file in files_below(path) if file.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise FileNotFoundError(f"the folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found
