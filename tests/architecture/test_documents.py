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
TRANSLATION = ROOT / "README.zh-CN.md"  # whose code is README.md's: see test_chinese_readme.py
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {TRANSLATION}
)


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


INSTALLS = re.compile(r"\b(?:pip3?|pipx|uv|uvx|poetry|pdm|conda|mamba) (?:[\w-]+ )?(?:install|add)\b([^`\n]*)")
OURS = "|".join(package.partition("_")[2] for package in PACKAGES)
OUR_NAME = re.compile(rf"(?<![\w./=-])seg-(?:{OURS})\b(?:\[[\w, -]*\])?(?![\[/\w-]|\s*@ )")


def asks_an_index(line: str) -> bool:
    """Tell whether a line tells people to install one of our packages from an index."""
    asked = (found[1].partition("  #")[0] for found in INSTALLS.finditer(line))
    return any(OUR_NAME.search(words) for words in asked if "--find-links" not in words)


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("seg-optim", True),
        ("'seg-vis[tensorboard]>=0.1'", True),
        ("torch seg-engine", True),
        ("-U seg-hooks`.", True),
        ('"seg-optim @ git+https://github.com/seg-engine/seg-engine#subdirectory=packages/seg-optim"', False),
        ('"seg-engine[all] @ git+https://github.com/seg-engine/seg-engine"', False),
        ("./packages/seg-optim", False),
        ("safetensors` lets seg-runner export", False),
        ("--find-links dist seg-vis", False),
        (".  # seg-engine and what it needs", False),
    ],
)
def test_what_asks_an_index(words: str, asks: bool) -> None:
    assert asks_an_index(f"`pip install {words}") is asks


def test_nothing_tells_people_to_install_what_no_index_has() -> None:
    """Until there is a release. What works: the line with a git address, or a folder of a clone."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        if name != "tests/architecture/test_documents.py":
            found += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if asks_an_index(line)]
    assert not found, "\n".join(found)


MAP = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_every_wing(package: str) -> None:
    wings = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")}
    missing = {wing for wing in wings if f"`{wing}/`" not in MAP}
    assert not missing


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:packages|src|tests|examples)/[^`*]+)`", MAP))))
def test_the_map_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists() or path == "tests/contracts/test_twins.py"
