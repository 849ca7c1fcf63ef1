"""The first step of loading: reading a config file, which is a regular file of bounded size in UTF-8."""

from __future__ import annotations

import os
import stat
from typing import Generic, NamedTuple, TypeVar

from seg_registry.errors import ConfigFileError, ConfigSyntaxError, LimitError
from seg_registry.suggest import did_you_mean
from seg_registry.values.budget import MAX_BYTES

__all__ = ["Cache", "Source", "read"]

Value = TypeVar("Value")


class Source(NamedTuple):
    """A config file as it was read; `identity` is the same for every path that leads to this file."""

    path: str
    data: bytes
    identity: tuple[int, int] = (0, 0)

    def text(self) -> str:
        """Return the text: UTF-8, with or without a byte-order mark."""
        path, data = self.path, self.data
        if len(data) > MAX_BYTES:
            raise LimitError(f"the file has more than {MAX_BYTES:,} bytes", file=path, line=1)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            message = f"not UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8"
            raise ConfigSyntaxError(message, file=path, line=line) from error
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise ConfigSyntaxError("the file contains a NUL byte", file=path, line=line)
        return text


def read(path: str, asked_by: tuple[str, int] | None = None) -> Source:
    """Read a config file; never wait for a pipe or a device.

    `asked_by` is the file and line that name this one as a base: an error is shown there.
    """
    file, line = asked_by or (path, None)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ConfigFileError(_unreadable(path, error), file=file, line=line) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigFileError(f"{path} is not a regular file", file=file, line=line)
        if status.st_size > MAX_BYTES:
            message = f"the file has {status.st_size:,} bytes; a config may have at most {MAX_BYTES:,}"
            raise LimitError(message, file=path, line=1)
        data = os.read(handle, status.st_size + 1)  # one more, so that a file that grows meanwhile is noticed
        return Source(path, data, (status.st_dev, status.st_ino))
    finally:
        os.close(handle)


def _unreadable(path: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    message = f"cannot read the config {path!r}: {reason}"
    folder = os.path.dirname(path) or "."
    if isinstance(error, FileNotFoundError) and os.path.isdir(folder):
        near = did_you_mean(os.path.basename(path), os.listdir(folder)[:2000], list_known=False)
        return f"{message}; {near}" if near else message
    return message


class Cache(Generic[Value]):
    """Keeps what was made from files, for as long as their content stays the same."""

    def __init__(self, size: int = 2048) -> None:
        self.size = size
        self._kept: dict[tuple[str, bool], tuple[bytes, Value]] = {}

    def get(self, key: tuple[str, bool], data: bytes) -> Value | None:
        """Return what was kept for this key, or None if there is nothing or the content was another."""
        found = self._kept.get(key)
        return found[1] if found is not None and found[0] == data else None

    def put(self, key: tuple[str, bool], data: bytes, value: Value) -> None:
        """Keep a value for this key and content."""
        if len(self._kept) >= self.size:
            self._kept.clear()  # in one step, because other threads may be reading
        self._kept[key] = (data, value)
