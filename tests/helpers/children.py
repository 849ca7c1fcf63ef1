"""The life of a process that a server of tests has forked: its own group, its own log, and an exit code."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

__all__ = ["run_as_child"]


def run_as_child(log: Path, work: Callable[[], object]) -> NoReturn:
    """Do the work of this process, with all that it prints in a file, and end it; errors are printed there, too."""
    code = 1
    try:
        multiprocessing.set_start_method(None, force=True)  # its workers are started as in any other process
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where all of this runs under nohup
        os.setpgid(0, 0)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = open(handle, "w", buffering=1, closefd=False)  # noqa: SIM115
        work()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
