"""The code in the documents runs; the examples run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _tree import ROOT

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
