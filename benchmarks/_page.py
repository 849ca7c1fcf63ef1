"""The page on performance, made from the records: `docs/performance/*.json` give `docs/performance.md` and plots."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from _plot import Bar, plot

__all__ = ["pages", "write"]

SCRIPTS = Path(__file__).resolve().parent
FIRST = ["loop", "data", "validation", "ema", "optim", "hooks", "checkpoint", "start_up", "imports"]
"""The groups that most people ask for; the others follow by name."""
HEADINGS = {
    "ema": "Averaging the weights",
    "imports": "Importing",
    "optim": "The optimizer",
    "ranks": "Several processes",
    "resume": "Resuming",
    "loop": "The training loop",
    "start_up": "Start and end",
}
HEAD = """\
# Performance

What is measured is the cost over the *bare limit*: the shortest code written by hand that does the same work, on the
same machine, in the same run. The contestants take turns, and CPU time is counted unless a table says otherwise, so
that other programs on the machine disturb little. Seconds differ from machine to machine; the ratios are what counts.
[`benchmarks/README.md`](../benchmarks/README.md) says how each bare limit is written and why it is fair.

No word of the tables is written by hand: `./run bench --record docs/performance NAME` measures a group, keeps its
figures as JSON, and makes this page and its plots from all that is kept there. `--peers` lets those take part that live
in other environments. The bars of a plot show between what half of the turns lie; ours are blue.
"""


def pages(folder: Path) -> dict[Path, str]:
    """Return each file that the records in a folder make, and its text."""
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    order = sorted(records, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    made: dict[Path, str] = {}
    parts = [HEAD, *goals(records), *machines(records)]
    for name in order:
        parts.append(f"## {HEADINGS.get(name, name.replace('_', ' ').capitalize())}\n\n{about(name)}\n")
        for number, table in enumerate(records[name]["tables"], 1):
            parts.append(f"**{table['title']}**\n")
            unit, bars = bars_of(table)
            if len(bars) > 1:
                picture = folder / f"{name}-{number}.svg"
                made[picture] = plot(f"{table['title']}: {unit}", bars)
                parts.append(f"![{table['title']}: {unit}]({folder.name}/{picture.name})\n")
            absent = table.get("figures", {}).get("absent", {})
            missing = [f"- {who}: {why.splitlines()[0]}" for who, why in absent.items()]
            parts += [markdown(table["header"], table["rows"]), *(["", *missing] if missing else []), ""]
        parts.append(origin(records[name]))
    made[folder.with_suffix(".md")] = re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"
    return made


def write(folder: Path) -> None:
    """Write the page and the plots beside the records, and remove plots of records that are gone."""
    made = pages(folder)
    for path in folder.glob("*.svg"):
        if path not in made:
            path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


def about(name: str) -> str:
    """Return the first paragraph of a benchmark's own words."""
    path = SCRIPTS / f"{name}.py"
    words = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") if path.is_file() else ""
    return re.split(r"\n\s*\n", words)[0]


def bars_of(table: dict[str, Any]) -> tuple[str, list[Bar]]:
    """Return what a plot shows, and in what: the figures, or the column of ratios where a table has no more."""
    if "figures" in table:
        found = {name: one["ratio"] for name, one in table["figures"]["contestants"].items() if "ratio" in one}
        return "times the bare limit", [(name, one["low"], one["median"], one["high"]) for name, one in found.items()]
    columns = [place for place, word in enumerate(table["header"]) if place and re.match(r"x\b", word)]
    if len(columns) != 1:
        return "", []
    cells = [(row[0], row[columns[0]]) for row in table["rows"]]
    numbers = [(name, float(cell)) for name, cell in cells if re.fullmatch(r"\d+(\.\d+)?", cell)]
    base = table["header"][columns[0]][1:].strip()
    what = "the bare limit" if base in ("", "bare") else base
    return f"times {what}", [(name, ratio, ratio, ratio) for name, ratio in numbers if ratio > 0]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a table; the first column to the left, the others to the right."""
    line = "| " + " | ".join(["---", *["---:"] * (len(header) - 1)]) + " |"
    cells = ["| " + " | ".join(cell.replace("|", "\\|") or " " for cell in row) + " |" for row in [header, *rows]]
    return "\n".join([cells[0], line, *cells[1:]])


def machine_of(record: dict[str, Any]) -> str:
    """Return the machine in words."""
    machine = record["machine"]
    memory = f", {machine['memory'] / 2**30:.0f} GiB" if machine.get("memory") else ""
    return f"{machine['processor']}, {machine['cores']} cores{memory}"


def origin(record: dict[str, Any]) -> str:
    """Say where a table comes from."""
    machine = record["machine"]
    load = "" if machine["load"] is None else f"; {machine['load']:.1f} processes at work when it began"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    commit = f", commit {record['commit'][:9]}" if record.get("commit") else ""
    return f"`{record['command']}`, {record['day']}{commit}: {machine_of(record)}{load}; {versions}.\n"


def machines(records: dict[str, Any]) -> list[str]:
    """Say on which machines all of it was measured."""
    found = sorted({machine_of(record) for record in records.values()})
    return [f"Measured on: {'; '.join(found)}.\n"] if found else []


def goals(records: dict[str, Any]) -> list[str]:
    """Say which goals were reached and which not, as measured."""
    rows = []
    for name, record in records.items():
        for table in record["tables"]:
            for goal in table.get("figures", {}).get("goals", []):
                cells = (goal[key] for key in ("contestant", "asked", "seen", "verdict"))
                rows.append([f"{name}: {table['title']}", *cells])
    if not rows:
        return []
    reached = sum(row[-1] == "reached" for row in rows)
    head = f"## What is reached\n\nOf {len(rows)} goals {reached} are reached in the runs that are recorded here.\n"
    return [head, markdown(["group", "contestant", "goal", "seen", ""], rows) + "\n"]
