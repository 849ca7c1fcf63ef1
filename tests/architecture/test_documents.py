"""The code in the documents runs; the examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tree import PACKAGES, ROOT

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def run_python(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "PYTHONWARNINGS": "error::FutureWarning",
    }
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example: str, tmp_path: Path) -> None:
    done = run_python([str(ROOT / "examples" / example)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_in_documents_runs(document: str, tmp_path: Path, python_blocks: Callable[[str], list[str]]) -> None:
    for block in python_blocks(document):
        done = run_python(["-c", block], tmp_path)
        assert done.returncode == 0, block + done.stdout + done.stderr


def test_the_six_examples_of_the_house_are_there() -> None:
    assert [name[:2] for name in EXAMPLES] == ["01", "02", "03", "04", "05", "06"]


def test_no_placeholder_is_left_in_any_text() -> None:
    """A README once went out with a marker where a figure was to be filled in."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    left = re.compile(r"@[A-Z_]{3,}@|\b(?:TO" r"DO|FIX" r"ME|X" r"XX|T" r"BD)\b|(?i:lorem) ipsum")
    found = []
    for name in filter(None, listed.split("\0")):
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [f"{name}:{number}" for number, line in enumerate(text.splitlines(), 1) if left.search(line)]
    assert not found


MAP = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_every_wing(package: str) -> None:
    wings = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")}
    missing = {wing for wing in wings if f"`{wing}/`" not in MAP}
    assert not missing


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:packages|src|tests|examples)/[^`*]+)`", MAP))))
def test_the_map_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists() or path == "tests/contracts/test_twins.py"
