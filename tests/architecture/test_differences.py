"""Each known difference from MMEngine has a name, both behaviours, a reason, and a test that exists."""

from __future__ import annotations

import re

import pytest
from helpers.tree import ROOT

TEXT = re.sub(r"<!--.*?-->", "", (ROOT / "docs/differences.md").read_text(encoding="utf-8"), flags=re.DOTALL)
ENTRIES = re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)


def test_every_heading_is_an_entry_and_names_are_used_once() -> None:
    names = [name for name, _ in ENTRIES]
    assert len(names) == TEXT.count("\n## ")
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in names)


@pytest.mark.parametrize(("name", "body"), ENTRIES, ids=[name for name, _ in ENTRIES])
def test_an_entry_says_there_here_why_and_which_test(name: str, body: str) -> None:
    for word in ("There", "Here", "Why", "Test"):
        assert re.search(rf"^- \*\*{word}:\*\* \S", body, flags=re.MULTILINE), f"{name}: no {word}"
    tests = re.findall(r"`(tests/\S+?\.py)::(\w+)`", body)
    assert tests, f"{name}: no test is named"
    for path, test in tests:
        assert re.search(rf"^def {test}\(", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE), test
