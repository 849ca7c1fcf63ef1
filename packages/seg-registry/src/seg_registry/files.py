"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is whole or absent: temporary file, fsync, rename, fsync of the folder.

    A pipe or a terminal is written to as it is; of a link, the file that it leads to is replaced, with its rights.

    Args:
        path: The file; one that is there is replaced in one step.
        content: Bytes, or what is called with the open file.

    Raises:
        OSError: It cannot be written; what is there stays as it is.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")  # known before it is there
    try:
        if target.exists() and not target.is_file():
            with open(target, "wb") as file:
                _write(file, content)
            return
        with open(temporary, "xb") as file:
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:  # said of the file that is wanted, not of the temporary one
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write(file: BinaryIO, content: bytes | Callable[[BinaryIO], object]) -> None:
    content(file) if callable(content) else file.write(content)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
