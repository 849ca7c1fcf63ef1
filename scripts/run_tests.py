"""`./run test`: all tests in as many processes as there are cores, or, where files or folders are named, only those.

`./run test --measure` writes anew how much processor time all tests take, from which the first line is reckoned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = ROOT / "tests/seconds.json"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> int:
    """Return pytest's exit code."""
    arguments = [each for each in sys.argv[1:] if each != "--measure"]
    command = [sys.executable, "-m", "pytest", *arguments]
    if any((ROOT / each.partition("::")[0]).exists() for each in arguments):
        return subprocess.call(command, cwd=ROOT)
    number = cores()
    known = json.loads(SECONDS.read_text(encoding="utf-8"))["seconds_times_cores"] if SECONDS.is_file() else None
    told = f"about {max(1, round(known / number / 60))} minutes" if known else "some minutes"
    print(f"all tests on {number} cores: {told} (`./run test tests/optim` runs some of them)", flush=True)
    began = time.monotonic()
    code = subprocess.call([*command, "-n", str(number), "--dist", "loadfile"], cwd=ROOT)  # a file shares what it makes
    if "--measure" in sys.argv and code == 0:
        SECONDS.write_text(f'{{"seconds_times_cores": {round((time.monotonic() - began) * number)}}}\n', "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
