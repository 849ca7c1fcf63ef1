"""Event files of TensorBoard: each event whole or not there, and none of a part that a resumed run makes again."""

from __future__ import annotations

import io
import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from seg_vis.files import append_whole
from seg_vis.libraries import load_library

__all__ = ["EventFile", "take_out_events"]

INSTALL = "tensorboard"
LENGTH = struct.Struct("<Q")
HEAD, TAIL = 12, 4
"""Bytes of a record before and after its content: its length and two checksums."""
NUMBERS = itertools.count()


class Event(Protocol):
    """An event of TensorBoard's protocol buffers."""

    def SerializeToString(self) -> bytes:
        """Return its bytes."""


class EventFile:
    """One event file, with the methods of TensorBoard's `EventFileWriter`, whose thread ends at the first full disk.

    Args:
        folder: where the file lies; both are made with the first event.
        restart_at: TensorBoard forgets what it has read from this step on.
    """

    def __init__(self, folder: str, restart_at: int | None = None) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(NUMBERS)}"
        self.path = Path(folder, name)
        self._begin = first_events(restart_at)
        self._failed = False

    def get_logdir(self) -> str:
        """Return the folder."""
        return str(self.path.parent)

    def add_event(self, event: Event) -> None:
        """Write one event.

        Raises:
            OSError: nothing of it was written.
        """
        content = record(event.SerializeToString())
        try:
            append_whole(self.path, self._begin + content, sync=self._failed)
        except OSError:
            self._failed = True
            raise
        self._begin, self._failed = b"", False

    def flush(self) -> None:
        """Do nothing: every event is written when `add_event` returns."""

    def close(self) -> None:
        """Do nothing: nothing is left to write."""


def first_events(restart_at: int | None) -> bytes:
    """Return what an event file begins with."""
    proto = load_library("tensorboard.compat.proto.event_pb2", "tensorboard", INSTALL)
    now = time.time()
    events = [proto.Event(wall_time=now, file_version="brain.Event:2")]
    if restart_at is not None:
        start = proto.SessionLog(status=proto.SessionLog.START)
        events.append(proto.Event(wall_time=now, step=restart_at, session_log=start))
    return b"".join(record(event.SerializeToString()) for event in events)


def record(content: bytes) -> bytes:
    """Return an event's bytes between their length and checksums."""
    module = load_library("tensorboard.summary.writer.record_writer", "tensorboard", INSTALL)
    sink = io.BytesIO()
    module.RecordWriter(sink).write(content)
    return sink.getvalue()


def take_out_events(path: Path, repeats: Callable[[list[str], int], bool]) -> int:
    """Remove the events of a file that a resumed run writes again, and half an event at its end.

    These stand at the end of the file: what is before the first of them is not touched.

    Args:
        path: the file.
        repeats: says of the tags and the step of an event whether it is one of them.

    Returns:
        How many events were removed.

    Raises:
        OSError: the file cannot be read or written.
    """
    proto = load_library("tensorboard.compat.proto.event_pb2", "tensorboard", INSTALL)
    gone, cut, end, after = 0, -1, 0, io.BytesIO()
    with path.open("rb+") as file:
        for content in contents(file):
            event = proto.Event.FromString(content)
            again = bool(event.summary.value) and repeats([value.tag for value in event.summary.value], event.step)
            gone += again
            cut = end if again and cut < 0 else cut
            if cut >= 0 and not again:
                after.write(record(content))
            end = file.tell()
        cut = end if cut < 0 else cut
        if cut < file.seek(0, 2):
            file.truncate(cut)
            file.seek(cut)
            file.write(after.getvalue())
    return gone


def contents(file: BinaryIO) -> Iterator[bytes]:
    """Yield the events of a file, as far as they are whole; the file then stands behind each."""
    while len(head := file.read(HEAD)) == HEAD:
        size = LENGTH.unpack_from(head)[0]
        if file.tell() + size + TAIL > os.fstat(file.fileno()).st_size:
            return
        content = file.read(size)
        file.read(TAIL)
        yield content
