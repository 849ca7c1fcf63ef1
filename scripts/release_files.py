"""The files of a release: built twice, looked into, installed into an empty environment, listed in an SBOM."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from commands import python_in, run, unpack, uv
from packaging.requirements import Requirement
from projects import ISLANDS, META, NAMES, ROOT, Project, ProjectError

DIST = ROOT / "dist"
LOCK = ROOT / "constraints" / "locks" / "development.txt"
COMPILED = (".so", ".pyd", ".dylib", ".dll")


class ReleaseError(ProjectError):
    """What stands in the way of a release, in words."""


def time_of_commit() -> str:
    """Return the time that stands in all files of a release, in seconds."""
    return run("git", "log", "-1", "--format=%ct").strip()


def build(it: Project, out: Path) -> list[Path]:
    """Build wheel and sdist from the commit, with the locked build tools and the commit's time in the files."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as built:
        source = unpack(it, "HEAD", Path(folder))
        locked = ["--build-constraints", LOCK, "--require-hashes"]
        run(uv(), "build", "--quiet", *locked, "--out-dir", built, source, SOURCE_DATE_EPOCH=time_of_commit())
        made = [path for path in Path(built).iterdir() if path.suffix in (".whl", ".gz")]
        out.mkdir(exist_ok=True)
        return sorted(Path(shutil.copy2(path, out)) for path in made)


def build_twice(it: Project) -> list[Path]:
    """Build in two folders at two times; return the first build's files, in `dist/`."""
    first = build(it, DIST)
    with tempfile.TemporaryDirectory() as folder:
        second = build(it, Path(folder))
        for one, two in zip(first, second, strict=True):
            if digest(one) != digest(two):
                raise ReleaseError(f"two builds of {one.name} differ; a stranger could not check it against the source")
    return first


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_wheel(it: Project, wheel: Path) -> None:
    """Look into the wheel: it is for every machine, typed, licensed, and holds the package and nothing else."""
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise ReleaseError(f"{wheel.name}: a package without compiled code is for every Python 3 and every machine")
    names = zipfile.ZipFile(wheel).namelist()
    if compiled := [name for name in names if name.endswith(COMPILED)]:
        raise ReleaseError(f"{wheel.name} holds compiled code, which is for one machine: {compiled[:5]}")
    for needed in (f"{it.module}/py.typed", "/licenses/LICENSE", ".dist-info/METADATA"):
        if not any(name.endswith(needed) for name in names):
            raise ReleaseError(f"{wheel.name} has no {needed}")
    (held,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    required = message_from_bytes(zipfile.ZipFile(wheel).read(held)).get_all("Requires-Dist", [])
    if placed := [each for each in required if Requirement(each).url]:
        raise ReleaseError(f"{wheel.name} requires what lies in one place, {placed[:5]}; an index refuses that")
    if strangers := [name for name in names if not name.startswith((f"{it.module}/", f"{it.module}-"))]:
        raise ReleaseError(f"{wheel.name} holds what is not the package's: {strangers[:5]}")


def ask_tools() -> None:
    """Ask twine and check-wheel-contents about all that lies in `dist/`."""
    run(sys.executable, ROOT / "run", "lint:dist")


def quick_start(it: Project) -> str:
    """Return the first python block of the README, as a newcomer pastes it."""
    readme = (it.folder / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise ReleaseError(f"{it.name}: the README has no example")
    return found[1]


def try_wheel(it: Project, wheel: Path) -> Path:
    """Install the wheel into an empty environment, run the quick start there, and list what is there.

    Returns:
        the SBOM, in `dist/`.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        python = python_in(place / "env")
        run(uv(), "venv", "--quiet", "--python", sys.executable, place / "env")
        links = [word for source in sources(it, place / "siblings") for word in ("--find-links", source)]
        # By its name, as from an index: what is installed by path says so, and the path would stand in the SBOM.
        wanted = [f"{it.name}=={it.version()}", *(word for name in NAMES for word in ("--refresh-package", name))]
        run(uv(), "pip", "install", "--quiet", "--python", python, *links, *wanted, UV_COMPILE_BYTECODE="0")
        run(python, "-I", "-W", "error::DeprecationWarning", "-c", quick_start(it), cwd=place)
        return write_sbom(python, wheel)


def sources(it: Project, siblings: Path) -> list[str]:
    """Return the folders that wheels are taken from; what the meta-package ties together is built where it lacks."""
    missing = [each for each in map(Project, ISLANDS) if not list(DIST.glob(f"{each.module}-*.whl"))]
    for each in missing if it.name == META else []:
        build(each, siblings)
    here = [str(DIST), str(siblings)] if siblings.exists() else [str(DIST)]
    return here + [extra for extra in os.environ.get("UV_FIND_LINKS", "").split(",") if extra]


def write_sbom(python: Path, wheel: Path) -> Path:
    """Write what an environment holds beside the wheel that was installed into it."""
    target = wheel.with_name("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    run(sys.executable, ROOT / "run", "lint:sbom", python, wheel, target, SOURCE_DATE_EPOCH=time_of_commit())
    return target
