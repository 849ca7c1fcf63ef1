"""The local copy of a remote work directory: where it lies, what of it is in line with the store, and what is not."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seg_runner.files import write_text
from seg_runner.remote.address import Entry, scheme_of

__all__ = ["LocalCopy", "cache_folder"]

IGNORED = re.compile(r"\.running|\.write_test_.*|\..*\.[0-9a-f]{12}\.(tmp|part)")
"""What belongs to this machine alone: locks, probes, files that are being written."""
Stamp = list[int]


def cache_folder(given: str | Path | None = None) -> Path:
    """Return where local copies lie: what is given, else `$SEG_CACHE_DIR`, else `seg-engine` in the user's cache."""
    if given or os.environ.get("SEG_CACHE_DIR"):
        return Path(given or os.environ["SEG_CACHE_DIR"]).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "seg-engine"


class LocalCopy:
    """The files of a run on this machine, and a note of which of them are in the store as they are here.

    Attributes:
        work_dir: Where the run works; it has the name of the remote folder.
        aside: Where files are kept that the store has otherwise.
        known: Name -> (stamp of the local file, how the store lists it).
    """

    def __init__(self, address: str, cache_dir: str | Path | None = None) -> None:
        own = hashlib.sha256(address.encode()).hexdigest()[:12]
        name = address.rstrip("/").rpartition("/")[2].rpartition(":")[2] or "run"
        if scheme_of(address) == "memory" and cache_dir is None:  # such a store ends with its process
            base = _of_this_process()
        else:
            base = cache_folder(cache_dir)
        self.base = base / "work_dirs" / own
        self.work_dir, self.aside, self.sending = self.base / name, self.base / "aside", self.base / "sending"
        self.known: dict[str, tuple[Stamp, Entry]] = {}
        self._noted = True  # whether a later process would read what is known
        self.work_dir.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let one process of this machine at a time bring the folder in line."""
        with open(self.base / "lock", "ab") as file:
            with suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield

    def files(self) -> dict[str, Stamp]:
        """List the files here by their names, each with what changes when it is written."""
        found: dict[str, Stamp] = {}
        _scan(self.work_dir, "", found)
        return found

    def stamp(self, name: str) -> Stamp:
        """Return what changes when a file is written."""
        return _stamp(os.stat(self.work_dir / name))

    def note(self, name: str, stamp: Stamp, entry: Entry) -> None:
        """Note that a file is in the store as it was here at that stamp."""
        self.known[name] = (stamp, entry)
        self._noted = False

    def forget(self, name: str) -> None:
        """Note that a file is not in the store any more."""
        del self.known[name]
        self._noted = False

    def load(self) -> None:
        """Read what an earlier process noted; nothing where that cannot be read."""
        self.known = {}
        with suppress(OSError, ValueError, TypeError, KeyError):
            noted: dict[str, Any] = json.loads((self.base / "known.json").read_text(encoding="utf-8"))
            for name, (stamp, size, version) in noted.items():
                self.known[name] = (list(stamp), Entry(int(size), str(version)))

    def store(self) -> None:
        """Write the note down for a later process."""
        if self._noted:
            return
        noted = {name: [stamp, entry.size, entry.version] for name, (stamp, entry) in self.known.items()}
        write_text(self.base / "known.json", json.dumps(noted))
        self._noted = True

    def differing(self) -> tuple[list[str], list[str]]:
        """Return the names of files that the store has not as they are here, and of those that are gone here."""
        here = self.files()
        changed = [name for name, stamp in here.items() if name not in self.known or self.known[name][0] != stamp]
        return changed, [name for name in self.known if name not in here]


def _scan(folder: Path, lead: str, found: dict[str, Stamp]) -> None:
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except FileNotFoundError:
        return
    for entry in listed:
        if IGNORED.fullmatch(entry.name):
            continue
        with suppress(FileNotFoundError):  # deleted meanwhile
            if entry.is_dir(follow_symlinks=False):
                _scan(Path(entry.path), f"{lead}{entry.name}/", found)
            elif entry.is_file():
                found[lead + entry.name] = _stamp(entry.stat())


def _stamp(status: os.stat_result) -> Stamp:
    return [status.st_mtime_ns, status.st_size]


def _of_this_process() -> Path:
    folder = Path(tempfile.gettempdir()) / f"seg-engine-{os.getuid() if hasattr(os, 'getuid') else ''}-{os.getpid()}"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
