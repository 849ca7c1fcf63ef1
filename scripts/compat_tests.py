"""Which tests say that a state of one package works with the states of the others, and what they say.

A test of `tests/contracts` concerns a package that it imports, or one of whose entry points it names, in its own file
or in a helper that it imports. Tests that are newer than an older release are left out: they may ask for what is new.
So are those that look into the files of this checkout; their marker is `checkout`.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from commands import run
from compat_sets import Set
from projects import ROOT, Project, ProjectError, environments

CONTRACTS = ROOT / "tests/contracts"
OF_A_TEST = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
UNKNOWN = re.compile(r'error: Module "(?P<module>[\w.]+)" has no attribute')


def words_of(path: Path) -> set[str]:
    """Return the words of a test file and of the helpers that it imports."""
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"\w+", text))
    helpers = {ROOT / "tests/helpers" / f"{name}.py" for name in re.findall(r"\bhelpers\.(\w+)", text)}
    return found.union(*(words_of(each) for each in helpers if each.is_file() and each != path))


def concerned(package: str) -> list[Path]:
    """Return the files of `tests/contracts` that concern a package."""
    it = Project(package)
    points = it.pyproject()["project"].get("entry-points", {})
    names = {name for group in points.values() for name in group if not name.islower()} | {it.module}
    return sorted(path for path in CONTRACTS.glob("test_*.py") if names & words_of(path))


def tests_in(text: str) -> set[str]:
    """Return the names of the test functions of a file."""
    return {
        each.name
        for each in ast.walk(ast.parse(text))
        if isinstance(each, ast.FunctionDef) and each.name[:5] == "test_"
    }


def newer(path: Path, tags: Iterable[str]) -> list[str]:
    """Return the tests of a file that one of these tags does not have, as pytest deselects them."""
    name, tests = path.relative_to(ROOT).as_posix(), tests_in(path.read_text(encoding="utf-8"))
    for tag in tags:
        old = subprocess.run(["git", "show", f"{tag}:{name}"], cwd=ROOT, capture_output=True, text=True, check=False)
        tests &= tests_in(old.stdout)  # empty where the tag has no such file
    every = tests_in(path.read_text(encoding="utf-8"))
    return [f"--deselect={name}::{test}" for test in sorted(every - tests)]


def run_contracts(python: Path, these: Set) -> tuple[str, str]:
    """Run the contract tests that concern a set in its environment; return what pytest counted, and what went wrong."""
    older = these.older
    every = set(CONTRACTS.glob("test_*.py"))
    files = sorted({path for name in older for path in concerned(name)} if these.name.startswith("previous") else every)
    left_out = [each for path in files for each in newer(path, older.values())]
    if not files:
        return "no test concerns it", ""
    quiet = ["-q", "-r", "f", "-p", "no:cacheprovider", "-m", "not checkout"]
    quiet += ["-n", "auto", "--dist", "loadfile"] if len(files) > 1 else []
    environment = {key: value for key, value in os.environ.items() if key not in OF_A_TEST}
    with tempfile.TemporaryDirectory() as place:
        command = [str(python), "-m", "pytest", *quiet, f"--basetemp={place}/tests", *map(str, files), *left_out]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    counts = (
        ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|deselected|errors?)", lines[-1] if lines else ""))
        or "nothing ran"
    )
    return counts, "" if done.returncode == 0 else f"{done.stdout[-4000:]}{done.stderr[-1000:]}"


def run_types(python: Path, these: Set) -> str:
    """Let mypy read `tests/typing` with the installed packages; return what does not fit.

    A Protocol that an older release of a package does not have yet is left out.
    """
    older = {Project(name).module for name in these.older}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={python}"]
    command += [f"--cache-dir={ROOT / '.mypy_cache/compat'}", str(ROOT / "tests/typing")]
    with tempfile.TemporaryDirectory() as place:  # away from here: mypy takes what lies in its folder first
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode > 1 or (done.returncode and not done.stdout.strip()):
        return done.stdout + done.stderr
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line and not _is_newer(line, older)]
    notes = [line for line in done.stdout.splitlines() if ": note:" in line]
    return "\n".join(wrong + notes if wrong else [])


def _is_newer(line: str, older: set[str]) -> bool:
    found = UNKNOWN.search(line)
    return found is not None and found["module"].partition(".")[0] in older


def run_demo(python: Path) -> str:
    """Run the short demo in the environment; return what went wrong."""
    with tempfile.TemporaryDirectory() as place:
        try:
            run(python, "-m", "seg_engine", "demo", "--short", "--out", place, cwd=Path(place))
        except ProjectError as error:
            return str(error)
    return ""


def libraries() -> list[str]:
    """Return what the tests need besides our packages: what the default environment of `hatch.toml` has."""
    return [str(each) for each in environments()["default"]["dependencies"]]
