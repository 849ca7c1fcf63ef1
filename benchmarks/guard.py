"""Whether a change made one of the quick groups slower: `./run guard [BASE]`, ratios against bare and the base commit.

Three processes take turns: the bare limit, ours, and ours of the commit that the change starts from (`main`, if none
is given), whose packages come first on the path of the third. It goes on with each group until it is clear on which
side of the bounds in `bounds.toml` the median ratio is (`_sequence.py`), or until the group's time is over: "undecided"
is no failure. Who is found slower must be found slower again by fresh processes, because where a process happens to lie
in memory can cost it a tenth for as long as it lives. A slow or busy machine makes it take longer, and not fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _guarded import MOST, NAMES, TREE
from _sequence import Sequence
from _turns import Player, Put_out, cores

FOLDER = Path(__file__).resolve().parent
SCRIPT = FOLDER / "_guarded.py"
BOUNDS = FOLDER / "bounds.toml"
CURRENT = "ours"
Start = Callable[[str], Player]


def git(*words: str) -> str:
    """Return what git says.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(["git", "-C", str(FOLDER), *words], capture_output=True, text=True, check=True).stdout.strip()


def base_of(commit: str) -> str | None:
    """Return the commit that the present state and another one have in common; None where nothing differs from it."""
    try:
        base = git("merge-base", commit or "main", "HEAD")
        same = not git("diff", "--name-only", base, "--", ":/src", ":/packages")
    except subprocess.CalledProcessError as error:
        print(f"guard: no base commit, only the bare limit: {error.stderr.strip()}")
        return None
    if same:
        print(f"guard: no package differs from {base[:9]}: only the bare limit")
    return None if same else base


@contextmanager
def checked_out(commit: str | None) -> Iterator[Path | None]:
    """The files of a commit in a folder of their own, for as long as they are needed."""
    if commit is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="seg-guard-") as folder:
        tree = Path(folder) / "base"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def settings_of(tree: Path | None) -> dict[str, str]:
    """Return the environment variables with which a process imports our packages from a folder."""
    if tree is None:
        return {}
    sources = [tree / "src", *sorted(tree.glob("packages/*/src"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, sources)), TREE: str(tree)}


def starter(tree: Path | None) -> Start:
    """Return what starts a process for each of the three."""
    return lambda who: Player(
        [sys.executable, str(SCRIPT), "--contestant"], more=settings_of(tree if who == "base" else None)
    )


def compare(group: str, start: Start, limits: Mapping[str, float], seconds: float) -> dict[str, Sequence]:
    """Let three fresh processes take turns until each sequence of ratios is decided.

    Raises:
        Put_out: the bare limit or ours died; where the base died, it is left out with a word.
    """
    players = {name: start(name) for name in (CURRENT, *limits)}
    sequences = {name: Sequence(limit) for name, limit in limits.items()}
    try:
        for name in list(players):
            try:
                players[name].begin(group, "bare" if name == "bare" else CURRENT)
                players[name].wait_until_ready()
            except Put_out as error:
                if name != "base":
                    raise
                print(f"{group}: the base commit cannot be compared with: {error}")
                players.pop(name).close()
                del sequences[name]
        began, places = time.monotonic(), cores()
        for number in range(MOST + 1):
            names = list(players)
            first = number % len(names)
            core = places[number % len(places)]  # the same for all: one may be slower than the other
            found = {name: players[name].turn(core)["cpu"] for name in names[first:] + names[:first]}
            for name, sequence in sequences.items() if number else ():  # the first round warms up
                sequence.add(found[CURRENT] / found[name])
            late = time.monotonic() - began > seconds
            if late or all(each.verdict != "undecided" for each in sequences.values()):
                break
    finally:
        for player in players.values():
            player.close()
    return sequences


def watch(group: str, start: Start, limits: Mapping[str, float], seconds: float) -> list[str]:
    """Return what is slower than it may be: found so twice, by different processes."""
    first = compare(group, start, limits, seconds)
    beyond = [name for name, each in first.items() if each.verdict == "beyond"]
    again = compare(group, start, {name: limits[name] for name in beyond}, seconds) if beyond else {}
    slower = []
    for name, each in first.items():
        verdict = each.verdict
        if name in again and again[name].verdict != "beyond":
            verdict = f"undecided: fresh processes found {again[name].median:.2f} x"
        elif name in again:
            verdict = f"slower; again {again[name].median:.2f} x"
            slower.append(f"{group}: {each.median:.2f} x {name}, at most {each.limit} x")
        print(f"{group:12} {each.median:5.2f} x {name:5} (at most {each.limit}) {len(each.ratios):3} pairs  {verdict}")
    sys.stdout.flush()
    return slower


def main() -> int:
    """Return 1 where a group is slower than it may be."""
    parser = argparse.ArgumentParser(prog="./run guard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", nargs="?", default="main", help="the commit that the change starts from")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="GROUP", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=45.0, help="so long at most for a group")
    options = parser.parse_args()
    bounds: dict[str, Any] = tomllib.loads(BOUNDS.read_text(encoding="utf-8"))
    slower = []
    with checked_out(base_of(options.base)) as tree:
        for group in options.only:
            limits = {name: bounds[group][name] for name in ("bare", *(["base"] if tree else []))}
            slower += watch(group, starter(tree), limits, options.seconds)
    for line in slower:
        print(f"guard: slower: {line} ({bounds[line.partition(':')[0]]['why']})", file=sys.stderr)
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
