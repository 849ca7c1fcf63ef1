"""What the command line prints when something is wrong: the message, where, and what to do."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any, NoReturn

__all__ = ["Parser", "describe", "guard_terminal"]

WORKER = "Original Traceback (most recent call last):"
OWN = ("ValueError", "TypeError", "KeyError", "OSError", "RuntimeError")


class Parser(argparse.ArgumentParser):
    """`argparse`, with words of the command line printed as data."""

    def error(self, message: str) -> NoReturn:
        """End the program with a message."""
        from seg_vis.names import printable

        from seg_engine.ranks import rank

        if rank() > 0:  # all of several processes were given the same words
            self.exit(2)
        super().error(printable(message))


def guard_terminal() -> None:
    """Escape what a terminal cannot show, or would carry out: in prints, warnings, lines of a log, and tracebacks.

    Under `PYTHONIOENCODING=ascii` or `LC_ALL=C` a print of a file's name would end the program otherwise.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if warnings.formatwarning is not _warning:
        _usual.append(warnings.formatwarning)
        warnings.formatwarning = _warning
    if logging.lastResort is not None:  # it prints the warnings of packages before a run has a log of its own
        logging.lastResort.setFormatter(_Escaped())
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught


_usual: list[Any] = []
"""How warnings were formatted before."""


class _Escaped(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from seg_vis.names import printable

        return printable(super().format(record))


def _warning(*given: object, **named: object) -> str:
    from seg_vis.names import printable

    return printable(_usual[-1](*given, **named))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from seg_vis.names import printable

    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))


def describe(error: BaseException) -> str:
    """Return an exception as one message: its text, then its notes; nothing that a terminal would carry out.

    >>> print(describe(KeyError("there is no key 'lr'")))
    error: there is no key 'lr'
    >>> print(describe(ZeroDivisionError("division by zero")))
    error: ZeroDivisionError: division by zero
    (--debug shows the whole traceback)
    """
    from seg_vis.names import printable

    notes = [str(note) for note in getattr(error, "__notes__", ())]
    lines = [f"error: {text_of(error)}", *notes]
    if not is_for_users(error):
        lines.append("(--debug shows the whole traceback)")
    return printable("\n".join(lines))


def is_for_users(error: BaseException) -> bool:
    """Tell whether an error is to be read without its traceback: one of our packages raised, or explained, it."""
    trace = error.__traceback__
    if isinstance(error, AttributeError | TypeError | AssertionError | IndexError):
        return False
    if getattr(error, "__notes__", None):
        return True
    if trace is None:
        return isinstance(error, KeyError)
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("seg_")


def text_of(error: BaseException) -> str:
    """Return the text of an exception, with its kind where the text alone would not say what went wrong."""
    if isinstance(error, KeyError) and len(error.args) == 1 and " " in str(error.args[0]):
        return str(error.args[0])
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    text = str(error) or type(error).__name__
    if WORKER in text:
        return from_worker(text)
    family = any(kind.__name__ in OWN for kind in type(error).__mro__)
    return text if family and " " in text else f"{type(error).__name__}: {text}"


def from_worker(text: str) -> str:
    """Return what an exception said that a data loader's worker passed on inside a printed traceback.

    >>> from_worker("Caught it.\\n" + WORKER + "\\n  File x\\nValueError: bad\\n")
    'bad'
    """
    lines = text[text.rindex(WORKER) :].strip().splitlines()
    last = max(index for index, line in enumerate(lines) if index == 0 or line.startswith("  "))
    said = [line for line in lines[last + 1 :] if line.strip()] or [text]
    kind, _, rest = said[0].partition(": ")
    said[0] = rest if rest and kind.endswith("Error") else said[0]
    return "\n".join(said)
