"""The workflow that a tag starts: nothing is published untested, and what publishes runs no code of the repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.tree import ROOT
from workflow_expressions import Expressions
from workflow_plan import read

PATH = ROOT / ".github/workflows/release.yml"
JOBS = read(PATH).jobs
READS = {"contents": "read"}
MAY = {
    "build": READS,
    "test": READS,
    "everything": READS,
    "attest": {"id-token": "write", "attestations": "write"},
    "publish": {"id-token": "write"},
    "page": {"contents": "write"},
}


def before(name: str) -> set[str]:
    """All jobs that must have ended well before one begins."""
    return {*JOBS[name].needs, *(each for need in JOBS[name].needs for each in before(need))}


def test_each_job_may_do_what_it_must_and_no_more() -> None:
    assert {name: job.keys["permissions"] for name, job in JOBS.items()} == MAY
    assert "\npermissions: {}\n" in PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name, may in MAY.items() if may != READS])
def test_what_may_write_runs_no_code_of_the_repository(name: str) -> None:
    used = {step["uses"].partition("@")[0] for step in JOBS[name].steps if "uses" in step}
    assert used <= {"actions/download-artifact", "actions/attest", "pypa/gh-action-pypi-publish"}
    assert {step["run"].split()[0] for step in JOBS[name].steps if "run" in step} <= {"mkdir", "gh"}


def test_no_secret_is_kept() -> None:
    assert "secrets." not in PATH.read_text(encoding="utf-8")


def test_nothing_is_published_before_all_is_tested() -> None:
    assert {"build", "test", "everything", "attest"} <= before("publish")
    assert "publish" in before("page")


ENDS = [
    ("attest", {"build": "success", "test": "success", "everything": "skipped"}, True),
    ("attest", {"build": "success", "test": "success", "everything": "success"}, True),
    ("attest", {"build": "success", "test": "failure", "everything": "skipped"}, False),
    ("attest", {"build": "success", "test": "cancelled", "everything": "skipped"}, False),  # what is out of time
    ("attest", {"build": "success", "test": "success", "everything": "cancelled"}, False),
    ("attest", {"build": "success", "test": "skipped", "everything": "success"}, False),
    ("attest", {"build": "failure", "test": "skipped", "everything": "skipped"}, False),
    ("publish", {"build": "success", "attest": "success"}, True),
    ("publish", {"build": "success", "attest": "skipped"}, False),
    ("publish", {"build": "success", "attest": "cancelled"}, False),
    ("page", {"build": "success", "publish": "success"}, True),
    ("page", {"build": "success", "publish": "skipped"}, False),
    ("page", {"build": "success", "publish": "cancelled"}, False),
]


@pytest.mark.parametrize(("name", "ends", "goes_on"), ENDS)
def test_only_what_was_tested_goes_on(name: str, ends: dict[str, str], goes_on: bool) -> None:
    """For GitHub a job that ran out of time has not failed, and one that waits for it is skipped, no more."""
    assert [*ends] == JOBS[name].needs
    contexts = {"needs": {job: {"result": end, "outputs": {}} for job, end in ends.items()}}
    with Expressions() as expressions:
        assert expressions.holds(JOBS[name].keys["if"], contexts, [*ends.values(), "skipped"]) is goes_on


def test_a_package_is_tested_at_both_ends_on_every_system() -> None:
    matrix = JOBS["test"].keys["strategy"]["matrix"]
    assert matrix == {
        "os": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": ["3.11", "3.14"],
        "end": ["oldest", "newest"],
    }
    assert JOBS["test"].steps[-1]["run"] == 'python run bounds "$PACKAGE" "$END"'


def test_the_list_of_what_is_installed_goes_along() -> None:
    attested = [step["with"] for step in JOBS["attest"].steps if "actions/attest@" in step["uses"]]
    assert [sorted(each) for each in attested] == [["subject-path"], ["sbom-path", "subject-path"]]
    assert "dist/*.cdx.json" in attested[0]["subject-path"]
    assert "dist/*.cdx.json" in JOBS["page"].steps[-1]["run"]


def test_each_package_has_its_own_publisher() -> None:
    assert JOBS["publish"].keys["environment"] == "pypi-${{ needs.build.outputs.package }}"


@pytest.mark.skipif(os.name == "nt", reason="the job runs on Linux")
@pytest.mark.parametrize(
    ("tag", "package", "candidate"),
    [("seg-vis-v1.2.0", "seg-vis", "false"), ("seg-optim-v0.10.0rc1", "seg-optim", "true")],
)
def test_a_release_candidate_is_not_shown_as_the_newest_release(
    tmp_path: Path, tag: str, package: str, candidate: str
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/one.cdx.json").touch()
    (step,) = [step["run"] for step in JOBS["build"].steps if step.get("id") == "files"]
    told = {**os.environ, "TAG": tag, "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path, env=told, check=True)
    outputs = (tmp_path / "outputs").read_text(encoding="utf-8").splitlines()
    assert outputs == [f"package={package}", "sbom=dist/one.cdx.json", f"candidate={candidate}"]
    assert '--prerelease="$CANDIDATE"' in JOBS["page"].steps[-1]["run"]
