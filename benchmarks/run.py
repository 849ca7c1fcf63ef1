"""Run the benchmarks named on the command line, or all of them: `./run bench`, `./run bench loop ema`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Return 1 if a benchmark could not run."""
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run" and not path.stem.startswith("_"))
    asked = sys.argv[1:] or known
    if unknown := [name for name in asked if name not in known]:
        print(f"bench: no benchmark called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    codes = []
    for name in asked:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.call([sys.executable, str(FOLDER / f"{name}.py")]))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
