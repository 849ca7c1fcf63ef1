"""Kill and resume, many times: `./run soak`. Prints the seed, so that a failure can be repeated.

100 kills of a process that saves, 25 of runs in training (each compared bit for bit with one never stopped), by
default; `--minutes 60` goes on for an hour.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "faults"))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=100, help="kills during saves, per round")
    parser.add_argument("--kills", type=int, default=25, help="kills during training, per round")
    parser.add_argument("--minutes", type=float, default=0, help="go on with new rounds for so long")
    parser.add_argument("--seed", type=int, default=None, help="repeat a soak")
    return parser.parse_args()


def main() -> int:
    """Rounds of kills until the time is over."""
    from _kills import kill_during_saves, kill_during_training

    options = arguments()
    seed = secrets.randbits(31) if options.seed is None else options.seed
    print(f"soak: seed {seed}", flush=True)
    draw, end, rounds = random.Random(seed), time.monotonic() + 60 * options.minutes, 0
    while not rounds or time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            saves = kill_during_saves(Path(folder) / "saves", options.saves, draw)
            print(f"saves: {saves['kills']} kills, {saves['in the middle']} in the middle of a save: whole", flush=True)
            runs = kill_during_training(Path(folder) / "train", options.kills, draw)
            print(f"training: {runs['kills']} kills in {runs['runs']} runs: equal bit for bit", flush=True)
        rounds += 1
    print(f"soak: {rounds} rounds passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
