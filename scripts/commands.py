"""What scripts share that run other commands: uv, git, and pythons of other environments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import projects
from projects import Project, ProjectError


def run(*words: object, cwd: Path | None = None, **environment: str) -> str:
    """Run a command, in the repository's root unless told where, and return what it prints.

    Raises:
        ProjectError: it failed; the error has what it printed.
    """
    command = [str(word) for word in words]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd or projects.ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return done.stdout


def uv() -> str:
    """Return where uv is; the default environment, in which `./run` starts scripts, has it.

    Raises:
        ProjectError: it is not on the path.
    """
    found = shutil.which("uv")
    if found is None:
        raise ProjectError("needs uv on the path; the commands of `./run` have it")
    return found


def unpack(it: Project, commit: str, target: Path) -> Path:
    """Write what a commit holds to a folder, without files of this machine; return the package's folder there."""
    archive = subprocess.run(["git", "archive", commit], cwd=projects.ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
    return target / it.folder.relative_to(projects.ROOT)


def python_in(environment: Path) -> Path:
    """Return the Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
