"""Type-check every package's sources and the assignments in `tests/typing` (mypy --strict)."""

from __future__ import annotations

import subprocess
import sys

from projects import NAMES, ROOT, Project


def main() -> int:
    """Return mypy's exit code."""
    sources = [*(str(Project(name).source.relative_to(ROOT)) for name in NAMES), "tests/typing"]
    given = sys.argv[1:] or sources
    return subprocess.call([sys.executable, "-m", "mypy", *given], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
