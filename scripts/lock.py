"""Lock the development environments: `./run lock` writes the locks, `./run lock --check` tells what is stale.

A lock is two files in `constraints/locks/`. `NAME.in` holds what hatch.toml and the `pyproject.toml` files ask for, and
is written anew each time; `NAME.txt` holds one version of each package with the hashes of its files, for every Python
and system that the packages are for. The environments get it as constraints; uv refuses a file whose hash it lacks.

- `development`: every environment that holds packages of this repository, so that all of them see the same versions.
- `torch`: PyPI's torch, which `development` leaves out: its builds for the CPU share the version, not the files.
- `hatch`: what `run` installs first, with pip.
- one for each detached environment of hatch.toml, such as `lint`.

Versions stay as they are while they fit; `./run lock --upgrade` takes the newest. `--check` needs no network.

Hatch has locks of its own (`locked = true`), but they hold for the one system and Python that wrote them, and would
take torch's CUDA build where a CPU build lies ready.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import ROOT
from uv import find_uv_bin

LOCKS = ROOT / "constraints" / "locks"
HEAD = "# Written by `./run lock`, from hatch.toml and the pyproject.toml files.\n"
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)(?P<rest>(?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
BUILDS = {"torch", "torchvision"}  # `constraints/dev.txt` and `cpu.txt` say which version
OLDEST_PYTHON = "3.11"
OF_THIS_MACHINE = ["UV_CONSTRAINT", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_STRATEGY", "UV_TORCH_BACKEND"]


def read(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def projects(environments: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the `pyproject.toml` of every package here, and of what else an environment installs from a folder."""
    folders = {ROOT, *(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))}
    for environment in environments.values():
        for member in environment.get("workspace", {}).get("members", []):
            path = member if isinstance(member, str) else member["path"]
            if "{" not in path:  # a matrix of the packages that are listed already
                folders.add(ROOT / path)
    return [read(folder / "pyproject.toml") for folder in sorted(folders)]


def asked_of_packages(found: list[dict[str, Any]]) -> Iterator[str]:
    """Give what the packages need, with all of their extras and what builds them, and without one another."""
    own = {canonicalize_name(each["project"]["name"]) for each in found}
    for each in found:
        project = each["project"]
        extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
        for line in [*each["build-system"]["requires"], *project.get("dependencies", []), *extras]:
            if canonicalize_name(Requirement(line).name) not in own:
                yield line


def wanted() -> dict[str, list[str]]:
    """Return the requirements of each lock."""
    settings = read(ROOT / "hatch.toml")
    environments, hatch = settings["envs"], settings["requires-hatch"]
    attached = [each for each in environments.values() if not each.get("detached")]
    shared = [line for each in attached for line in each.get("dependencies", [])]
    lines = tidy([*shared, *asked_of_packages(projects(environments))])
    builds = [line for line in lines if Requirement(line).name in BUILDS]
    locks = {"development": ["-c ../dev.txt", *lines], "torch": ["-c ../dev.txt", "-c development.txt", *builds]}
    locks["hatch"] = [f"hatch{hatch}"]
    for name, each in environments.items():
        if each.get("detached") and each.get("dependencies"):
            locks[name] = tidy(each["dependencies"])
    return locks


def tidy(lines: Iterable[str]) -> list[str]:
    """Write requirements one way, each once, in order."""
    return sorted({str(Requirement(line)) for line in lines}, key=str.lower)


def pins(text: str) -> list[tuple[str, str, str]]:
    """Return name, version, and marker and hashes of each line of a lock."""
    return [(canonicalize_name(found["name"]), found["version"], found["rest"]) for found in PIN.finditer(text)]


def problems() -> list[str]:
    """Say what of the locks does not fit what the environments ask for; nothing is asked of the network."""
    locks = wanted()
    files = {f"{name}.{ending}" for name in locks for ending in ("in", "txt")}
    held = {path.name for path in LOCKS.glob("*")}
    if held != files:
        return [f"constraints/locks has {sorted(held - files)} too much, and lacks {sorted(files - held)}"]
    return [f"constraints/locks/{name}.{line}" for name, asked in locks.items() for line in stale(name, asked)]


def stale(name: str, asked: list[str]) -> Iterator[str]:
    """Say what of one lock does not fit what is asked for."""
    written = (LOCKS / f"{name}.in").read_text(encoding="utf-8").removeprefix(HEAD).splitlines()
    if written != asked:
        more, less = sorted(set(asked) - set(written)), sorted(set(written) - set(asked))
        yield f"in: asked for is {more} too, and {less} no more"
    locked = pins((LOCKS / f"{name}.txt").read_text(encoding="utf-8"))
    if name == "development" and (held := BUILDS & {pinned for pinned, _, _ in locked}):
        yield f"txt: {sorted(held)} must not stand here, see `./run lock --help`"
    for need in [Requirement(line) for line in asked if not line.startswith("-c ")]:
        if name == "development" and need.name in BUILDS:
            continue
        versions = [version for pinned, version, _ in locked if pinned == canonicalize_name(need.name)]
        if not versions or not all(need.specifier.contains(version, prereleases=True) for version in versions):
            yield f"txt: {str(need)!r} is asked for, {' and '.join(versions) or 'nothing'} is locked"
    yield from (f"txt: {pinned}=={version} has no hash" for pinned, version, rest in locked if "sha256:" not in rest)


def write(name: str, asked: list[str], options: list[str]) -> None:
    """Write both files of a lock; what this machine adds to the index stays out of it."""
    LOCKS.mkdir(exist_ok=True)
    (LOCKS / f"{name}.in").write_text(HEAD + "".join(f"{line}\n" for line in asked), encoding="utf-8")
    command = [find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--python-version", OLDEST_PYTHON, *options, f"{name}.in", f"--output-file={name}.txt"]
    if name == "development":
        command += [word for build in sorted(BUILDS) for word in ("--no-emit-package", build)]
    environment = {key: value for key, value in os.environ.items() if key not in OF_THIS_MACHINE}
    if subprocess.run(command, cwd=LOCKS, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"lock: {name}.txt stays as it was: uv said why above; it needs the package index")


def main() -> int:
    """Return 1 with words where a lock is stale."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run lock", description=__doc__, formatter_class=shown)
    parser.add_argument("--check", action="store_true", help="only tell what is stale, from what lies here")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    if not options.check:
        locks = wanted()
        for name, asked in locks.items():
            write(name, asked, ["--upgrade"] if options.upgrade else [])
        for path in LOCKS.glob("*"):
            if path.stem not in locks:  # of an environment that is gone
                path.unlink()
    found = problems()
    for line in found:
        print(f"lock: {line}", file=sys.stderr)
    if found:
        print("lock: `./run lock` writes them anew", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
