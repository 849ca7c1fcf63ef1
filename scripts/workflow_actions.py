"""The actions that our workflows use, done here with local means, or named as not done."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workflow_expressions import WorkflowError
from workflow_plan import only

NOT_RUN = {
    "actions/attest": "signs with the identity of a runner",
    "actions/deploy-pages": "needs the site's address at GitHub",
    "pypa/gh-action-pypi-publish": "uploads",
}


@dataclass
class Place:
    """The folders of one job, and what its steps have set so far."""

    snapshot: Path  # the repository that is checked out
    workspace: Path
    temporary: Path
    artifacts: Path  # shared by all jobs
    ref: str  # such as refs/heads/main
    path: list[str] = field(default_factory=list)  # goes in front of PATH
    env: dict[str, str] = field(default_factory=dict)


def checkout(given: Mapping[str, str], place: Place) -> None:
    """Clone the snapshot, no deeper and with no more tags and branches than the real action brings."""
    only({"fetch-depth", "fetch-tags", "persist-credentials"}, given, "actions/checkout")
    depth, tags = str(given.get("fetch-depth", 1)), str(given.get("fetch-tags", "false")) == "true"
    shallow = [] if depth == "0" else ["--depth", depth, *([] if tags else ["--no-tags"])]
    url = place.snapshot.as_uri()  # a plain path would be cloned whole, whatever the depth
    branch = place.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    if place.ref.startswith("refs/pull/"):
        branch = "pull"
    git = ["git", "-c", "advice.detachedHead=false"]
    subprocess.run([*git, "clone", "-q", *shallow, "--branch", branch, url, str(place.workspace)], check=True)
    if place.ref.startswith("refs/pull/"):  # a runner has the merge, and no branch
        subprocess.run([*git, "checkout", "-q", "--detach"], cwd=place.workspace, check=True)
        subprocess.run([*git, "branch", "-q", "-D", branch], cwd=place.workspace, check=True)


def setup_python(given: Mapping[str, str], place: Place) -> None:
    """Put a Python of this version in front of PATH."""
    only({"python-version"}, given, "actions/setup-python")
    version = given["python-version"]
    if not isinstance(version, str):
        raise WorkflowError(f"actions/setup-python: python-version {version!r} needs quotes; 3.10 would be 3.1")
    found = find_python(version)
    links = place.temporary / f"python-{version}"
    links.mkdir()
    for name in ("python", "python3"):
        (links / name).symlink_to(found)
    place.path[:0] = [str(links), str(found.parent)]


def find_python(version: str) -> Path:
    """Return the interpreter of a version: of PATH, or one that lies beside this one or where uv keeps its own."""
    kept = Path(sys.base_prefix).parent
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    candidates = [shutil.which(f"python{version}"), sys.executable]
    candidates += sorted(glob.glob(f"{kept}/*/bin/python{version}") + glob.glob(f"{uv}/*/bin/python{version}"))
    ask = "import sys; print('%d.%d' % sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split(maxsplit=1)[0] == version:
            return Path(done.stdout.split(maxsplit=1)[1].strip())
    how = f"put python{version} on the path, or `uv python install {version}`"
    raise WorkflowError(f"there is no Python {version} here; {how}")


def upload(given: Mapping[str, str], place: Place) -> None:
    """Copy files to the artifact's folder, as they lie below what they have in common."""
    only({"name", "path", "if-no-files-found", "retention-days"}, given, "actions/upload-artifact")
    patterns = str(given["path"]).split("\n")
    found = [Path(each) for line in patterns if line for each in glob.glob(line.strip(), root_dir=place.workspace)]
    if not found:
        if given.get("if-no-files-found") == "error":
            raise WorkflowError(f"actions/upload-artifact: there is nothing at {given['path']}")
        return
    target = place.artifacts / str(given.get("name", "artifact"))
    if target.exists():
        raise WorkflowError(f"actions/upload-artifact: there is an artifact {target.name!r} already")
    top = Path(os.path.commonpath(found))
    top = top if (place.workspace / top).is_dir() else top.parent
    for each in found:
        copy(place.workspace / each, target / each.relative_to(top))


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def upload_pages(given: Mapping[str, str], place: Place) -> None:
    """Keep the site as the artifact that is deployed."""
    only({"path"}, given, "actions/upload-pages-artifact")
    if not (place.workspace / given["path"] / "index.html").is_file():
        raise WorkflowError(f"actions/upload-pages-artifact: {given['path']} has no index.html")
    upload({"name": "github-pages", **given}, place)


def download(given: Mapping[str, str], place: Place) -> None:
    """Copy one artifact, or those that a pattern names, into the workspace."""
    only({"name", "path", "pattern", "merge-multiple"}, given, "actions/download-artifact")
    target = place.workspace / str(given.get("path", "."))
    if name := given.get("name"):
        if not (place.artifacts / name).is_dir():
            there = ", ".join(sorted(each.name for each in place.artifacts.iterdir())) or "none"
            raise WorkflowError(f"actions/download-artifact: there is no artifact {name!r}; there are: {there}")
        shutil.copytree(place.artifacts / name, target, dirs_exist_ok=True)
        return
    for each in sorted(place.artifacts.glob(str(given.get("pattern", "*")))):
        merged = str(given.get("merge-multiple", "false")).lower() == "true"
        shutil.copytree(each, target if merged else target / each.name, dirs_exist_ok=True)


DONE_HERE: dict[str, Callable[[Mapping[str, str], Place], None]] = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/upload-artifact": upload,
    "actions/upload-pages-artifact": upload_pages,
    "actions/download-artifact": download,
}


def known(uses: str) -> str:
    """Return the name of an action that is known here.

    Raises:
        WorkflowError: it is not; somebody must say what is to be done for it here.
    """
    name = uses.partition("@")[0]
    if name not in {*DONE_HERE, *NOT_RUN}:
        there = ", ".join(sorted({*DONE_HERE, *NOT_RUN}))
        raise WorkflowError(f"the action {name} is not known here; known are {there} (scripts/workflow_actions.py)")
    return name
