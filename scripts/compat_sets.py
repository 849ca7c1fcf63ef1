"""Sets of versions of our packages, built as wheels and installed into an environment of their own."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import python_in, run, unpack, uv
from packaging.version import Version
from projects import META, NAMES, Project, versions_of

NOW = "now"
"""The state of this checkout, in place of a tag."""
PROBE = """
import importlib, importlib.metadata, sys
from packaging.requirements import Requirement
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert module.__file__.startswith(sys.argv[1]), f"{name} comes from {module.__file__}"
for each in map(Requirement, importlib.metadata.requires("seg-engine")):
    if each.name.startswith("seg-"):
        version = importlib.metadata.version(each.name)
        assert version in each.specifier, f"seg-engine requires {each}, this is {version}"
"""
FACTS = """
import importlib.metadata, platform
print("Python", platform.python_version())
for name in ("torch", "numpy", "opencv-python"):
    print(name, importlib.metadata.version(name))
print(platform.system(), platform.machine())
"""


@dataclass(frozen=True)
class Set:
    """One state of each package.

    Attributes:
        name: What is tried.
        states: Package -> a tag, or NOW.
        missing: Why there is nothing to try; empty where there is.
    """

    name: str
    states: Mapping[str, str]
    missing: str = ""

    @property
    def older(self) -> dict[str, str]:
        """The packages that are not as they are now, with their tags."""
        return {name: tag for name, tag in self.states.items() if tag != NOW}


def releases(package: str) -> list[str]:
    """Return the versions of a package that were released, of those that this commit goes back to; oldest first."""
    tags = run("git", "tag", "--list", f"{package}-v*", "--merged", "HEAD").split()
    versions = sorted(map(Version, versions_of(tags)))
    return [str(each) for each in versions if not each.is_prerelease]


def plan(allowed: Mapping[str, object]) -> list[Set]:
    """Return the sets to be tried: the newest, the oldest allowed one, and each previous release beside the rest."""
    now = dict.fromkeys(NAMES, NOW)
    oldest = {}
    for name, versions in allowed.items():
        inside = [each for each in releases(name) if each in versions]  # type: ignore[operator] # a SpecifierSet
        oldest[name] = f"{name}-v{inside[0]}" if inside else NOW
    sets = [Set("newest", now)]
    none = "" if set(oldest.values()) != {NOW} else "no release is in the ranges yet: the oldest set is the newest"
    sets.append(Set("oldest", {**now, **oldest}, none))
    for name in NAMES:
        before = releases(name)[-1:]
        tag = f"{name}-v{before[0]}" if before else NOW
        left_out = bool(before) and name != META and before[0] not in allowed[name]  # type: ignore[operator]
        why = "no release yet" if not before else f"{before[0]} is outside of the range" if left_out else ""
        sets.append(Set(f"previous {name}", {**now, name: tag}, why))
    return sets


class Wheels:
    """Wheels of states of packages, each built once.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[tuple[str, str], Path] = {}

    def of(self, package: str, state: str) -> Path:
        """Return the wheel of a package at a tag, or as it is in this checkout."""
        if (package, state) not in self.built:
            out = self.folder / f"{package}-{state}"
            with tempfile.TemporaryDirectory() as place:
                source = Project(package).folder if state == NOW else unpack(Project(package), state, Path(place))
                run(uv(), "build", "--quiet", "--wheel", "--out-dir", out, source)
            (self.built[package, state],) = out.glob("*.whl")
        return self.built[package, state]


def install(these: Set, wheels: Wheels, folder: Path, libraries: Sequence[str], here: bool) -> Path:
    """Make an environment with these states of our packages; return its Python.

    Args:
        these: The states.
        wheels: Where their wheels come from.
        folder: Where the environment is made.
        libraries: What the tests need besides.
        here: Take the libraries of this environment, which is quick, instead of new ones, which is what a user gets.

    Raises:
        ProjectError: their requirements do not allow these versions together.
    """
    python = python_in(folder)
    files = {name: wheels.of(name, state) for name, state in these.states.items()}
    extras = {META: "[all]" if "all" in Project(META).pyproject()["project"].get("optional-dependencies", {}) else ""}
    wanted = [f"{name}{extras.get(name, '')} @ {path.resolve().as_uri()}" for name, path in files.items()]
    run(uv(), "venv", "--quiet", "--python", sys.executable, folder)
    if here:
        run(uv(), "pip", "install", "--quiet", "--no-deps", "--python", python, *files.values())
        place = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (place / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    else:
        run(uv(), "pip", "install", "--quiet", "--python", python, *wanted, *libraries)
    modules = [Project(name).module for name in these.states]
    run(python, "-I", "-c", PROBE, folder.resolve(), *modules)
    return python
