"""What the command line prints when something is wrong: the message, where, and what to do."""

from __future__ import annotations

__all__ = ["describe"]

OWN = ("ValueError", "TypeError", "KeyError", "OSError", "RuntimeError")


def describe(error: BaseException) -> str:
    """An exception as one message: its text, then its notes.

    >>> print(describe(KeyError("there is no key 'lr'")))
    error: there is no key 'lr'
    >>> print(describe(ZeroDivisionError("division by zero")))
    error: ZeroDivisionError: division by zero
    (--debug shows the whole traceback)
    """
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    lines = [f"error: {text_of(error)}", *notes]
    if not is_for_users(error):
        lines.append("(--debug shows the whole traceback)")
    return "\n".join(lines)


def is_for_users(error: BaseException) -> bool:
    """Whether an error was made to be read without its traceback: raised by one of our packages."""
    trace = error.__traceback__
    if trace is None:
        return isinstance(error, KeyError)
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("seg_")


def text_of(error: BaseException) -> str:
    """The text of an exception, with its kind where the text alone would not say what went wrong."""
    if isinstance(error, KeyError) and len(error.args) == 1 and " " in str(error.args[0]):
        return str(error.args[0])
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    text = str(error) or type(error).__name__
    family = any(kind.__name__ in OWN for kind in type(error).__mro__)
    return text if family and " " in text else f"{type(error).__name__}: {text}"
