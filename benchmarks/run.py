"""Run the benchmarks named on the command line, or all of them.

./run bench                                          # all
./run bench loop ema                                 # some
./run bench --peers data                             # the peers of other environments, too, made where they are not
./run bench --record docs/performance loop ema       # and keep their figures, and make the page and its plots anew
./run bench --page docs/performance                  # make the page from what is kept, and measure nothing
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _environments import PEERS
from _page import write
from _record import TABLES, keep

FOLDER = Path(__file__).resolve().parent


def run(name: str, record: Path | None, peers: bool) -> int:
    """Run one benchmark, and keep its tables in the folder `record`; its exit code."""
    print(f"\n== {name}", flush=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "tables"
        environment = {**os.environ, **({TABLES: str(tables)} if record else {}), **({PEERS: "1"} if peers else {})}
        code = subprocess.call([sys.executable, str(FOLDER / f"{name}.py")], env=environment)
        if record and not code:
            keep(name, tables, load, record)
    return code


def main() -> int:
    """Return 1 if a benchmark could not run."""
    stems = sorted(path.stem for path in FOLDER.glob("*.py"))
    known = [stem for stem in stems if stem not in ("run", "guard") and not stem.startswith("_")]
    parser = argparse.ArgumentParser(prog="./run bench", description="Runs benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; all, if none is named")
    parser.add_argument("--record", type=Path, metavar="DIR", help="keep the figures here, make the page of them")
    parser.add_argument("--page", type=Path, metavar="DIR", help="only make the page of what is kept in this folder")
    parser.add_argument("--peers", action="store_true", help="let the peers of other environments take part")
    options = parser.parse_args()
    if options.page:
        write(options.page)
        return 0
    if unknown := [name for name in options.names if name not in known]:
        print(f"bench: no benchmark called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    codes = [run(name, options.record, options.peers) for name in options.names or known]
    if options.record:
        write(options.record)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
