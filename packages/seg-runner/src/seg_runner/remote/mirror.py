"""Bringing the files of a run to its address, beside training: what is written here, and what is deleted here.

A pass looks at the whole folder, so that everything is brought over, whoever wrote it. A checkpoint goes before
`last_checkpoint`, which names it, and nothing is deleted there before what takes its place has arrived.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_runner.remote.address import RemoteError, Store, cause_of
from seg_runner.remote.claim import Claim
from seg_runner.remote.folder import LocalCopy, Stamp
from seg_runner.remote.pull import fetch_stub, is_manifest, is_weights, pull
from seg_runner.remote.stubs import fetch_whole, is_stub, serve

__all__ = ["Mirror", "RemoteOptions"]

LOG = logging.getLogger("seg_runner")
POINTER = "last_checkpoint"
LOOK = 0.5
"""Seconds between two looks at whether a file has come or gone."""
TRIES = 3
"""Files that fail before the others wait for the next pass."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds after a failure, doubled each time, and at most."""


class RemoteOptions:
    """How a run keeps its files at an address: the argument `remote`.

    Args:
        options: What fsspec's class for the protocol takes, such as `dict(endpoint_url=...)` for `s3://`. Keys and
            passwords belong into the environment or into fsspec's own configuration, not into a config.
        cache_dir: Where the local copies lie; None: `$SEG_CACHE_DIR`, else `seg-engine` in the user's cache folder.
        interval: Seconds between two times that logs and pictures are brought over; checkpoints go at once.
        patience: Seconds at the end of a run in which nothing moves, after which files are left behind.
    """

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        interval: float = 30,
        patience: float = 120,
    ) -> None:
        self.options, self.cache_dir = dict(options or {}), cache_dir
        self.interval, self.patience = float(interval), float(patience)


class Mirror:
    """Keeps a folder here and the files at an address in line, from the first step of a run to its end.

    Args:
        address: Where the files go.
        options: How.

    Attributes:
        work_dir: The folder here.
        left: What the last end of a run could not bring over, in words.
    """

    def __init__(self, address: str, options: RemoteOptions) -> None:
        self.options = options
        self.store = Store(address, options.options)
        self.copy = LocalCopy(self.store.address, options.cache_dir)
        self.work_dir, self.left = self.copy.work_dir, ""
        self.claim = Claim(Store(address, options.options), beat=min(options.interval, 15.0))
        self._logger: logging.Logger = LOG
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ending = self._given_up = self._finished = False
        self._moved = 0.0  # when something last went over
        self._outage: str | None = None
        self._sent, self._bytes = 0, 0
        self._leftovers: list[str] = []
        serve(self.work_dir, self)

    def pull(self) -> None:
        """Bring the folder here in line with the address, at the start of a run.

        Raises:
            RemoteError: The address cannot be opened, or not be listed.
        """
        with self.copy.held():
            self._leftovers = pull(self.store, self.copy)

    def take(self) -> None:
        """Take the address for this run, and remove what a killed one left there half written.

        Raises:
            RuntimeError: Another run trains there.
            RemoteError: It cannot be written.
        """
        self.claim.take()
        for name in self._leftovers:
            self.store.remove(name)
        self._leftovers = []

    def here(self, address: str) -> Path | None:
        """Return the path here of an address below that of this folder; None where it lies elsewhere."""
        name = address.removeprefix(f"{self.store.address}/")
        return self.work_dir / name if name != address and (self.work_dir / name).exists() else None

    def fetch_stub(self, path: Path) -> None:
        """Put a checkpoint in the place of its stand-in; from the start of a run on through a connection of its own."""
        store = self.store if self._thread is None else Store(self.store.address, self.store.options)
        with self.copy.held():
            if is_stub(path):
                fetch_stub(store, self.copy, path)

    # -- from the first step to the end -----------------------------------------------------------------------------

    def begin(self, logger: logging.Logger) -> None:
        """Bring files over from now on."""
        if self._thread is not None:
            return
        self._logger, self.left = logger, ""
        self._ending = self._given_up = self._finished = False
        logger.info("The files of %s are brought to %s as they come", self.work_dir, self.store.name)
        self._thread = threading.Thread(target=self._work, name="remote work_dir", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Bring over what is not there yet, then end; `left` says what could not be brought over."""
        thread = self._thread
        if thread is None:
            self.claim.release()
            return
        self._moved = time.monotonic()
        with self._wake:
            self._ending = True
            self._wake.notify_all()
        try:
            while thread.is_alive() and time.monotonic() - self._moved < self.options.patience:
                thread.join(0.1)
        finally:
            self._given_up, self._thread = True, None
            self._say_how_it_ended()

    def add_rest(self) -> None:
        """Bring over the last lines of the log, written after the end; nothing where that end left files behind."""
        if self._thread is None and self._sent and not self.left:
            self._given_up = False
            with suppress(Exception):
                self._pass(everything=True)
        if self._thread is None:
            self.store.disconnect()

    def _say_how_it_ended(self) -> None:
        if self._finished:
            text = "%s is up to date: %d files, %.1f MB were brought over"
            self._logger.info(text, self.store.name, self._sent, self._bytes / 2**20)
            return
        changed, gone = self.copy.differing()
        names = (
            _listed(sorted(changed, key=lambda name: (not is_weights(name), name)))
            or f"{len(gone)} files are still to be deleted there"
        )
        self.left = (
            f"not brought to {self.store.name}: {names} ({self._outage or 'there was no time'}). They lie in "
            f"{self.work_dir}; a resume on this machine goes on from there and brings them over"
        )
        self._logger.error("%s", self.left)

    # -- in the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        wait, due, seen = 0.0, 0.0, -1
        while not self._given_up:
            now, ending = time.monotonic(), self._ending
            come = self._folder_stamp()
            if not ending and now < due and (come == seen or wait):
                with self._wake:
                    self._wake.wait_for(lambda: self._ending, min(LOOK, due - now))
                continue
            try:
                self.claim.check()
                self._pass(everything=ending or now >= due or wait > 0)
            except Exception as error:
                wait = min(2 * wait or FIRST_WAIT, LONGEST_WAIT)
                self._failed(error)
                self._rest(min(wait, 5.0) if ending else wait)
                due = 0.0
                continue
            self._worked()
            if ending:
                self._finished = True
                break
            wait, seen = 0.0, come
            due = time.monotonic() + self.options.interval if now >= due else due
        if self._outage is None:
            self.claim.release()

    def _rest(self, seconds: float) -> None:
        """Wait, but not longer than to the end of the run."""
        ending = self._ending
        with self._wake:
            self._wake.wait_for(lambda: self._ending and not ending, seconds)
        self.store.disconnect()

    def _folder_stamp(self) -> int:
        with suppress(OSError):
            return os.stat(self.work_dir).st_mtime_ns
        return -1

    def _failed(self, error: Exception) -> None:
        text = str(error) if isinstance(error, RemoteError) else cause_of(error)
        if self._outage is None:
            self._logger.error("%s. Training goes on; files wait in %s until it takes them.", text, self.work_dir)
        self._outage = text

    def _worked(self) -> None:
        if self._outage is not None:
            self._logger.info("%s takes files again", self.store.name)
        self._outage = None

    def _pass(self, *, everything: bool) -> None:
        """Bring over what has changed; without `everything` only files that are new, and the pointer."""
        pointer = self._stage(POINTER)  # as it is before anything is looked at: what it names is then in the list
        here = self.copy.files()
        changed = [
            name for name, stamp in here.items() if name not in self.copy.known or self.copy.known[name][0] != stamp
        ]
        if not everything:
            changed = [n for n in changed if n not in self.copy.known or is_weights(n) or is_manifest(n)]
        try:
            self._bring_all(_in_order({name: here[name] for name in changed if name != POINTER}))
            if pointer is not None:
                self._send(POINTER, *pointer)
            if pointer is None or pointer[1] == here.get(POINTER):
                gone = [name for name in self.copy.known if name not in here]
                for name in sorted(gone, key=lambda name: not is_manifest(name)):
                    self.store.remove(name)
                    self.copy.forget(name)
                    self._moved = time.monotonic()
        finally:
            if self.copy.base.exists():
                self.copy.store()

    def _stage(self, name: str) -> tuple[Path, Stamp] | None:
        """Take a copy of a file as it is now, which nobody changes or deletes; None where it is gone, or is there."""
        path, staged = self.copy.work_dir / name, self.copy.sending / ("pointer" if name == POINTER else "file")
        try:
            stamp = self.copy.stamp(name)
            if name in self.copy.known and self.copy.known[name][0] == stamp:
                return None
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.unlink(missing_ok=True)
            if is_weights(name):  # is replaced, never written to
                if is_stub(path):
                    fetch_whole(path)
                    stamp = self.copy.stamp(name)
                _link(path, staged)
            else:
                _copy(path, staged, stamp[1])
        except FileNotFoundError:
            return None
        return staged, stamp

    def _moves(self) -> None:
        self._moved = time.monotonic()

    def _bring_all(self, names: Iterable[str]) -> None:
        """Bring files over; one that the store does not take keeps none of the others, but what names it."""
        failed: list[Exception] = []
        for name in names:
            try:
                if not (failed and is_manifest(name)) and (staged := self._stage(name)) is not None:
                    self._send(name, *staged)
            except Exception as error:
                failed.append(error)
                if len(failed) == TRIES:  # it takes none
                    break
                self.store.disconnect()
        if failed:
            raise failed[0]

    def _send(self, name: str, staged: Path, stamp: Stamp) -> None:
        if self._given_up:
            raise RemoteError("there was no time")
        entry = self.store.bring(staged, name, self._moves)
        staged.unlink(missing_ok=True)
        self.copy.note(name, stamp, entry)
        self._moved, self._sent, self._bytes = time.monotonic(), self._sent + 1, self._bytes + entry.size


def _in_order(files: Mapping[str, Stamp]) -> list[str]:
    """List checkpoints first, the oldest of them before the others; then what says that one of them is whole."""
    return sorted(files, key=lambda name: (not is_weights(name), not is_manifest(name), files[name], name))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # no links there
        shutil.copyfile(path, target)


def _copy(path: Path, target: Path, size: int) -> None:
    """Copy a file to which lines may be added meanwhile, up to where it stood."""
    with open(path, "rb") as source, open(target, "wb") as file:
        while size > 0 and (data := source.read(min(size, 2**20))):
            file.write(data)
            size -= len(data)
