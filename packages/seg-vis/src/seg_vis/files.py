"""Files that are there whole or not at all; pictures in and out of them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from seg_vis.arrays import Image
from seg_vis.libraries import load_cv2, load_library

__all__ = [
    "append_whole",
    "check_inside",
    "clean_leftovers",
    "encode",
    "read_bytes",
    "read_image",
    "write_image",
    "write_whole",
]

LEFT = re.compile(r"\..*\.[0-9a-f]{12}\.part")


def check_inside(folder: Path, path: Path) -> Path:
    """Return the path, if it lies in the folder, whatever links are there.

    Raises:
        ValueError: it lies elsewhere.
    """
    real = path.parent.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} would be written to {real}, outside {folder}")
    return path


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], object], *, sync: bool = True) -> None:
    """Write a file so that it is whole or absent: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file; made with its folder where it is not there, else replaced in one step.
        content: bytes, or what is called with the open file.
        sync: have the disk confirm it; False where there are many files and one can be made again, as pictures can.

    Raises:
        OSError: it cannot be written; it names the path.
    """
    try:
        write_aside(path, content, sync)
    except OSError as error:  # said of the file that is wanted, not of the temporary one or of a folder above
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error


def write_aside(path: Path, content: bytes | Callable[[BinaryIO], object], sync: bool = True) -> None:
    """Write likewise, with the errors that the system gives; a signal at any moment leaves no temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")  # known before it is there
    try:
        with open(temporary, "xb") as file:
            lock(file)
            content(file) if callable(content) else file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk confirm the names in a folder, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(file: BinaryIO) -> bool:
    """Hold a file while its writer lives, where the system can; return False where another process holds it."""
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # a system or a folder without locks: nobody can hold the file
        return True
    return True


def clean_leftovers(folder: Path) -> list[str]:
    """Remove temporary files of writers that were killed; return their names. Call it where a run starts."""
    removed = []
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if LEFT.fullmatch(path.name) and lock(file):
                path.unlink()
                removed.append(path.name)
    return sorted(removed)


def append_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Add bytes to the end of a file: all of them or, where the disk fails or a signal comes, none.

    Args:
        path: the file; made with its folder where it is not there.
        content: what is added.
        sync: also have the disk confirm it. Some file systems say only then that they are full.

    Raises:
        OSError: it cannot be written; it names the path.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            append_to(handle, content, sync)
        finally:
            os.close(handle)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error


def append_to(handle: int, content: bytes, sync: bool) -> None:
    """Append likewise to an open file."""
    size, rest = os.fstat(handle).st_size, memoryview(content)
    try:
        while rest:
            rest = rest[os.write(handle, rest) :]
        if sync:
            os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, size)
        raise


def encode(picture: Image | npt.NDArray[np.uint8 | np.uint16], suffix: str = ".png") -> bytes:
    """Return a picture file's bytes, of an RGB picture, or of grey values of 8 or 16 bits.

    Raises:
        ValueError: OpenCV has no encoder for the suffix.
    """
    cv2 = load_cv2()
    order = cv2.COLOR_RGB2BGR if picture.ndim == 3 else None
    swapped = picture if order is None else cv2.cvtColor(picture, order)
    try:
        done, data = cv2.imencode(suffix, swapped)
    except cv2.error as error:
        raise ValueError(f"cannot write a picture as {suffix!r}; try .png or .jpg") from error
    if not done:
        raise ValueError(f"cannot write a picture of shape {picture.shape} as {suffix!r}; try .png or .jpg")
    return bytes(data)


def write_image(path: Path | str, picture: Image) -> None:
    """Save an RGB picture; its format by the suffix, its folder made."""
    target = Path(path)
    write_whole(target, encode(picture, target.suffix or ".png"), sync=False)


def read_bytes(path: str, backend_args: dict[str, object] | None = None) -> bytes:
    """Return a file's contents; addresses such as `s3://...` are read through fsspec.

    Raises:
        OSError: it cannot be read.
        ImportError: an address, and fsspec is not installed.
    """
    if "://" not in path:
        return Path(path).read_bytes()
    fsspec = load_library("fsspec", "fsspec, which reads addresses such as s3://...,", "fsspec")
    options = {key: value for key, value in (backend_args or {}).items() if key != "backend"}
    with fsspec.open(path, "rb", **options) as file:
        return bytes(file.read())


def read_image(path: str | Path, backend_args: dict[str, object] | None = None, *, raw: bool = False) -> Image:
    """Read an image file as RGB, 8 bit; with `raw` as it is stored (grey masks, 16 bit).

    Raises:
        ValueError: the file is no image.
        OSError: it cannot be read.
    """
    cv2 = load_cv2()
    data = np.frombuffer(read_bytes(str(path), backend_args), np.uint8)
    image: Image | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED if raw else cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise ValueError(f"{path} is not an image that OpenCV can read ({len(data)} bytes)")
    return image if raw else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image))
