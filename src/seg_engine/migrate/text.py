"""The report as text for a terminal: what is to be changed first, each thing once, with the places where it stands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from seg_engine.migrate.findings import CHANGE, DIFFERS, NOTE, UNREAD, Finding, Report

__all__ = ["lines_of"]

TITLES = {
    UNREAD: "cannot be read",
    CHANGE: "to be changed",
    DIFFERS: "runs, and differs",
    NOTE: "to be known",
}
COLOURS = {UNREAD: "bold red", CHANGE: "bold yellow", DIFFERS: "bold cyan", NOTE: "bold"}
KINDS = {"configs": "config", "code": "file of code", "scripts": "script", "checkpoints": "checkpoint"}
MOST_PLACES = 4
NARROWEST = 40

Line = tuple[str, str]


def lines_of(report: Report, width: int) -> Iterator[Line]:
    """Yield the lines of a report, each with its style."""
    width = max(width, NARROWEST)
    yield (f"{report.kind} {report.path}", "bold")
    for name, value in report.facts.items():
        yield from wrapped(f"{name:<12}{value}", width, "  ", " " * 14)
    for level, title in TITLES.items():
        groups = list(report.groups(level))
        if groups:
            yield ("", "")
            yield (f"{title} ({len(groups)})", COLOURS[level])
        for group in groups:
            yield from lines_of_group(group, width)
    yield ("", "")
    yield from summary(report, width)


def lines_of_group(group: Sequence[Finding], width: int) -> Iterator[Line]:
    """Yield the lines of one thing: what it is, where it stands, what to do, where it is explained."""
    first = group[0]
    yield from wrapped(first.what, width, "- ", "  ")
    places = [each.place for each in group]
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    if places != ["."]:
        yield from wrapped(", ".join(places[:MOST_PLACES]) + more, width, "  at  ", "      ", "dim")
    if first.advice:
        yield from wrapped(first.advice, width, "  do  ", "      ", "green")
    if first.name:
        yield (f"  see {first.page}", "dim")


def wrapped(text: str, width: int, begin: str, further: str, style: str = "") -> Iterator[Line]:
    """Yield a text in lines of a width; paths and commands are never cut in two."""
    for at, paragraph in enumerate(text.splitlines() or [""]):
        for line in textwrap.wrap(
            paragraph,
            width,
            initial_indent=further if at else begin,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            yield (line, style)


def summary(report: Report, width: int) -> Iterator[Line]:
    """Yield how much of what was looked at runs as it is."""
    parts = []
    for kind, name in KINDS.items():
        total = len(report.files.get(kind, ()))
        if total:
            parts.append(f"{report.as_is(kind)} of {total} {plural(name, total)}")
    if not parts:
        yield ("there is nothing here that trains or tests: no config, code, script or checkpoint", "")
        return
    style = "bold green" if report.code == 0 else "bold"
    yield from wrapped(f"as it is: {', '.join(parts)}", width, "", "  ", style)


def plural(name: str, count: int) -> str:
    """Return a name for so many.

    >>> plural("file of code", 2), plural("config", 1)
    ('files of code', 'config')
    """
    first, _, rest = name.partition(" ")
    return name if count == 1 else f"{first}s {rest}".strip()
