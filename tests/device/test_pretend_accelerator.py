"""Every path that an accelerator takes, on a pretend one, so that it runs without a GPU; see `sim_device.py`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CASES = [
    node.name.removeprefix("case_")
    for node in ast.parse((HERE / "cases.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Case -> its traceback, or ''. The device is there for a whole process, so all cases run in one of their own."""
    command = [sys.executable, str(HERE / "cases.py"), str(tmp_path_factory.mktemp("sim"))]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    assert found, done.stdout + done.stderr
    return {each["case"]: each["error"] for each in found}


@pytest.mark.parametrize("case", CASES)
def test_on_an_accelerator(case: str, results: dict[str, str]) -> None:
    assert results.get(case, "the process ended before it") == ""
