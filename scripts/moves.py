"""Train every config of MMSegmentation's wheel for a few steps: `./run moves` prints how each of them went.

A config is trained as `seg train` does it, by this project's runner, hooks, optimizer wrapper, schedulers, loops, log
and visualizer, with MMSegmentation's own model, data preprocessor and metric; then it validates, saves, and tests a
picture with its `tta_pipeline`. Only what a CPU has no time for is changed: small samples in place of the data set,
small crops, narrower models, no weights to begin with (`moves_config.py`, `moves_widths.py`). With `--record` the table
is written to `docs/moves.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import moves_run
import moves_table
import moves_workers

__all__ = ["chosen", "main"]

Row = dict[str, Any]


def experiments() -> list[str]:
    """Return the configs of the wheel that have a model, by their path in its folder; sorted."""
    from seg_registry import Config

    folder = moves_run.configs_folder()
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    return [
        path.as_posix() for path in paths if path.parts[0] != "_base_" and "model" in Config.fromfile(folder / path)
    ]


def chosen(names: Sequence[str], patterns: Sequence[str], shard: str = "1/1") -> list[str]:
    """Return the names that hold one of the patterns (all where there is none), of these the given share.

    >>> chosen(["ann/a.py", "beit/b.py", "ccnet/c.py"], [], "1/2")
    ['ann/a.py', 'ccnet/c.py']
    """
    part, parts = map(int, shard.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(f"--shard {shard}: 1/4 to 4/4 are the four parts of all")
    found = [name for name in names if not patterns or any(pattern in name for pattern in patterns)]
    return found[part - 1 :: parts]


def read(path: Path | None) -> dict[str, Row]:
    """Return the rows of a file, by their config; none where there is no file yet."""
    if path is None or not path.is_file():
        return {}
    found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["config"]: row for row in found}


def write(path: Path | None, kept: dict[str, Row]) -> None:
    """Write rows to a file, one each line."""
    if path is not None:
        new = path.with_name(f"{path.name}.new")
        new.write_text("".join(f"{json.dumps(kept[name])}\n" for name in sorted(kept)), encoding="utf-8")
        new.replace(path)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="./run moves", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only configs whose path holds one of these")
    parser.add_argument("--steps", type=int, default=2, help="how many training steps (2)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes (one for each core)")
    parser.add_argument("--shard", default="1/1", metavar="1/4", help="the first quarter of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the rows here; what ran is not run again")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one may take (900)")
    parser.add_argument("--record", action="store_true", help="write docs/moves.md; needs a row of every config")
    return parser.parse_args()


def main() -> int:
    """Return 1 where a config failed."""
    options = arguments()
    every = experiments()
    names = chosen(every, options.patterns, options.shard)
    kept = read(options.json)
    again = [name for name in names if kept.get(name, {}).get("kind") not in moves_run.RAN]
    for row in moves_workers.rows(again, steps=options.steps, jobs=min(options.jobs, len(again)), limit=options.limit):
        kept[row["config"]] = row
        write(options.json, kept)
        print(moves_table.line(row), flush=True)
    rows = [kept[name] for name in names]
    print(moves_table.summary(rows))
    if options.record:
        missing = [name for name in every if name not in kept]
        if missing:
            print(f"moves: {len(missing)} of {len(every)} configs have no row, so nothing is recorded", file=sys.stderr)
            return 1
        moves_table.record([kept[name] for name in every], options.steps)
    return int(any(row["kind"] == "failed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
