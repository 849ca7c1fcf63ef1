"""How `./run test` shares the tests, and what it keeps of a measured run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_tests
from helpers.order import slowest_first

ROOT = Path(__file__).resolve().parents[2]


def test_long_files_come_first_and_the_others_keep_their_order() -> None:
    names = ["tests/a.py::one", "tests/a.py::two", "tests/b.py::one", "tests/c.py::one[x::y]", "tests/c.py::two"]
    found = slowest_first([SimpleNamespace(nodeid=name) for name in names], {"tests/c.py": 9, "tests/b.py": 3})
    assert [each.nodeid for each in found] == [*names[3:], names[2], *names[:2]]


def test_a_measured_run_keeps_the_seconds_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_slow.py").write_text("import time\ndef test_it():\n    time.sleep(1.2)\n")
    (tmp_path / "tests/test_quick.py").write_text("def test_it():\n    pass\n")
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    monkeypatch.setattr(run_tests, "SECONDS", tmp_path / "tests/seconds.json")
    code = run_tests.run([sys.executable, "-m", "pytest", "-q", "tests"], measure=True)
    kept = json.loads((tmp_path / "tests/seconds.json").read_text())
    assert code == 0
    assert list(kept["files"]) == ["tests/test_slow.py"]
    assert kept["seconds_times_cores"] >= 1


def test_a_run_that_fails_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_wrong.py").write_text("def test_it():\n    assert False\n")
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    monkeypatch.setattr(run_tests, "SECONDS", tmp_path / "seconds.json")
    assert run_tests.run([sys.executable, "-m", "pytest", "-q", "."], measure=True) == 1
    assert not (tmp_path / "seconds.json").exists()


def test_processes_of_the_tests_keep_modules_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = "import sys; print(sys.dont_write_bytecode)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=run_tests.compiled()
    )
    assert done.stdout == "False\n"
    assert os.environ.keys() - run_tests.compiled().keys() == {"PYTHONDONTWRITEBYTECODE"}
