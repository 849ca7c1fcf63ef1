"""Kill and resume, many times: `./run soak`. Prints the seed, so that a failure can be repeated.

100 kills of a process that saves, 25 of runs in training (each compared bit for bit with one never stopped), by
default; `--minutes 60` goes on for an hour.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=100, help="kills during saves, per round")
    parser.add_argument("--kills", type=int, default=25, help="kills during training, per round")
    parser.add_argument("--minutes", type=float, default=0, help="go on with new rounds for so long")
    parser.add_argument("--seed", type=int, default=None, help="repeat a soak")
    return parser.parse_args()


def main() -> int:
    """Rounds of kills until the time is over, each a run of `tests/faults/test_kills.py`."""
    options = arguments()
    seed = secrets.randbits(31) if options.seed is None else options.seed
    print(f"soak: seed {seed}", flush=True)
    end, rounds = time.monotonic() + 60 * options.minutes, 0
    numbers = ["--saves", str(options.saves), "--kills", str(options.kills)]
    while not rounds or time.monotonic() < end:
        command = [sys.executable, "-m", "pytest", "-q", "-s", "tests/faults/test_kills.py", *numbers]
        if code := subprocess.call([*command, "--seed", str(seed + rounds)], cwd=ROOT):
            print(f"soak: round {rounds + 1} failed; repeat it: ./run soak --seed {seed + rounds}")
            return code
        rounds += 1
    print(f"soak: {rounds} rounds passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
