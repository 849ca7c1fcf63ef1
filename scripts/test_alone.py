"""Run one package's own tests in an environment where only it and what it declares is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from projects import ISLANDS, ROOT, Project


def main() -> int:
    """Refuse an environment that holds a sibling: passing there would prove nothing."""
    package, *options = sys.argv[1:]
    others = [Project(name).module for name in ISLANDS if name != package]
    siblings = [module for module in others if importlib.util.find_spec(module)]
    if siblings:
        print(f"test_alone: {package} is not alone here, {', '.join(siblings)} can be imported too", file=sys.stderr)
        return 1
    return subprocess.call([sys.executable, "-m", "pytest", *options, str(Project(package).tests)], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
