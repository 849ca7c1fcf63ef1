"""`./run changed` on real histories: copies of this repository, in each of which one thing is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.tree import ROOT
from projects import ISLANDS, NAMES

SHARED = [f"tests/{name}" for name in ("architecture", "contracts", "device", "engine", "faults", "journeys")]
AUTHOR = ["-c", "user.name=A", "-c", "user.email=a@example.com"]


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *AUTHOR, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this repository as they lie here, as one commit on `main`."""
    folder = tmp_path_factory.mktemp("original")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all: all")
    git(folder, "tag", "start")
    return folder


@pytest.fixture
def clone(original: Path) -> Path:
    """A branch without a change; what the test before did to branches and files is undone."""
    git(original, "reset", "--quiet", "--hard")
    git(original, "checkout", "--quiet", "--force", "-B", "branch", "start")
    git(original, "branch", "--force", "main", "start")
    git(original, "clean", "--quiet", "-fd")
    return original


def change(clone: Path, file: str, text: str = "\n# changed\n") -> None:
    (clone / file).parent.mkdir(parents=True, exist_ok=True)
    with (clone / file).open("a", encoding="utf-8") as opened:
        opened.write(text)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", f"tests: {file}")


def run(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/changed.py", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)


def changed(clone: Path, *words: str) -> dict[str, Any]:
    done = run(clone, *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("package", ISLANDS)
def test_a_package_is_tested_alone_and_where_it_meets_others(clone: Path, package: str) -> None:
    module = package.replace("-", "_")
    change(clone, f"packages/{package}/src/{module}/__about__.py")
    found = changed(clone)
    assert (found["packages"], found["everything"]) == ([package], False)
    assert found["pure"] == [package] * (package in ("seg-registry", "seg-vis"))
    assert found["tests"] == SHARED
    assert found["environments"] == ["parity", "fork"]
    assert sorted(found["releases"]) == sorted([package, "seg-engine"])  # the meta-package requires it
    assert found["site"] is True


@pytest.mark.parametrize("file", ["src/seg_engine/demo.py", "interface.json"])
def test_the_meta_package_is_nobodys_requirement(clone: Path, file: str) -> None:
    change(clone, file)
    found = changed(clone)
    assert (found["packages"], found["releases"]) == ([], ["seg-engine"])
    assert {"tests/engine", "tests/journeys", "tests/contracts"} <= set(found["tests"])


SHARED_FILES = ["hatch.toml", "pyproject.toml", "run", "constraints/cpu.txt", ".ci/run", "tests/conftest.py"]


@pytest.mark.parametrize("file", SHARED_FILES)
def test_what_all_share_runs_everything(clone: Path, file: str) -> None:
    change(clone, file)
    found = changed(clone)
    assert (found["everything"], found["packages"], found["tests"]) == (True, ISLANDS, SHARED)
    assert found["releases"] == NAMES


def test_a_folder_that_nobody_knows_runs_everything(clone: Path) -> None:
    change(clone, "new/thing.txt")
    assert changed(clone)["everything"] is True


DOCUMENTS = ["docs/architecture.md", "README.md", "docs/new/page.md", "packages/seg-vis/CHANGELOG.md"]


@pytest.mark.parametrize("file", DOCUMENTS)
def test_a_document_needs_the_site_and_no_package(clone: Path, file: str) -> None:
    change(clone, file)
    found = changed(clone)
    assert (found["packages"], found["tests"], found["site"]) == ([], ["tests/architecture"], True)


def test_a_readme_of_a_package_is_run_by_its_tests(clone: Path) -> None:
    change(clone, "packages/seg-vis/README.md")
    assert changed(clone)["packages"] == ["seg-vis"]


@pytest.mark.parametrize(
    ("file", "packages", "tests"),
    [
        ("tests/vis/test_hook.py", ["seg-vis"], []),
        ("tests/journeys/test_demo.py", [], ["tests/journeys"]),
        ("tests/typing/fits_hooks.py", [], []),  # read by the type checker, which always runs
        ("tests/helpers/doors.py", [], ["tests/contracts"]),  # who imports it is found
        ("tests/helpers/modules.py", ["seg-hooks", "seg-runner"], ["tests/engine"]),
        ("examples/plugin/pyproject.toml", ["seg-vis"], []),  # named by a test of seg-vis
    ],
)
def test_tests_run_where_they_lie_or_are_used(clone: Path, file: str, packages: list[str], tests: list[str]) -> None:
    change(clone, file)
    found = changed(clone)
    assert set(packages) <= set(found["packages"])
    assert found["tests"] == sorted({"tests/architecture", *tests})
    assert found["everything"] is False


def test_a_test_that_imports_a_sibling_makes_the_sibling_matter(clone: Path) -> None:
    """Nothing is listed by hand: the day a test of seg-vis imports seg-hooks, a change there runs seg-vis too."""
    change(clone, "tests/vis/test_new.py", "from seg_hooks import Hook\n")
    git(clone, "branch", "--force", "main", "HEAD")
    change(clone, "packages/seg-hooks/src/seg_hooks/__about__.py")
    assert changed(clone)["packages"] == ["seg-hooks", "seg-vis"]


def test_a_new_requirement_is_followed(clone: Path) -> None:
    path = clone / "packages/seg-runner/pyproject.toml"
    text = path.read_text(encoding="utf-8").replace("dependencies = [", 'dependencies = ["seg-registry>=0.1", ', 1)
    path.write_text(text, encoding="utf-8")
    git(clone, "commit", "--quiet", "--all", "--message", "seg-runner: requires seg-registry")
    git(clone, "branch", "--force", "main", "HEAD")
    change(clone, "packages/seg-registry/src/seg_registry/__about__.py")
    found = changed(clone)
    assert found["packages"] == ["seg-registry", "seg-runner"]
    assert found["releases"] == ["seg-registry", "seg-runner", "seg-engine"]


def test_deleted_moved_and_new_files_count(clone: Path) -> None:
    git(clone, "rm", "--quiet", "tests/vis/test_hook.py")
    git(clone, "mv", "tests/hooks/test_hook.py", "tests/optim/test_hook.py")
    (clone / "tests/registry/test_new.py").write_text("", encoding="utf-8")
    assert changed(clone)["packages"] == ["seg-registry", "seg-optim", "seg-hooks", "seg-vis"]


def test_names_that_are_not_ascii_count(clone: Path) -> None:
    """Git would write such a name in quotes and with escapes, which no file has."""
    change(clone, "tests/optim/test_größe.py")
    (clone / "tests/registry/test_名.py").write_text("", encoding="utf-8")
    assert changed(clone)["packages"] == ["seg-registry", "seg-optim"]


def test_only_this_branch_counts(clone: Path) -> None:
    """What came to `main` since is not this branch's change; `HEAD~1` asks for the last commit."""
    git(clone, "checkout", "--quiet", "main")
    change(clone, "hatch.toml")
    git(clone, "checkout", "--quiet", "branch")
    assert changed(clone)["everything"] is False
    change(clone, "tests/vis/test_hook.py")
    change(clone, "tests/hooks/test_hook.py")
    assert changed(clone)["packages"] == ["seg-hooks", "seg-vis"]
    assert changed(clone, "HEAD~1")["packages"] == ["seg-hooks"]


def test_nothing_changed(clone: Path) -> None:
    assert not any(changed(clone).values())


@pytest.mark.parametrize("base", ["", "0" * 40, "a" * 40])
def test_a_commit_that_git_never_had_runs_everything(clone: Path, base: str) -> None:
    """A new branch, a start by hand, and a forced push hand over such a commit."""
    assert changed(clone, base)["everything"] is True


def test_a_misspelt_commit_is_an_error(clone: Path) -> None:
    done = run(clone, "mian")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "changed: git knows no commit 'mian'; give one: `./run changed HEAD~3`\n"


def test_the_outputs_of_a_step(clone: Path, tmp_path: Path) -> None:
    change(clone, "tests/vis/test_hook.py")
    done = run(clone, "--github", GITHUB_OUTPUT=str(tmp_path / "outputs"))
    outputs = dict(line.split("=", 1) for line in (tmp_path / "outputs").read_text(encoding="utf-8").splitlines())
    assert {name: json.loads(value) for name, value in outputs.items()} == json.loads(done.stdout)


def test_every_folder_of_tests_is_run_by_some_job() -> None:
    """Read off this repository as it is: what is in `tests/` is some job's, whichever way."""
    found = json.loads(run(ROOT, "").stdout)
    told = {*found["tests"], *(f"tests/{name.removeprefix('seg-')}" for name in found["packages"]), "tests/parity"}
    assert {str(each.parent.relative_to(ROOT).parts[0]) for each in ROOT.glob("tests/*/**/test_*.py")} == {"tests"}
    assert {"/".join(each.relative_to(ROOT).parts[:2]) for each in ROOT.glob("tests/*/**/test_*.py")} == told
