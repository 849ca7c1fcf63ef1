"""`./run test`: all tests in as many processes as there are cores, or, where files or folders are named, only those.

`./run test --measure` writes anew, into `tests/seconds.json`, how much processor time all tests take, from which the
first line is reckoned, and how long each file takes: the longest are begun first. Let nothing else run meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = ROOT / "tests/seconds.json"
LEAST = 1.0
"""Seconds of a file that is worth an entry."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of_files(report: str) -> dict[str, int]:
    """Return the whole seconds of each file in a JUnit report of pytest, the longest first.

    >>> case = '<testcase file="tests/a.py" time="1.4" /><testcase file="tests/a.py" time="1.4" />'
    >>> seconds_of_files(f'<testsuites>{case}<testcase file="tests/b.py" time="0.2" /></testsuites>')
    {'tests/a.py': 3}
    """
    found: dict[str, float] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = case.get("file", "")
        found[name] = found.get(name, 0.0) + float(case.get("time", 0))
    longest = sorted(found.items(), key=lambda item: -item[1])
    return {name: round(seconds) for name, seconds in longest if seconds >= LEAST}


def run(command: list[str], measure: bool) -> int:
    """Run all tests in as many processes as there are cores; with `measure`, keep what was seen if all passed."""
    number, began = cores(), time.monotonic()
    # A file shares what it makes. Once it is known how long files take, the order is ours (tests/conftest.py): xdist
    # begins with the files of many tests, which are quick.
    ours = ["--no-loadscope-reorder"] if SECONDS.is_file() else []
    command = [*command, "-n", str(number), "--dist", "loadfile", *ours]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        more = [f"--junitxml={report}", "-o", "junit_family=xunit1"] if measure else []
        code = subprocess.call([*command, *more], cwd=ROOT, env=compiled())
        if measure and code == 0:
            whole = round((time.monotonic() - began) * number)
            files = seconds_of_files(report.read_text(encoding="utf-8"))
            SECONDS.write_text(json.dumps({"seconds_times_cores": whole, "files": files}, indent=1) + "\n", "utf-8")
    return code


def compiled() -> dict[str, str]:
    """Return the environment of the tests: modules are kept compiled, as where they are installed.

    Hundreds of processes of the tests import the packages, and each would compile them anew.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> int:
    """Return pytest's exit code."""
    arguments = [each for each in sys.argv[1:] if each != "--measure"]
    command = [sys.executable, "-m", "pytest", *arguments]
    if any((ROOT / each.partition("::")[0]).exists() for each in arguments):
        return subprocess.call(command, cwd=ROOT, env=compiled())
    known = json.loads(SECONDS.read_text(encoding="utf-8"))["seconds_times_cores"] if SECONDS.is_file() else None
    told = f"about {max(1, round(known / cores() / 60))} minutes" if known else "some minutes"
    print(f"all tests on {cores()} cores: {told} (`./run test tests/optim` runs some of them)", flush=True)
    return run(command, "--measure" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
