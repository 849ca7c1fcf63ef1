"""What a workflow file says: its jobs, their steps, and the combinations of a matrix.

Only what our workflows use is understood; every other key is an error, so that nothing is passed over in silence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from workflow_expressions import WorkflowError

WORKFLOW_KEYS = {"name", "on", "permissions", "env", "concurrency", "jobs"}
JOB_KEYS = {
    *("name", "needs", "if", "runs-on", "timeout-minutes", "permissions", "environment", "concurrency"),
    *("outputs", "env", "strategy", "steps"),
}
STEP_KEYS = {"id", "name", "if", "uses", "with", "run", "env", "shell", "working-directory", "continue-on-error"}
SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}


@dataclass(frozen=True)
class Job:
    """One job: what its keys say, and the jobs that it needs."""

    name: str
    keys: Mapping[str, Any]

    @property
    def needs(self) -> list[str]:
        """Names of the jobs that must have ended before."""
        given = self.keys.get("needs", [])
        return [given] if isinstance(given, str) else list(given)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Its steps, in order."""
        return list(self.keys["steps"])


@dataclass(frozen=True)
class Workflow:
    """One file."""

    name: str
    events: list[str]
    env: Mapping[str, Any]
    jobs: Mapping[str, Job]


def only(known: Iterable[str], given: Mapping[str, Any], where: str) -> None:
    """Refuse a key that would be passed over.

    Raises:
        WorkflowError: there is one.
    """
    if strange := [str(key) for key in given if key not in {*known}]:
        raise WorkflowError(f"{where}: {', '.join(strange)}: not among the keys that can be run here, {sorted(known)}")


def read(path: Path) -> Workflow:
    """Read a workflow file.

    Raises:
        WorkflowError: it uses what is not understood here.
    """
    keys: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if True in keys:  # for YAML 1.1, `on` is a way to write true
        keys["on"] = keys.pop(True)
    only(WORKFLOW_KEYS, keys, path.name)
    jobs = {name: Job(name, job) for name, job in keys["jobs"].items()}
    for name, job in jobs.items():
        only(JOB_KEYS, job.keys, f"{path.name}: {name}")
        only({"matrix", "fail-fast", "max-parallel"}, job.keys.get("strategy", {}), f"{path.name}: {name}: strategy")
        if unknown := set(job.needs) - set(jobs):
            raise WorkflowError(f"{path.name}: {name} needs {', '.join(sorted(unknown))}; jobs are {', '.join(jobs)}")
        for number, step in enumerate(job.steps, 1):
            check_step(step, f"{path.name}: {name}: step {number}")
    events = [keys["on"]] if isinstance(keys["on"], str) else list(keys["on"])
    return Workflow(path.name, events, keys.get("env", {}), jobs)


def check_step(step: Mapping[str, Any], where: str) -> None:
    """Refuse a step that cannot be run as GitHub would."""
    only(STEP_KEYS, step, where)
    if ("run" in step) == ("uses" in step):
        raise WorkflowError(f"{where}: has either `run` or `uses`")
    if step.get("shell") not in SHELLS:
        raise WorkflowError(f"{where}: shell {step['shell']!r}: only bash can be run here")


def in_order(workflow: Workflow, wanted: Iterable[str]) -> list[Job]:
    """Return the wanted jobs and all that they need, those first."""
    found: dict[str, Job] = {}

    def add(name: str) -> None:
        for other in workflow.jobs[name].needs:
            add(other)
        found.setdefault(name, workflow.jobs[name])

    for name in wanted:
        add(name)
    return list(found.values())


def combinations(matrix: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the combinations of a matrix whose expressions are evaluated, as GitHub defines `exclude` and `include`.

    Raises:
        WorkflowError: a list of the matrix is empty, which GitHub refuses as well.
    """
    lists = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            raise WorkflowError(f"matrix: {name} is {values!r}; expected is a list with something in it")
    found = [dict(zip(lists, each, strict=True)) for each in itertools.product(*lists.values())] if lists else []
    found = [each for each in found if not any(matches(each, out) for out in matrix.get("exclude", []))]
    originals, alone = [dict(each) for each in found], []
    for extra in matrix.get("include", []):
        shared = {name: value for name, value in extra.items() if name in lists}
        fitting = [each for each, original in zip(found, originals, strict=True) if matches(original, shared)]
        for each in fitting:
            each.update(extra)
        if not fitting:
            alone.append(dict(extra))
    return found + alone


def matches(combination: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a combination has all the wanted values."""
    return all(combination.get(name) == value for name, value in wanted.items())
