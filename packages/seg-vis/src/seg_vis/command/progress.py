"""A progress bar on the terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from seg_vis.names import printable

__all__ = ["Progress"]

WIDTH = 30


class Progress:
    """Counts pictures; nothing is shown for a single one."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._total > 1:
            self._stream.write("\n")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        shown = printable(text)
        self._stream.write(f"\r\033[K{shown}\n" if self._live else f"{shown}\n")

    def advance(self, target: Path) -> None:
        """Count one more that is done."""
        self._done += 1
        if self._total < 2:
            return
        if self._live:
            full = WIDTH * self._done // self._total
            bar = "#" * full + "-" * (WIDTH - full)
            text = f"[{bar}] {self._done}/{self._total} {self._left()} {printable(target.name, lines=False)}"
            self._stream.write(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}")
            self._stream.flush()
        elif self._done * 10 // self._total != (self._done - 1) * 10 // self._total:
            self._stream.write(f"{self._done}/{self._total} {self._left()}\n")

    def _left(self) -> str:
        """Return seconds that are left, at the speed so far."""
        passed = time.monotonic() - self._start
        return f"{passed / self._done * (self._total - self._done):.0f} s left"
