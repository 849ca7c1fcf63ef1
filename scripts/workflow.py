"""Run the jobs of a workflow here, step by step as they stand in the file: `./run workflow ci.yml quick`.

Each combination of a job starts from nothing: a fresh clone of what lies here (changes that are not committed, too),
made as deep as the workflow's checkout makes it, and a fresh data folder of hatch. GitHub's own library evaluates the
expressions; artifacts go through local folders. What cannot be done here, such as an upload or a job on Windows, is
listed at the end as not run; a key or an action that is not known here is an error.

    ./run workflow ci.yml --list
    ./run workflow ci.yml packages --matrix python=3.12 --event pull_request
    ./run workflow release.yml build --tag seg-optim-v0.1.0
    ./run workflow nightly.yml long --matrix command=soak --env UV_TORCH_BACKEND= --env SEG_CONSTRAINTS=cpu
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projects import ROOT
from workflow_actions import DONE_HERE, NOT_RUN, Place, known
from workflow_expressions import Expressions, WorkflowError
from workflow_plan import SHELLS, Job, Workflow, combinations, in_order, read
from workflow_snapshot import Snapshot

SYSTEM = {"Linux": "ubuntu", "Darwin": "macos", "Windows": "windows"}[platform.system()]
SECRET = re.compile(r"\bsecrets\.|\bgithub\.token\b")
FROM_HERE = re.compile(  # of this machine's environment: how it reaches the registries, and who is at it
    r"HOME|USER|PATH|LANG|LC_.*|TERM|TMPDIR|TZ|PIP_(?!CONSTRAINT).*|UV_(?!CONSTRAINT).*|npm_config_.*|NPM_CONFIG_.*"
    r"|.*_proxy|.*_PROXY|SSL_CERT_.*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|.*_OFFLINE|OMP_NUM_THREADS"
)


@dataclass
class Result:
    """How one combination of a job ended."""

    job: str
    combination: Mapping[str, Any]
    outcome: str = "success"
    seconds: float = 0.0
    not_run: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value}" for name, value in self.combination.items())
        left = "".join(f"\n      not run: {each}" for each in self.not_run)
        return f"  {self.outcome:8} {self.seconds / 60:5.1f} min  {self.job}{f' ({chosen})' if chosen else ''}{left}"


@dataclass
class Run:
    """One run of a workflow."""

    workflow: Workflow
    options: argparse.Namespace
    expressions: Expressions
    snapshot: Snapshot
    folder: Path
    results: dict[str, list[Result]] = field(default_factory=dict)

    def contexts(self, job: Job, combination: Mapping[str, Any]) -> dict[str, Any]:
        """Return what expressions of a job may name."""
        ended = {name: self.outcome(name).replace("not run", "success") for name in job.needs}
        needs = {name: {"result": ended[name], "outputs": self.outputs(name)} for name in job.needs}
        return {"github": self.snapshot.github, "needs": needs, "matrix": combination, "env": {}, "runner": {}}

    def outcome(self, name: str) -> str:
        """Return the result of a job: that of its worst combination."""
        outcomes = {each.outcome for each in self.results[name]} or {"success"}
        return next(each for each in ("failure", "skipped", "success", "not run") if each in outcomes)

    def outputs(self, name: str) -> dict[str, str]:
        """Return the outputs of a job."""
        return {key: value for each in self.results[name] for key, value in each.outputs.items()}

    def job(self, job: Job) -> None:
        """Run all combinations of a job, if it is to run at all."""
        contexts = self.contexts(job, {})
        before = [self.outcome(each.name) for each in in_order(self.workflow, job.needs)]  # all, not only the last ones
        if not self.expressions.holds(job.keys.get("if"), contexts, before):
            self.results[job.name] = [Result(job.name, {}, "skipped")]
            return
        try:
            matrix = self.expressions.fill(job.keys.get("strategy", {}).get("matrix", {}), contexts)
        except WorkflowError:
            if not self.options.list:
                raise
            matrix = {}  # what the jobs before would have said is not known
        chosen = [each for each in (combinations(matrix) if matrix else [{}]) if self.is_wanted(each)]
        if not chosen and job.name in self.options.jobs:
            raise WorkflowError(f"no combination of {job.name} has {', '.join(self.options.matrix)}")
        without = Result(job.name, {}, "not run", not_run=["no combination has what --matrix asks for"])
        self.results[job.name] = [] if chosen else [without]
        for number, combination in enumerate(chosen):
            result = Result(job.name, combination)
            self.results[job.name].append(result)
            began = time.monotonic()
            self.one(job, result, self.folder / f"{job.name}-{number}")
            result.seconds = time.monotonic() - began

    def is_wanted(self, combination: Mapping[str, Any]) -> bool:
        """Tell whether a combination has the values that the command line asks for."""
        asked = [each.split("=", 1) for each in self.options.matrix]
        return all(str(combination.get(name, value)) == value for name, value in asked)

    def one(self, job: Job, result: Result, folder: Path) -> None:
        """Run the steps of one combination."""
        contexts = self.contexts(job, result.combination)
        system = str(self.expressions.fill(job.keys["runs-on"], contexts))
        if not system.startswith(SYSTEM):
            result.outcome = "not run"
            result.not_run.append(f"needs {system}")
            return
        print(f"\n##### {str(result).split('min  ')[1]}", flush=True)
        if self.options.list:
            result.outcome = "not run"
        steps = Steps(self, job, result, contexts, folder)
        for number, step in enumerate(job.steps, 1):
            steps.run(number, step)
        if not self.options.list:
            contexts["steps"] = steps.contexts["steps"]
            result.outputs = {
                name: str(value) for name, value in self.expressions.fill(job.keys.get("outputs", {}), contexts).items()
            }


class Steps:
    """Runs the steps of one combination, and hands on what they set."""

    def __init__(self, run: Run, job: Job, result: Result, contexts: dict[str, Any], folder: Path) -> None:
        for name in ("workspace", "temporary"):
            (folder / name).mkdir(parents=True)
        self.expressions, self.options, self.result = run.expressions, run.options, result
        self.contexts = {**contexts, "steps": {}}
        self.levels = [run.workflow.env, job.keys.get("env", {})]
        self.place = Place(
            run.snapshot.folder,
            folder / "workspace",
            folder / "temporary",
            run.folder / "artifacts",
            run.snapshot.github["ref"],
        )
        told = ("ref", "ref_name", "sha", "event_name", "repository")
        self.variables = {
            **{f"GITHUB_{name.upper()}": str(run.snapshot.github[name]) for name in told},
            "GITHUB_WORKSPACE": str(self.place.workspace),
            "RUNNER_TEMP": str(self.place.temporary),
            "HATCH_DATA_DIR": str(folder / "hatch-data"),
            "HATCH_CACHE_DIR": str(folder / "hatch-cache"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
        }

    def environment(self, step: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables of a step: of the runner, the workflow, the job, earlier steps, the step, `--env`."""
        kept = {name: value for name, value in os.environ.items() if FROM_HERE.fullmatch(name)}
        mine = os.environ.get("VIRTUAL_ENV") or "no environment"  # hatch's, of the command that runs this
        others = [each for each in kept["PATH"].split(os.pathsep) if not each.startswith(mine)]
        kept["PATH"] = os.pathsep.join([*self.place.path, *others])
        found: dict[str, str] = {}
        for level in (*self.levels, self.place.env, step.get("env", {})):
            self.contexts["env"] = dict(found)
            found |= {name: as_text(value) for name, value in self.expressions.fill(level, self.contexts).items()}
        asked = dict(each.split("=", 1) for each in self.options.env)
        found = {name: value for name, value in (found | asked).items() if asked.get(name) != ""}
        self.contexts["env"] = dict(found)
        return {**kept, **self.variables, **found}

    def run(self, number: int, step: Mapping[str, Any]) -> None:
        """Run one step and note how it ended; one that fails, fails the job."""
        title = str(step.get("name") or step.get("uses") or str(step["run"]).strip().splitlines()[0])
        if why := self.left_out(step):
            self.result.not_run.append(f"{title}: {why}")
            return
        if self.options.list:
            print(f"  {number}. {title}")
            return
        environment = self.environment(step)
        if not self.expressions.holds(step.get("if"), self.contexts, [self.result.outcome]):
            print(f"----- {number}. {title}: skipped", flush=True)
            return
        print(f"----- {number}. {title}", flush=True)
        outputs, good = {}, True
        try:
            outputs = self.script(number, step, environment) if "run" in step else self.action(step)
        except (WorkflowError, subprocess.CalledProcessError) as error:
            good = False
            print(f"----- failed: {error}", flush=True)
        outcome = "success" if good else "failure"
        if not good and not step.get("continue-on-error"):
            self.result.outcome = "failure"
        if name := step.get("id"):
            self.contexts["steps"][name] = {"outputs": outputs, "outcome": outcome, "conclusion": outcome}

    def left_out(self, step: Mapping[str, Any]) -> str:
        """Return why a step cannot be done here, if it cannot."""
        if "uses" in step and (name := known(step["uses"])) in NOT_RUN:
            return NOT_RUN[name]
        levels = [step, *self.levels] if "run" in step else [step]
        return "needs the token of a runner" if any(SECRET.search(str(each)) for each in levels) else ""

    def action(self, step: Mapping[str, Any]) -> dict[str, str]:
        """Do an action."""
        DONE_HERE[known(step["uses"])](self.expressions.fill(step.get("with", {}), self.contexts), self.place)
        return {}

    def script(self, number: int, step: Mapping[str, Any], environment: dict[str, str]) -> dict[str, str]:
        """Run a step's commands in bash; return the outputs that they set."""
        files = {f"GITHUB_{each}": self.place.temporary / f"{number}-{each}" for each in ("OUTPUT", "ENV", "PATH")}
        for file in files.values():
            file.touch()
        script = self.place.temporary / f"{number}.sh"
        script.write_text(self.expressions.fill(step["run"], self.contexts), encoding="utf-8")
        where = self.place.workspace / str(step.get("working-directory", "."))
        every = {**environment, **{name: str(file) for name, file in files.items()}}
        every["GITHUB_STEP_SUMMARY"] = os.devnull
        subprocess.run([*SHELLS[step.get("shell")], str(script)], cwd=where, env=every, check=True)
        self.place.env |= settings(files["GITHUB_ENV"])
        self.place.path[:0] = files["GITHUB_PATH"].read_text(encoding="utf-8").splitlines()
        return settings(files["GITHUB_OUTPUT"])


def as_text(value: object) -> str:
    """Return a value of YAML as a variable holds it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def settings(file: Path) -> dict[str, str]:
    """Read `name=value` lines, and values of several lines, as steps write them for those that follow."""
    text = file.read_text(encoding="utf-8")
    long = re.compile(r"^([\w-]+)<<(\S+)\n(.*?)\n?^\2$\n?", re.MULTILINE | re.DOTALL)
    found = {each[1]: each[3] for each in long.finditer(text)}
    for line in filter(None, long.sub("", text).splitlines()):
        name, equals, value = line.partition("=")
        if not equals:
            raise WorkflowError(f"a step wrote {line!r} to {file.name}; expected is name=value")
        found[name] = value
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run workflow", description=__doc__, formatter_class=shown)
    parser.add_argument("file", help="a file of .github/workflows, or a path")
    parser.add_argument("jobs", nargs="*", metavar="job", help="jobs to run, after those that they need; all if none")
    parser.add_argument("--matrix", action="append", default=[], metavar="NAME=VALUE", help="only these combinations")
    above = "stands above the file's env; NAME= takes it away"
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help=above)
    parser.add_argument("--event", help="what starts it; the file's first event if not given")
    parser.add_argument("--tag", help="as if this tag had been pushed; it is made in the clone only")
    parser.add_argument("--list", action="store_true", help="say what would be run, and run nothing")
    return parser.parse_args()


def main() -> int:
    """Return 1 if a job failed, 2 if the file cannot be run here."""
    options = arguments()
    path = Path(options.file) if Path(options.file).is_file() else ROOT / ".github/workflows" / options.file
    try:
        if not path.is_file():
            there = ", ".join(sorted(each.name for each in path.parent.glob("*.yml")))
            raise WorkflowError(f"there is no workflow {options.file}; there are {there}")
        workflow = read(path)
        if unknown := set(options.jobs) - set(workflow.jobs):
            there = ", ".join(workflow.jobs)
            raise WorkflowError(f"no job {', '.join(sorted(unknown))} in {path.name}; jobs are {there}")
        with tempfile.TemporaryDirectory() as folder, Expressions() as expressions:
            event = options.event or ("push" if options.tag else workflow.events[0])
            snapshot = Snapshot(ROOT, Path(folder) / "snapshot", event, options.tag)
            run = Run(workflow, options, expressions, snapshot, Path(folder))
            (run.folder / "artifacts").mkdir()
            for job in in_order(workflow, options.jobs or workflow.jobs):
                run.job(job)
    except WorkflowError as error:
        print(f"workflow: {error}", file=sys.stderr)
        return 2
    results = [each for name in run.results for each in run.results[name]]
    print(f"\n{path.name}, as if by {event}:", *results, sep="\n")
    return int(any(each.outcome == "failure" for each in results))


if __name__ == "__main__":
    sys.exit(main())
