"""Run one package's own tests in an environment where only it and what it declares is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ISLANDS = ["registry", "hooks", "optim", "runner", "vis"]


def main() -> int:
    """Refuse an environment that holds a sibling: passing there would prove nothing."""
    package, *options = sys.argv[1:]
    island = package.removeprefix("seg-")
    siblings = [f"seg_{name}" for name in ISLANDS if name != island and importlib.util.find_spec(f"seg_{name}")]
    if siblings:
        print(f"test_alone: {package} is not alone here, {', '.join(siblings)} can be imported too", file=sys.stderr)
        return 1
    return subprocess.call([sys.executable, "-m", "pytest", *options, f"tests/{island}"], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
