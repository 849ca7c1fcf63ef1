"""Reading config files: regular files of bounded size, decoded, with what was parsed kept by content."""

from __future__ import annotations

import os
import stat
from typing import Any

from seg_registry.errors import ConfigFileError, ConfigSyntaxError, LimitError
from seg_registry.values.budget import MAX_BYTES

__all__ = ["Shelf", "decoded", "read"]


def read(path: str, file: str | None = None, line: int | None = None) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a config file and its identity on disk; never blocks on a pipe or device.

    `file` and `line` say who asked for it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ConfigFileError(_unreadable(path, error), file=file or path, line=line) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigFileError(f"{path} is not a regular file", file=file or path, line=line)
        if status.st_size > MAX_BYTES:
            raise LimitError(f"{status.st_size:,} bytes; a config has at most {MAX_BYTES:,}", file=path, line=1)
        return os.read(handle, status.st_size + 1), (status.st_dev, status.st_ino)
    finally:
        os.close(handle)


def _unreadable(path: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    message = f"cannot read the config {path!r}: {reason}"
    folder = os.path.dirname(path) or "."
    if isinstance(error, FileNotFoundError) and os.path.isdir(folder):
        from seg_registry.suggest import nearest

        near = nearest(os.path.basename(path), os.listdir(folder)[:2000])
        if near:
            message += f"; did you mean {' or '.join(repr(each) for each in near)} in the same folder?"
    return message


def decoded(data: bytes, path: str) -> str:
    """The text of a config file: UTF-8, with or without a byte-order mark."""
    if len(data) > MAX_BYTES:
        raise LimitError(f"more than {MAX_BYTES:,} bytes", file=path, line=1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8"
        raise ConfigSyntaxError(message, file=path, line=line) from error
    if "\0" in text:
        raise ConfigSyntaxError("a NUL byte", file=path, line=text.count("\n", 0, text.index("\0")) + 1)
    return text


class Shelf:
    """Keeps what was made from files, for as long as their content stays the same."""

    def __init__(self, room: int = 2048) -> None:
        self.room = room
        self._kept: dict[tuple[str, bool], tuple[bytes, Any]] = {}

    def get(self, key: tuple[str, bool], data: bytes) -> Any:
        """What was kept for this path, or None if there is nothing or its content was another."""
        found = self._kept.get(key)
        return found[1] if found is not None and found[0] == data else None

    def put(self, key: tuple[str, bool], data: bytes, value: Any) -> None:
        """Keep a value for this path and content."""
        if len(self._kept) >= self.room:
            self._kept.clear()  # in one step, because other threads may be reading
        self._kept[key] = (data, value)
