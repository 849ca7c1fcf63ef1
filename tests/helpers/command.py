"""The command `seg` in a process of its own, as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEG = (sys.executable, "-m", "seg_engine")


def seg(*words: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder; it must end with this code (None: with any)."""
    done = subprocess.run([*SEG, *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done
