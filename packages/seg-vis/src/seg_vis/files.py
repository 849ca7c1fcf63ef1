"""Files that are there whole or not at all; pictures in and out of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from seg_vis.arrays import Image
from seg_vis.libraries import load_cv2, load_library

__all__ = ["check_inside", "encode", "read_bytes", "read_image", "write_image", "write_whole"]


def check_inside(folder: Path, path: Path) -> Path:
    """The path, which lies in the folder, whatever links are there.

    Raises:
        ValueError: it lies elsewhere.
    """
    real = path.parent.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} would be written to {real}, outside {folder}")
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write under another name in the same folder, then rename: nothing half-written bears the final name.

    Raises:
        OSError: it cannot be written; it names the path.
    """
    try:
        write_aside(path, content)
    except OSError as error:  # said of the file that is wanted, not of the temporary one or of a folder above
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error


def write_aside(path: Path, content: bytes) -> None:
    """The same with the errors that the system gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def current_umask() -> int:
    """The process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def encode(picture: Image, suffix: str = ".png") -> bytes:
    """A picture file's bytes from an RGB picture.

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
    write_whole(target, encode(picture, target.suffix or ".png"))


def read_bytes(path: str, backend_args: dict[str, object] | None = None) -> bytes:
    """A file's contents; addresses such as `s3://...` through fsspec.

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
    """An image file as RGB, 8 bit; with `raw` as it is stored (grey masks, 16 bit).

    Raises:
        ValueError: the file is no image.
        OSError: it cannot be read.
    """
    cv2 = load_cv2()
    data = np.frombuffer(read_bytes(str(path), backend_args), np.uint8)
    flag = cv2.IMREAD_UNCHANGED if raw else cv2.IMREAD_COLOR_RGB
    image: Image | None = cv2.imdecode(data, flag) if len(data) else None
    if image is None:
        raise ValueError(f"{path} is no image that OpenCV can read ({len(data)} bytes)")
    return image
