"""The packages of this repository, and where the parts of each lie.

The one list of them for all scripts and tests: a new package is added here, in `hatch.toml`, and as a requirement of
the meta-package.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ISLANDS = ["seg-registry", "seg-optim", "seg-hooks", "seg-runner", "seg-vis"]  # each can be installed alone
REPOSITORY = "https://github.com/seg-engine/seg-engine"
SITE = "https://seg-engine.github.io/seg-engine"
META = "seg-engine"  # ties them together; lies in the root
NAMES = [*ISLANDS, META]  # in the order of their releases: the meta-package requires the others
UNRELEASED = "not yet released"  # in the heading of the changelog's section for the next release
VERSION = re.compile(r'^__version__ = "(?P<version>.+)"$', re.MULTILINE)
NUMBER = "(?:0|[1-9][0-9]*)"  # one way to write each, the one that the wheel's name will have
TAG = re.compile(rf"(?P<name>seg-\w+)-v(?P<version>{NUMBER}\.{NUMBER}\.{NUMBER}(?:(?:a|b|rc){NUMBER})?)")


class ProjectError(Exception):
    """What is missing or does not fit, in words."""


@dataclass(frozen=True)
class Project:
    """One package, and where its parts lie."""

    name: str

    @property
    def module(self) -> str:
        """The name that is imported, such as `seg_optim`."""
        return self.name.replace("-", "_")

    @property
    def folder(self) -> Path:
        """Its folder; the meta-package's is the repository's root."""
        return ROOT if self.name == META else ROOT / "packages" / self.name

    @property
    def source(self) -> Path:
        """The folder of its modules."""
        return self.folder / "src" / self.module

    @property
    def tests(self) -> Path:
        """The folder of its own tests, such as `tests/optim`."""
        return ROOT / "tests" / self.name.removeprefix("seg-")

    @property
    def about(self) -> Path:
        """The file that holds the version."""
        return self.source / "__about__.py"

    @property
    def changelog(self) -> Path:
        """Its changelog, newest version first."""
        return self.folder / "CHANGELOG.md"

    def version(self) -> str:
        """Return the version as it stands in the source.

        Raises:
            ProjectError: the file has no such line.
        """
        found = VERSION.search(self.about.read_text(encoding="utf-8"))
        if found is None:
            raise ProjectError(f'{self.about.relative_to(ROOT)} has no line `__version__ = "..."`')
        return found["version"]

    def pyproject(self) -> dict[str, Any]:
        """Return what its `pyproject.toml` says."""
        found: dict[str, Any] = tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))
        return found

    def section(self, version: str) -> tuple[str, str]:
        """Return the changelog's heading and text for a version.

        Raises:
            ProjectError: there is no such section, or nothing stands in it.
        """
        text = self.changelog.read_text(encoding="utf-8")
        found = re.search(rf"^## ({re.escape(version)}\b[^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None or not found[2].strip():
            where = self.changelog.relative_to(ROOT)
            raise ProjectError(f"{where} has no section `## {version}` that says what changed")
        return found[1], found[2].strip() + "\n"

    def unreleased(self) -> tuple[str, str]:
        """Return the changelog's heading and text for the next release; two empty texts where there is no section."""
        text = self.changelog.read_text(encoding="utf-8")
        found = re.search(rf"^## ([^\n]*{UNRELEASED}[^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        return (found[1], found[2].strip() and found[2].strip() + "\n") if found else ("", "")


def environments() -> dict[str, dict[str, Any]]:
    """Return the environments of `hatch.toml`."""
    found: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
    return found


def versions_of(tags: Iterable[str]) -> list[str]:
    """Return the versions of those tags that are a release's; `seg-optim-vnext` is not."""
    return [found["version"] for found in map(TAG.fullmatch, tags) if found]


def project(name: str) -> Project:
    """Return the package of a name.

    Raises:
        ProjectError: there is none; the error lists those that are there.
    """
    if name not in NAMES:
        raise ProjectError(f"there is no package {name!r}; there are {', '.join(NAMES)}")
    return Project(name)


def of_tag(tag: str) -> tuple[Project, str]:
    """Read a tag such as `seg-optim-v1.2.0`: the package, and the version.

    Raises:
        ProjectError: it is no tag of a release.
    """
    found = TAG.fullmatch(tag)
    if found is None:
        raise ProjectError(f"{tag!r} is no tag of a release; one is `seg-optim-v1.2.0`")
    return project(found["name"]), found["version"]
