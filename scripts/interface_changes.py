"""What differs between two states of a package's interface, and which step of the version that asks for.

Griffe judges calls: an argument that is gone, moved, required now, or has another default. The rest is decided here:

- what is taken away breaks; what is new does not;
- a Protocol is what a package asks of others: there, what is new in it breaks, and what it no longer asks for does not;
- another default or type of an option of the command line, or of a key of a checkpoint, breaks;
- where an entry point leads, and how a type is written, is shown and breaks nothing.

The rule of versions: from 1.0.0 on as SemVer has it; before, what breaks asks for the next minor version (0.1.4 ->
0.2.0), and anything else for the next patch (0.1.4 -> 0.1.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import griffe
from packaging.version import Version

Interface = Mapping[str, Mapping[str, str]]
"""Section -> name -> text, as in `interface.json`."""
SECTIONS = ("names", "protocols", "entry points", "config", "commands", "checkpoint")
CALL = re.compile(r"(?:def |classmethod |staticmethod )?(\(.*)", re.DOTALL)
ON_CLASS = ("classmethod ", "staticmethod ")  # can be called without an object


@dataclass(frozen=True)
class Change:
    """One line of an interface that differs.

    Attributes:
        section: Its section.
        name: Its name there.
        old: What it was; None: it is new.
        new: What it is; None: it was taken away.
        broken: What this breaks, in words; empty where nothing is.
    """

    section: str
    name: str
    old: str | None
    new: str | None
    broken: str = ""

    def __str__(self) -> str:
        sign = "+" if self.old is None else "-" if self.new is None else "~"
        text = " -> ".join(each for each in (self.old, self.new) if each is not None)
        return f"{sign} {self.section}: {self.name}: {text}" + (f"  [breaks: {self.broken}]" if self.broken else "")

    @property
    def words(self) -> set[str]:
        """Words of which the changelog should have one: the name, the class that it belongs to, or the argument."""
        parts = re.split(r"[.\s/]+", self.name)[-2 if self.section in ("names", "protocols") else -1 :]
        return {part for part in parts if part != self.name.partition(".")[0]} | set(
            re.findall(r": (\w+)", self.broken)
        )


def compare(old: Interface, new: Interface) -> list[Change]:
    """Return every line that differs, section by section."""
    changes = []
    for section in SECTIONS:
        before, after = old.get(section, {}), new.get(section, {})
        broken = broken_calls(before, after) if section in ("names", "config") else {}
        for name in sorted({*before, *after}):
            was, now = before.get(name), after.get(name)
            if was != now:
                why = broken.get(name) or broken_by(section, name, was, now, before, after)
                changes.append(Change(section, name, was, now, why))
    return changes


def broken_by(
    section: str, name: str, was: str | None, now: str | None, before: Mapping[str, str], after: Mapping[str, str]
) -> str:
    """Return what a changed line breaks, but for calls."""
    owner = name.rpartition(".")[0]
    if section == "protocols":
        if was is None:
            return "what fits this Protocol lacks it" if owner in before else ""
        return "what imports it" if now is None and owner not in after else "what fits it" if now is not None else ""
    if was is None:
        return "calls of the command" if section == "commands" and "required" in str(now) else ""
    if now is None:
        return "what uses it"
    return _broken_by_text(section, was, now)


def _broken_by_text(section: str, was: str, now: str) -> str:
    if section == "entry points":
        return ""
    if section in ("names", "config") and CALL.fullmatch(was) and CALL.fullmatch(now):  # griffe has looked at the rest
        return "calls on the class" if was.startswith(ON_CLASS) and not now.startswith(ON_CLASS) else ""
    if was.startswith("writable property") and now.startswith("property"):
        return "what sets it"
    if section == "names":
        kinds = [re.match(r"(?:writable )?(\w+)", text) for text in (was, now)]
        if kinds[0] and kinds[1] and kinds[0][1] == kinds[1][1]:
            gone = _bases(was) - _bases(now)
            return f"it is no {', '.join(sorted(gone))} any more" if gone else ""
    return "what counts on the old one"


def _bases(text: str) -> set[str]:
    found = re.fullmatch(r"class \((.*)\)", text)
    return set(re.findall(r"[\w.]+(?:\[[^\]]*\])?", found[1])) if found else set()


def broken_calls(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what griffe says of each call that is in both: name -> what breaks."""
    both = {f"call_{i}": name for i, name in enumerate(sorted(set(before) & set(after))) if before[name] != after[name]}
    texts = [{key: CALL.fullmatch(side[name]) for key, name in both.items()} for side in (before, after)]
    calls = [key for key in both if texts[0][key] and texts[1][key]]
    found: dict[str, list[str]] = {}
    old, new = (_stub({key: side[key][1] for key in calls}) for side in texts)  # type: ignore[index]
    for one in griffe.find_breaking_changes(old, new):
        parameter = getattr(one.old_value, "name", None) or getattr(one.new_value, "name", "")
        found.setdefault(both[one.obj.name], []).append(f"{one.kind.value.lower()}: {parameter}".removesuffix(": "))
    return {name: "; ".join(whys) for name, whys in found.items()}


def _stub(calls: Mapping[str, str]) -> griffe.Module:
    """Return a module with a function for each call; griffe reads its text, as it does sources."""
    code = "\n".join(f"def {name}{call}: ..." for name, call in calls.items())
    with griffe.temporary_visited_module(code) as module:
        return module


def least_version(released: str, changes: Iterable[Change]) -> str:
    """Return the lowest version that may follow a release after these changes; the same one where there are none.

    >>> least_version("0.1.4", [Change("names", "seg_x.f", "def ()", None, "what uses it")])
    '0.2.0'
    >>> least_version("1.3.0", [Change("names", "seg_x.f", None, "def ()")])
    '1.4.0'
    """
    major, minor, patch = Version(released).release[:3]
    changes = list(changes)
    if not changes:
        return f"{major}.{minor}.{patch}"
    steps = [f"{major + 1}.0.0", f"{major}.{minor + 1}.0", f"{major}.{minor}.{patch + 1}"]
    place = (0 if any(change.broken for change in changes) else 1) + (major == 0)
    return steps[place]
