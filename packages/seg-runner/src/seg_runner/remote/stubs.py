"""Stand-ins for checkpoints that lie in a store and were not fetched: small files that end as those do.

What is at the end of a checkpoint says where its run stood, so the newest one is found among stand-ins, hooks count and
delete them like files, and only what is really read is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seg_runner.errors import CheckpointError
from seg_runner.files import write_whole

__all__ = ["END", "Fetches", "address_in", "fetch_whole", "is_stub", "serve", "write_stub"]

HEAD = b"seg-engine: this file was not fetched; it lies at "
END = 4096
"""Bytes of the end of a file that a stand-in holds."""


class Fetches(Protocol):
    """What brings the files of a folder here."""

    def fetch_stub(self, path: Path) -> None:
        """Put the file in the place of its stand-in."""


_SERVED: dict[str, Fetches] = {}
"""One book for the process: who fetches the files of which folder. A reader knows only a path."""


def serve(folder: Path, who: Fetches) -> None:
    """Say who fetches what lies below a folder."""
    _SERVED[str(folder.resolve())] = who


def write_stub(path: Path, address: str, end: bytes) -> None:
    """Write the stand-in of a file, with the last bytes of it."""
    write_whole(path, HEAD + address.encode("utf-8", "replace") + b"\n" + end)


def is_stub(path: Path) -> bool:
    """Tell whether a file is a stand-in."""
    try:
        with open(path, "rb") as file:
            return file.read(len(HEAD)) == HEAD
    except OSError:
        return False


def address_in(path: Path) -> str:
    """Return where the file lies that a stand-in stands for."""
    return path.read_bytes()[len(HEAD) :].partition(b"\n")[0].decode("utf-8", "replace")


def fetch_whole(path: str | Path) -> None:
    """Put the file itself in the place of its stand-in; do nothing for any other file. Of a folder, all its files.

    Raises:
        CheckpointError: Nobody here knows the store that it lies in.
        RemoteError: It cannot be had now.
    """
    if Path(path).is_dir():
        for each in sorted(Path(path).iterdir()):
            if each.is_file():
                fetch_whole(each)
    if not is_stub(Path(path)):
        return
    whole = Path(path).resolve()
    who = next((_SERVED[str(one)] for one in whole.parents if str(one) in _SERVED), None)
    if who is None:
        raise CheckpointError(
            f"{path} only stands in for a file that was not fetched: it lies at {address_in(whole)}. Give that "
            "address, or as work_dir the one of its folder"
        )
    who.fetch_stub(whole)
