"""Files of lines: each whole or not there; what a full disk did not take is written once there is room again."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seg_runner.files import write_whole

__all__ = ["LineFile", "take_out_rows"]

MOST = 10_000


class LineFile:
    """Appends lines to a file that is open only meanwhile. A disk that fails is said once; the lines wait, in order.

    Args:
        path: The file; its folder is made with the first line.
        what: What it is called where it fails.
        say: Takes the message.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "x.log")
        >>> LineFile(path, "the log").write("one")
        >>> path.read_text()
        'one\\n'
    """

    def __init__(self, path: Path, what: str, say: Callable[[str], None] | None = None) -> None:
        self.path, self.what = path, what
        self._say = say or _on_stderr
        self._waiting: deque[bytes] = deque()
        self._failed = False
        self._lost = 0

    def write(self, line: str) -> None:
        """Write one line, behind those that wait; raises nothing for a disk that fails."""
        self._waiting.append(line.encode("utf-8", "backslashreplace") + b"\n")
        if len(self._waiting) > MOST:
            self._waiting.popleft()
            self._lost += 1
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        try:
            while self._waiting:
                append(self.path, self._waiting[0], sync=self._failed)
                self._waiting.popleft()
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._say(f"{self.what} cannot be written: {error}; its lines are kept for later; the run goes on")
            return
        if self._failed:
            lost = f", {self._lost} lines were lost" if self._lost else ""
            self._failed, self._lost = False, 0
            self._say(f"{self.what} is written again{lost}")

    def close(self) -> None:
        """Write what waits; say what could not be written."""
        self.flush()
        if self._waiting:
            self._say(f"the last {len(self._waiting)} lines are missing in {self.what}")


def _on_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def append(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Add bytes to a file: all of them or, where the disk fails or a signal comes, none.

    Raises:
        OSError: They could not be written.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        size, rest = os.fstat(handle).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(handle, rest) :]
            if sync:
                os.fsync(handle)
        except BaseException:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def take_out_rows(path: Path, repeats: Callable[[Mapping[str, Any]], bool], aside: Path) -> int:
    """Move the rows that a resumed run writes again from one file to another, and drop broken lines.

    Returns:
        How many were moved.

    Raises:
        OSError: A file cannot be written.
    """
    if not path.is_file():
        return 0
    lines = path.read_bytes().splitlines()
    rows = [_row(line) for line in lines]
    gone = [line for line, row in zip(lines, rows, strict=True) if row is not None and repeats(row)]
    kept = [line for line, row in zip(lines, rows, strict=True) if row is not None and not repeats(row)]
    if gone:
        append(aside, b"".join(line + b"\n" for line in gone))
    if len(kept) < len(lines):
        write_whole(path, b"".join(line + b"\n" for line in kept))
    return len(gone)


def _row(line: bytes) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
