"""Type-check every package's sources and the assignments in `tests/typing` (mypy --strict)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ISLANDS = ["registry", "hooks", "optim", "runner", "vis"]


def main() -> int:
    """Return mypy's exit code."""
    sources = [f"packages/seg-{island}/src/seg_{island}" for island in ISLANDS] + ["src/seg_engine", "tests/typing"]
    given = sys.argv[1:] or sources
    return subprocess.call([sys.executable, "-m", "mypy", *given], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
