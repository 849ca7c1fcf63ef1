"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

__all__ = ["Progress"]


class Progress:
    """Counts things done, on standard error; nothing is shown for a single one.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._start = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.total > 1 and sys.stderr.isatty():
            self._bar = live_bar()
            self._task = self._bar.add_task("", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        from seg_vis.names import printable

        if self._bar is None:
            print(printable(text), file=sys.stderr)
        else:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def advance(self, name: str) -> None:
        """Count one more that is done."""
        self.done += 1
        if self._bar is not None:
            from rich.text import Text
            from seg_vis.names import printable

            self._bar.update(self._task, advance=1, name=Text(printable(name, lines=False)))
        elif self.total > 1 and self.done * 10 // self.total != (self.done - 1) * 10 // self.total:
            left = (time.monotonic() - self._start) / self.done * (self.total - self.done)
            rest = f", {left:.0f} s left" if self.done < self.total else ""
            print(f"{self.done}/{self.total}{rest}", file=sys.stderr)


def live_bar() -> Any:
    """Return a bar of rich's."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Name(ProgressColumn):
        """The file done last, as it is (no markup)."""

        def render(self, task: Task) -> Text:
            return task.fields.get("name") or Text()

    console = Console(stderr=True)
    return Bar(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), Name(), console=console, transient=True)
