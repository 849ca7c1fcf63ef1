"""The log of one run: a logger of its own, plain lines in a file, coloured levels on a terminal."""

from __future__ import annotations

import io
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from seg_runner.log.line_files import LineFile
from seg_runner.names import printable

__all__ = [
    "IN_FILE",
    "MMENGINE_NAME",
    "earlier_sessions",
    "library_log",
    "make_log_dir",
    "make_logger",
    "missing_folders",
    "remove_start",
]

IN_FILE = {"in_file": True}
"""`extra=` of a message that is long: the log file has it, a terminal only at log level DEBUG."""

MMENGINE_NAME = "mmengine"
"""The name in each line of a run from a config: what reads MMSegmentation's logs looks for it."""

_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "INFO": "\x1b[32m", "CRITICAL": "\x1b[31m"}


SESSION = re.compile(r"\d{8}_\d{6}(_\d+)?")
"""The name of a session's folder."""

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever `sys.stdout` is at that moment, so that redirecting it later works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        """Return the current standard output."""
        return sys.stdout


class _File(logging.FileHandler):
    """Appends each line whole and leaves no file open behind it, however a run ends.

    A disk that fills costs no line: they wait, and are written once there is room. It is said once.

    It is a `FileHandler` with a `stream`, for code that writes past the terminal what is long: MMEngine's models say
    there how each weight was initialised, and print it where there is no such handler.
    """

    def __init__(self, path: Path) -> None:
        logging.Handler.__init__(self)  # that of FileHandler would open the file
        self.baseFilename = str(path)
        self._lines = LineFile(path, "the log file")
        self.stream: Any = _Stream(self._lines)  # the type of FileHandler's is that of an open file

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._lines.write(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits for room on the disk."""
        self._lines.flush()

    def close(self) -> None:
        """Take the handler out of logging's table; no file is open."""
        logging.Handler.close(self)


class _Stream(io.TextIOBase):
    """Writes text that is no record into the lines of a log file."""

    def __init__(self, lines: LineFile) -> None:
        super().__init__()
        self._lines = lines

    def write(self, text: str, /) -> int:
        """Write whole lines; one that is begun ends here."""
        if text:
            self._lines.write(printable(text.removesuffix("\n")))
        return len(text)


class _Lines(logging.Formatter):
    """`time - name - LEVEL - message`; errors say where they come from. Nothing that a terminal would carry out."""

    def __init__(self, date: str, *, colour: bool) -> None:
        super().__init__("%(asctime)s - %(name)s - %(levelname)s - %(message)s", date)
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return one line."""
        level = record.levelname
        if self._colour and sys.stdout.isatty():
            level = f"\x1b[4m{_COLOURS.get(level, '')}{level}\x1b[0m"
        where = f"{record.pathname} - {record.funcName} - {record.lineno} - " if record.levelno >= logging.ERROR else ""
        return f"{record.asctime} - {record.name} - {level} - {where}{printable(record.message)}"

    def formatException(self, ei: ExceptionInfo) -> str:
        """Return a traceback."""
        return printable(super().formatException(ei))


class _Short(logging.Filter):
    """Keeps what is long off the terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the terminal shows the record."""
        return not getattr(record, "in_file", False)


class _OncePerWarning(logging.Filter):
    """Lets a warning pass once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is new."""
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        new = text not in self._seen
        self._seen.add(text)
        return new


def make_log_dir(work_dir: Path) -> tuple[Path, str]:
    """Make `<work_dir>/<timestamp>`, and return it and the timestamp; two runs of the same second get two folders.

    Raises:
        PermissionError, OSError: the folder cannot be made; the message names it.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        error.add_note(f"work_dir={str(work_dir)!r} cannot be created: choose a folder that you may write to")
        raise
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    for number in range(1, 1000):
        name = stamp if number == 1 else f"{stamp}_{number}"
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            error.add_note(f"work_dir={str(work_dir)!r} cannot be written to: choose a folder that you may write to")
            raise
        return work_dir / name, name
    raise FileExistsError(f"{work_dir} already contains a thousand runs of this second")


def missing_folders(folder: Path) -> list[Path]:
    """Return the folder and those above it that are not there yet, innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def remove_start(log_dir: Path, made: Iterable[Path]) -> None:
    """Leave nothing of a start that failed: remove its log folder, and the folders made for it that are empty."""
    shutil.rmtree(log_dir, ignore_errors=True)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def earlier_sessions(work_dir: Path, log_dir: Path) -> list[Path]:
    """Return the log folders of the earlier sessions in this work directory, the oldest first."""
    named = [folder for folder in work_dir.glob("*_*") if SESSION.fullmatch(folder.name) and folder.is_dir()]
    return sorted((folder for folder in named if folder != log_dir), key=_by_time)


def _by_time(folder: Path) -> tuple[str, int]:
    return folder.name[:15], int(folder.name[16:] or 1)


class _Logger(logging.Logger):
    """The logger of one run, which has a name of its own beside the one in its lines."""

    instance_name = ""

    def isEnabledFor(self, level: int) -> bool:
        """Tell whether a level counts, asked anew each time: `logging.disable` clears the answers of global loggers."""
        return level > self.manager.disable and level >= self.getEffectiveLevel()


def make_logger(
    log_file: Path | None, level: str = "INFO", *, name: str = "seg_runner", rank: int = 0, run: str = ""
) -> logging.Logger:
    """Return a logger that belongs to one run: it is not in logging's global table, so that two runs never mix.

    Raises:
        ValueError: no level is called so.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"log_level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not {level!r}")
    logger = _Logger(name, level.upper())
    logger.instance_name = run
    logger.addFilter(_OncePerWarning())
    console = _Console()
    console.setFormatter(_Lines("%m/%d %H:%M:%S", colour=True))
    console.setLevel(level.upper() if rank == 0 else "ERROR")
    logger.addHandler(console)
    if log_file is not None:
        if logger.level > logging.DEBUG:
            console.addFilter(_Short())
        file = _File(log_file)
        file.setFormatter(_Lines("%Y/%m/%d %H:%M:%S", colour=False))
        logger.addHandler(file)
    return logger


FAMILY = ("seg_registry", "seg_hooks", "seg_optim", "seg_runner", "seg_vis")
"""Loggers of the packages that may be at work in a run, whether they are installed or not."""


class _Forward(logging.Handler):
    """Hands the package's own messages to the log of the run that is under way."""

    def __init__(self, target: logging.Logger) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        """Let the run's handlers write it."""
        if self._target.isEnabledFor(record.levelno):
            record.name = self._target.name
            self._target.handle(record)


@contextmanager
def library_log(target: logging.Logger) -> Iterator[None]:
    """Send what the family's packages log to the log of one run while this context lasts."""
    handler = _Forward(target)
    libraries = [logging.getLogger(name) for name in FAMILY]
    before = [(library.level, library.propagate) for library in libraries]
    for library in libraries:
        library.addHandler(handler)
        library.setLevel(target.level)
        library.propagate = False
    try:
        yield
    finally:
        for library, (level, propagate) in zip(libraries, before, strict=True):
            library.removeHandler(handler)
            library.setLevel(level)
            library.propagate = propagate
