"""One run at an address: a file there that says who works in the folder, and changes while that run lives."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from seg_runner.remote.address import RemoteError, Store

__all__ = ["Claim"]

LOG = logging.getLogger("seg_runner")
NAME = ".running"
LEAVES = 5.0
"""Seconds that the end of a run waits for a sign of life that is on its way."""
LONGEST = 60.0
"""Seconds between two signs of life, at most."""


class Claim:
    """Says at an address that this run works there. No clocks are compared: a run that lives changes its file.

    A thread of its own does that, through a connection of its own: a large file may be on its way for long.

    Args:
        store: The files at the address; nobody else may use this connection.
        beat: Seconds between two signs of life.

    Attributes:
        taken: Which other run has taken the address meanwhile, in words.
    """

    def __init__(self, store: Store, beat: float = 15.0) -> None:
        self.store, self.beat = store, min(max(beat, 0.05), LONGEST)
        self.token, self.taken = secrets.token_hex(8), ""
        self._count = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Take the folder; the first write to it, which shows whether one may write there.

        Raises:
            RuntimeError: Another run trains there.
            RemoteError: It cannot be written.
        """
        if self._thread is not None:
            return
        found = self._read()
        if found is not None and found.get("token") != self.token and not _is_dead(found):
            wait = 2.5 * min(float(found.get("beat", 15.0)), LONGEST)
            LOG.info(
                "%s says that %s works there: looking for %.0f s whether it does", self.store.name, _who(found), wait
            )
            end = time.monotonic() + wait
            while time.monotonic() < end:
                time.sleep(min(1.0, wait / 5))
                now = self._read()
                if now is not None and now != found:
                    raise RuntimeError(
                        f"another run is training in {self.store.name} ({_who(now)}): both would write iter_N.pth and "
                        "last_checkpoint there. Stop that one, or give another folder (work_dir, --work-dir)"
                    )
        self._write()
        self.taken = ""
        self._ended.clear()
        self._thread = threading.Thread(target=self._live, name="remote claim", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        """Give signs of life; a store that fails gets the next one."""
        while not self._ended.wait(self.beat):
            try:
                found = self._read()
                if found is not None and found.get("token") != self.token:
                    self.taken = _who(found)
                    return
                self._write()
            except Exception:
                self.store.disconnect()

    def check(self) -> None:
        """Say that the address is still this run's, as far as one knows.

        Raises:
            RemoteError: Another run has taken it.
        """
        if self.taken:
            raise RemoteError(f"another run ({self.taken}) has taken {self.store.name}: nothing more is brought there")

    def release(self) -> None:
        """Leave the folder, if it is this run's and can be reached."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join(LEAVES)
        if not thread.is_alive() and not self.taken:
            with suppress(OSError):
                self.store.remove(NAME)
        self.store.disconnect()

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.store.read(NAME))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self) -> None:
        self._count += 1
        mine = {"token": self.token, "host": socket.gethostname(), "process": os.getpid(), "beat": self.beat}
        mine |= {"count": self._count, "command": " ".join(sys.argv)[:1000]}
        self.store.write(NAME, json.dumps(mine).encode())


def _who(found: dict[str, Any]) -> str:
    return f"process {found.get('process')} on {found.get('host')}: {found.get('command', '')}".strip(": ")


def _is_dead(found: dict[str, Any]) -> bool:
    """Tell whether a run was one of this machine and is gone."""
    process = found.get("process")
    if found.get("host") != socket.gethostname() or not isinstance(process, int) or process <= 0 or os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
