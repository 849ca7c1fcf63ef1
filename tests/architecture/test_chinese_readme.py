"""README.zh-CN.md says what README.md says: same headings, code, commands, links, and figures in its tables."""

from __future__ import annotations

import re
from collections import Counter
from runpy import run_path

import pytest
from helpers.tree import ROOT

ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
fixed_parts = run_path(str(ROOT / "docs/_ext/messages.py"))["fixed_parts"]
FENCE = re.compile(r"^```(?:\w*)\n.*?^```$", flags=re.MULTILINE | re.DOTALL)
OWN = {"README.md", "README.zh-CN.md", "https://seg-engine.github.io/seg-engine/latest/zh/index.html"}


def headings(text: str) -> list[str]:
    return re.findall(r"^(#+) ", FENCE.sub("", text), flags=re.MULTILINE)


def cells(text: str) -> list[list[list[str]]]:
    """The numbers in each cell of each row of the tables."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[re.findall(r"\d+(?:\.\d+)*", cell) for cell in row] for row in rows]


def parts(text: str) -> Counter[str]:
    """Inline code and links; what leads from one language to the other is left out."""
    found = fixed_parts(FENCE.sub("", text))
    return Counter({part: count for part, count in found.items() if part not in OWN})


def test_headings_and_code_are_the_same() -> None:
    assert headings(CHINESE) == headings(ENGLISH)
    assert FENCE.findall(CHINESE) == FENCE.findall(ENGLISH)


def test_tables_have_the_same_figures() -> None:
    assert cells(CHINESE) == cells(ENGLISH)


def test_commands_and_links_are_the_same() -> None:
    assert parts(CHINESE) == parts(ENGLISH)


@pytest.mark.parametrize("line", [line for line in CHINESE.splitlines() if line.startswith(("## ", "- ", "| "))])
def test_headings_lists_and_tables_are_in_chinese(line: str) -> None:
    assert re.search(r"[\u4e00-\u9fff]", line) or set(line) <= set("|- ")


def test_each_language_leads_to_the_other() -> None:
    assert "](README.zh-CN.md)" in ENGLISH[:200]
    assert "](README.md)" in CHINESE[:200]
