"""Whole-or-absent files, relative pointers, and folders named after the work directory."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "append_line",
    "beside",
    "clean_leftovers",
    "delete",
    "pointed_at",
    "pointer_to",
    "read_pointer",
    "write_whole",
]

_LEFT = re.compile(r"\..*\.[0-9a-f]{12}\.tmp")
_LONGEST = 4096  # characters of a path


def write_whole(path: Path, content: bytes | memoryview | Callable[[BinaryIO], None]) -> None:
    """Write a file so that it is whole or absent: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OSError: It cannot be written; what is there stays as it is.

    A signal at any moment leaves no temporary file; what a killed process leaves, `clean_leftovers` removes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")  # known before it is there
    try:
        with open(temporary, "xb") as file:
            _lock(file)
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        inner = error.__context__ if isinstance(error, RuntimeError) else error  # torch's zip writer hides the disk's
        if isinstance(inner, OSError):  # said of the file that is wanted, not of the temporary one
            raise OSError(inner.errno, inner.strerror or str(inner), str(path)) from error
        raise
    _sync_folder(path.parent)


def _lock(file: BinaryIO) -> bool:
    """Hold a file while its writer lives, where the system can; False where another process holds it."""
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def clean_leftovers(folder: Path) -> list[str]:
    """Remove temporary files of writers that were killed; return their names. Call it where a run starts."""
    removed = []
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if _LEFT.fullmatch(path.name) and _lock(file):
                path.unlink()
                removed.append(path.name)
    return sorted(removed)


def append_line(path: Path, line: str) -> None:
    """Add a line of text to a file: the whole line or, where the disk fails, nothing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = f"{line}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(handle).st_size
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def beside(out_dir: Path | None, work_dir: Path) -> Path:
    """Return where files go: the work directory, or a folder of its name in `out_dir`."""
    if out_dir is None or out_dir.resolve() == work_dir.resolve():
        return work_dir
    return out_dir / work_dir.resolve().name


def pointer_to(path: Path, folder: Path) -> str:
    """Return the absolute path of a file by way of `folder`: `/runs/a/iter_1.pth`, `/runs/a/../b/iter_1.pth`.

    MMEngine opens it from whatever folder it was started in, and `read_pointer` finds the file where both were moved.
    """
    folder = folder.resolve()
    try:
        return (folder / os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def read_pointer(folder: Path, text: str) -> Path:
    """Return the file that a pointer means.

    An absolute path may be of the place that the folder was moved or copied from, so a file that its end names in
    `folder` goes first.
    """
    named = Path(text.strip())
    if not named.is_absolute():
        return folder / named
    ends = (folder.joinpath(*named.parts[-count:]) for count in range(1, len(named.parts)))
    return next(filter(Path.is_file, ends), named if named.exists() else folder / named.name)


def pointed_at(pointer: Path) -> Path:
    """Return the file that a pointer names.

    Raises:
        OSError: There is no such pointer, or it cannot be read.
        ValueError: It holds no path.
    """
    if pointer.exists() and not pointer.is_file():  # a pipe would be waited for
        raise FileNotFoundError(f"{pointer} is not a file")
    with pointer.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST or "\0" in text:
        raise ValueError(f"{pointer} does not hold a path")
    return read_pointer(pointer.parent, text)


def interrupted_at(path: Path) -> int:
    """Return the iteration of a file that an exception left behind; 0 for any other file.

    >>> interrupted_at(Path("out/interrupted_iter_12.pth")), interrupted_at(Path("iter_12.pth"))
    (12, 0)
    """
    number = path.name.removeprefix("interrupted_iter_").removesuffix(".pth")
    return int(number) if number.isdecimal() and path.name == f"interrupted_iter_{number}.pth" else 0


def interrupted_in(folder: Path, most: int) -> list[Path]:
    """List the files that exceptions left in a folder up to an iteration, oldest first."""
    found = [path for path in folder.glob("interrupted_iter_*.pth") if 0 < interrupted_at(path) <= most]
    return sorted(found, key=interrupted_at)


def file_name(given: str) -> str:
    """Check a name that a checkpoint gives to a file, which may be deleted one day: it lies beside the checkpoint.

    Raises:
        ValueError: it is no name of a file.
    """
    if not isinstance(given, str) or given in ("", ".", "..") or Path(given).name != given or "\\" in given:
        raise ValueError(f"the checkpoint names {given!r} as a file of its run, but that is not a file name")
    return given


def delete(path: Path) -> bool:
    """Delete a file or folder; tell whether there was one."""
    if path.is_dir():  # under another name first, so that no half of it is taken for the whole
        gone = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True
    if not path.exists():
        return False
    path.unlink(missing_ok=True)
    return True
