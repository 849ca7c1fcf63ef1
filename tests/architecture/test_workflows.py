"""Our own workflows: each step runs a command that exists, with options that it takes; the cheapest job is really run.

`./run workflow` runs the others: they take from minutes to an hour each.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from typing import Any

import pytest
from helpers.tree import ROOT
from workflow_actions import known
from workflow_plan import Job, read

WORKFLOWS = [read(path) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]
JOBS = [pytest.param(job, id=f"{each.name}-{job.name}") for each in WORKFLOWS for job in each.jobs.values()]
ENVIRONMENTS = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
SHORT = runpy.run_path(str(ROOT / "run"), run_name="run")["SHORT"]
CHOICE = re.compile(r"case \S+ in(?: \S+\) \w+=\w+(?: ;;)?)+ esac")  # sets a variable, and runs nothing
PROGRAMS = {"bash", "echo", "gh", "mkdir", "mv", "test"}  # a runner has them


def commands(step: dict[str, Any], job: Job) -> list[list[str]]:
    """The commands of a step as words, for each value that the matrix holds for a variable of the step or the job."""
    found = []
    matrix = job.keys.get("strategy", {}).get("matrix", {})
    for name, value in {**job.keys.get("env", {}), **step.get("env", {}), "": ""}.items():
        key = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", str(value))
        values = matrix.get(key[1], []) if key else []
        for each in values if isinstance(values, list) and values else [f"${name}"]:
            text = re.sub(rf"\$\{{?{name}\b\}}?", str(each), step["run"]) if name else step["run"]
            found += [shlex.split(line, comments=True) for line in re.split(r"\n|&&|\|\||;", CHOICE.sub("", text))]
    return [words for words in found if words]


@cache
def help_of(script: str) -> str:
    done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def check_command(words: list[str]) -> None:
    """`./run NAME …`: the name is known, its script is there and takes these options."""
    environment, _, script = SHORT.get(words[0], words[0]).rpartition(":")
    environment = environment.partition(".")[0] or "default"
    if "$" in environment + script:  # of a matrix that a job makes: what it makes is tested with `./run changed`
        assert script.startswith("$") or script in ("test", "")
        return
    steps = ENVIRONMENTS[environment]["scripts"][script]
    for step in [steps] if isinstance(steps, str) else steps:
        if file := re.search(r"\b(?:scripts|benchmarks)/\w+\.py", step):
            assert (ROOT / file[0]).is_file()
            options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
            told = help_of(file[0]) if options else ""
            assert not [option for option in options if option not in told]


@pytest.mark.parametrize("job", JOBS)
def test_each_step_runs_a_command_that_exists(job: Job) -> None:
    for step in job.steps:
        if "uses" in step:
            assert known(step["uses"])
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
            continue
        for words in commands(step, job):
            if words[0] == "./run" or words[:2] == ["python", "run"]:
                check_command(words[1 + (words[0] == "python") :])
                continue
            assert words[0] in PROGRAMS
            if words[0] == "bash":
                assert (ROOT / words[1]).is_file()


def test_the_one_check_of_a_pull_request_waits_for_every_job() -> None:
    (ci,) = [each for each in WORKFLOWS if each.name == "ci.yml"]
    assert {*ci.jobs["passed"].needs, "passed"} == {*ci.jobs}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_a_limit_and_says_what_it_may(job: Job) -> None:
    assert {"timeout-minutes", "permissions"} <= {*job.keys}


def test_the_first_job_runs_as_it_stands_in_the_file() -> None:
    """In a fresh clone, with a fresh hatch; it decides which others run."""
    command = [sys.executable, str(ROOT / "run"), "workflow", "ci.yml", "changed", "--event", "pull_request"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  success .*  changed$", done.stdout, re.MULTILINE)
    assert '"packages": [' in done.stdout
