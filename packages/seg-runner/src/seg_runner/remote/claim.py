"""One run at an address: a file there that says who works in the folder, and changes while that run lives."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import time
from typing import Any

from seg_runner.remote.address import RemoteError, Store

__all__ = ["Claim"]

LOG = logging.getLogger("seg_runner")
NAME = ".running"
LONGEST = 60.0
"""Seconds between two signs of life, at most."""


class Claim:
    """Says at an address that this run works there. No clocks are compared: a run that lives changes its file.

    Args:
        store: The files at the address.
        beat: Seconds between two signs of life.
    """

    def __init__(self, store: Store, beat: float = 15.0) -> None:
        self.store, self.beat = store, min(max(beat, 0.1), LONGEST)
        self.token, self.held = secrets.token_hex(8), False
        self._count, self._next = 0, 0.0

    def take(self) -> None:
        """Take the folder; the first write to it, which shows whether one may write there.

        Raises:
            RuntimeError: Another run trains there.
            RemoteError: It cannot be written.
        """
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
        self.held = True

    def keep(self) -> None:
        """Give a sign of life, if it is time.

        Raises:
            RemoteError: Another run has taken the folder meanwhile; or it cannot be reached.
        """
        if not self.held or time.monotonic() < self._next:
            return
        found = self._read()
        if found is not None and found.get("token") != self.token:
            raise RemoteError(
                f"another run ({_who(found)}) has taken {self.store.name}, so nothing more is brought there"
            )
        self._write()

    def release(self) -> None:
        """Leave the folder."""
        if self.held:
            self.held = False
            self.store.remove(NAME)

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
        self._next = time.monotonic() + self.beat


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
