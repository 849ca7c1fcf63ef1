"""The commands of `./run` are told, and `./run quick` finds the tests of what changed."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest
from helpers.tree import ROOT

SHORT = runpy.run_path(str(ROOT / "run"), run_name="run")["SHORT"]
HATCH = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
TOLD = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tests_of() -> Callable[[str], set[Path]]:
    return run_path(str(ROOT / "scripts/quick.py"), run_name="quick")["tests_of"]


@pytest.mark.parametrize("command", sorted(HATCH["default"]["scripts"]))
def test_each_command_is_told(command: str) -> None:
    assert re.search(rf"\./run {command}\b", TOLD)


@pytest.mark.skipif(os.name == "nt", reason="the program that stands for uv is a script of sh")
def test_the_environment_is_made_in_a_folder_with_a_blank(tmp_path: Path) -> None:
    """Hatch hands these commands to a shell, with the place of its own uv in them."""
    uv = tmp_path / "a blank" / "uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    uv.chmod(0o755)
    (command,) = HATCH["default"]["pre-install-commands"]
    typed = command.replace("{env:HATCH_UV:uv}", str(uv))
    done = subprocess.run(typed, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:4] == ["pip", "install", "--quiet", "-e"]


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\./run ([a-z-]+)", TOLD))))
def test_what_is_told_is_a_command(command: str) -> None:
    environment, _, script = SHORT.get(command, command).rpartition(":")
    assert script in HATCH or script in HATCH[environment or "default"]["scripts"]


@pytest.mark.parametrize(
    ("changed", "tested"),
    [
        ("packages/seg-optim/src/seg_optim/groups/freeze.py", "tests/optim/groups/test_freeze.py"),
        ("src/seg_engine/data/loading.py", "tests/engine/data/test_loading.py"),
        ("packages/seg-runner/src/seg_runner/runner.py", "tests/runner/test_runner.py"),
        ("tests/vis/test_hook.py", "tests/vis/test_hook.py"),
    ],
)
def test_a_changed_file_is_tested(tests_of: Callable[[str], set[Path]], changed: str, tested: str) -> None:
    assert ROOT / tested in tests_of(changed)


def test_a_module_without_a_test_file_is_tested_by_who_imports_it(tests_of: Callable[[str], set[Path]]) -> None:
    found = tests_of("packages/seg-hooks/src/seg_hooks/checks.py")
    assert found
    assert all("seg_hooks" in path.read_text(encoding="utf-8") for path in found)


def test_a_text_has_no_tests(tests_of: Callable[[str], set[Path]]) -> None:
    assert tests_of("README.md") == set()


def test_quick_names_what_fails(tmp_path: Path) -> None:
    """An unknown commit is an error in words."""
    command = [sys.executable, str(ROOT / "scripts/quick.py"), "no-such-commit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "quick: git knows no commit 'no-such-commit'" in done.stderr
    assert "Traceback" not in done.stderr


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_run_alone_lists_every_command(tmp_path: Path) -> None:
    listed = run(cwd=tmp_path).stdout
    assert not [name for name in HATCH["default"]["scripts"] if f"./run {name}" not in listed]


def test_a_wrong_command_gets_a_near_name(tmp_path: Path) -> None:
    done = run("tests", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'test'?" in done.stderr


def test_commands_of_one_package_are_known() -> None:
    near_name = runpy.run_path(str(ROOT / "run"), run_name="run")["near_name"]
    assert [near_name(f"alone.{package}:test") for package in ("seg-vis", "seg-runner", "seg-optim")] == [None] * 3


def test_seg_runs_where_it_is_typed(tmp_path: Path) -> None:
    """A config outside of the clone is found by its path from there."""
    (tmp_path / "config.py").write_text("train_cfg = dict(max_iters=0)\n", encoding="utf-8")
    done = run("seg", "train", "confg.py", cwd=tmp_path)
    assert done.returncode == 1
    assert f"there is no config confg.py (the path exists up to {tmp_path})" in done.stderr


@pytest.mark.parametrize(
    ("subject", "word"),
    [
        ("seg-optim: frozen groups are named", None),
        ("seg-runner, tests: a step is shown again", None),
        ("Mend the schedulers", "begins with what it changes"),
        ("seg-optm: frozen groups are named", "begins with what it changes"),
        ("seg-optim: " + "x" * 61, "72 characters"),
    ],
)
def test_the_subject_of_a_commit(subject: str, word: str | None, tmp_path: Path) -> None:
    (tmp_path / "message").write_text(f"{subject}\n\nWhy.\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts/check_subject.py"), str(tmp_path / "message")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (word is not None)
    assert (word or "") in done.stderr


def test_the_citation_names_the_version() -> None:
    about = (ROOT / "src/seg_engine/__about__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.+)"', about)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
