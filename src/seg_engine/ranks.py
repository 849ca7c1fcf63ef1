"""What the command prints where several processes run it: the first one speaks for all, and an error is told once."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import timedelta
from typing import Any, TextIO

__all__ = ["rank", "tell", "tell_error", "warn_once"]


def rank() -> int:
    """Return the number of this process, of a group or as its launcher says; 0 where it is alone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank())
    from seg_runner.distributed.launch import find_launch

    try:
        return find_launch().rank
    except RuntimeError:  # half of the variables: the command itself says so
        return 0


def tell(text: str, file: TextIO | None = None) -> None:
    """Print on the first of several processes."""
    if rank() == 0:
        print(text, file=sys.stdout if file is None else file)


def warn_once() -> None:
    """Let warnings be printed by the first of several processes; what turns them into errors still does.

    What the packages log goes to the terminal until the run has a log of its own.
    """
    import logging
    import warnings

    if rank() > 0:
        warnings.showwarning = lambda *given, **named: None
        logging.lastResort = logging.NullHandler()


def tell_error(error: BaseException, text: str) -> None:
    """Print an error once, on whichever process has it first.

    Where torchrun holds a store, that tells who has said it already, also before a restart: a fault that comes back in
    each try is told once, and then named in a line. Elsewhere the first process tells all, the others a line.

    Args:
        error: The error; one that only says that another process has failed is left to that one, unless it was killed.
        text: What to print.
    """
    from seg_runner.distributed.world import OtherRankError

    if isinstance(error, OtherRankError) and not error.unsaid:
        return
    line, number, store = text.splitlines()[0], rank(), _store()
    where = f"rank {number}: " if number else ""
    if store is None:
        print(f"{where}{line}" if number else text, file=sys.stderr)
        return
    this_try = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = f"seg/said/{hashlib.sha256(text.encode()).hexdigest()}"
    own = f"{number} {this_try}"
    said = store.compare_set(key, "", own).decode()
    if said == own:
        print(where + text, file=sys.stderr)
    elif said.split()[1] != this_try and store.compare_set(f"{key}/{this_try}", "", own).decode() == own:
        print(f"the same after restart {this_try}: {where}{line}", file=sys.stderr)


def _store() -> Any:
    """Return the store of torchrun that outlives its workers; None without one, or where it cannot be reached."""
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or not (address and port.isdecimal()):
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch lists it nowhere

    try:
        return TCPStore(address, int(port), None, False, timedelta(seconds=10), wait_for_workers=False)
    except RuntimeError:
        return None
