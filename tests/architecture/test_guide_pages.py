"""The tables of the guide pages say what the code does: hooks and their priorities, points, schedules, rules."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any

import seg_optim
from helpers.tree import ROOT
from seg_hooks.hook import PRIORITIES, priority_number
from seg_optim.groups.checks import PARAMWISE_KEYS
from seg_runner.hooks.defaults import DEFAULT_HOOKS
from seg_runner.hooks.table import POINTS

HOOKS = (ROOT / "docs/hooks.md").read_text(encoding="utf-8")
OPTIMIZERS = (ROOT / "docs/optimizers.md").read_text(encoding="utf-8")
UNAVAILABLE = {"NaiveVisualizationHook", "NPUProfilerHook"}  # their names are known and refused, in words


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first heading this is."""
    table = re.search(rf"^\| {heading} \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def hooks() -> dict[str, Any]:
    points = entry_points(group="seg_engine.hooks")
    return {point.name: point.load() for point in points if point.name not in UNAVAILABLE}


def test_every_hook_has_its_row_and_its_priority() -> None:
    told = {}
    for hook, _, priority in [row[1:] for row in rows(HOOKS, "slot")] + rows(HOOKS, "hook"):
        name, number = re.fullmatch(r"(\w+) \((\d+)\)", priority).groups()  # type: ignore[union-attr]
        assert PRIORITIES[name] == int(number)
        told[names(hook)[0]] = int(number)
    known = {name: priority_number(getattr(hook, "priority", "NORMAL")) for name, hook in hooks().items()}
    assert told | {"SegVisualizationHook": known["SegVisualizationHook"]} == known


def test_the_default_hooks_are_the_default_hooks() -> None:
    assert {names(slot)[0]: names(hook)[0] for slot, hook, *_ in rows(HOOKS, "slot")} == {
        slot: hook["type"] for slot, hook in DEFAULT_HOOKS.items()
    }


def test_priorities_and_points_are_all_there() -> None:
    assert {name: int(number) for name, number in rows(HOOKS, "name")} == PRIORITIES
    told = {point: names(keywords) for points, _, keywords in rows(HOOKS, "point") for point in names(points)}
    assert told == {point: list(keywords) for point, keywords in POINTS.items()}


def test_every_schedule_of_a_rate_is_named() -> None:
    told = {name for row in rows(OPTIMIZERS, "name") for name in names(row[0])}
    assert told == {name for name in seg_optim.__all__ if name.endswith(("LR", "LRRatio"))}


def test_every_rule_for_parameters_is_named() -> None:
    text = OPTIMIZERS.replace("=", "`")
    assert not [key for key in PARAMWISE_KEYS if f"`{key}`" not in text]
