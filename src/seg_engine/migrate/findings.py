"""What was found: one finding a place, and the report that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

__all__ = ["CHANGE", "DIFFERS", "NOTE", "UNREAD", "Finding", "Report", "page_of"]

CHANGE, UNREAD, DIFFERS, NOTE = "change", "unread", "differs", "note"
"""Levels, the gravest first: to be changed; not readable; runs, with another result or in another way; to be known."""
CODES = {CHANGE: 1, UNREAD: 2}
FALLBACK = "docs/differences.md"
"""Where differences stand in the repository, for copies of the package that say of no site."""


@dataclass(frozen=True)
class Finding:
    """One thing at one place.

    Attributes:
        level: `CHANGE`, `UNREAD`, `DIFFERS` or `NOTE`.
        file: The file, as seen from the project's folder.
        line: Its line; 0 where the whole file is meant.
        what: What is there, and what comes of it.
        advice: What to do; empty where nothing needs to be done.
        name: The name of the known difference; empty for none.
    """

    level: str
    file: str
    line: int
    what: str
    advice: str = ""
    name: str = ""

    @property
    def place(self) -> str:
        """Return `file:line`, or the file alone.

        >>> Finding(NOTE, "a.py", 3, "x").place
        'a.py:3'
        """
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def page(self) -> str:
        """Return the address where the difference is explained; empty for none."""
        return page_of(self.name) if self.name else ""

    def as_dict(self) -> dict[str, str | int]:
        """Return it for machines."""
        return {**vars(self), "page": self.page}


@dataclass
class Report:
    """All that was found in a project, a config or a checkpoint.

    Attributes:
        path: What was looked at.
        kind: `project`, `config`, `file of code`, `script` or `checkpoint`.
        files: What was looked at, by kind: `configs`, `code`, `scripts`, `checkpoints`.
        facts: Lines about a checkpoint: a name and a value each.
        touched: Files that do not run as they are, though what is to be changed may stand in a base of theirs.
    """

    path: str
    kind: str
    files: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    def add(self, findings: Iterable[Finding], owner: str = "") -> None:
        """Add what is not there yet: many configs have one base.

        Args:
            findings: What was found.
            owner: The file that was looked at, where findings may stand in others.
        """
        found = list(findings)
        self.findings = list(dict.fromkeys([*self.findings, *found]))
        self.touched |= {owner or each.file for each in found if each.level in CODES}

    @property
    def code(self) -> int:
        """Return the exit code: 0 everything runs, 1 something is to be changed, 2 something cannot be read."""
        return max((CODES.get(each.level, 0) for each in self.findings), default=0)

    def groups(self, level: str) -> Iterator[list[Finding]]:
        """Yield what is the same thing at several places, most places first."""
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for each in self.findings:
            if each.level == level:
                groups.setdefault((each.what, each.advice, each.name), []).append(each)
        yield from sorted(groups.values(), key=len, reverse=True)

    def as_is(self, kind: str) -> int:
        """Count the files of a kind of which nothing is to be changed."""
        return sum(file not in self.touched for file in self.files.get(kind, ()))

    def as_dict(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "path": self.path,
            "kind": self.kind,
            "code": self.code,
            "files": self.files,
            "facts": self.facts,
            "findings": [each.as_dict() for each in self.findings],
        }


@lru_cache
def page_of(name: str) -> str:
    """Return the address of the page that explains a known difference.

    >>> page_of("misspelt-keys").rpartition("/")[2]
    'differences.html#misspelt-keys'
    """
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        links = metadata("seg-engine").get_all("Project-URL") or []
    except PackageNotFoundError:
        links = []
    site = next((link.partition(",")[2].strip() for link in links if link.startswith("Documentation,")), "")
    return f"{site.rstrip('/')}/latest/en/differences.html#{name}" if site else f"{Path(FALLBACK)}#{name}"
