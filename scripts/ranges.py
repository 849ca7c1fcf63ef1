"""The versions of the five packages that the meta-package allows: the ranges in its `pyproject.toml`."""

from __future__ import annotations

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from projects import ISLANDS, META, Project


def allowed() -> dict[str, SpecifierSet]:
    """Return the range of each package that the meta-package requires."""
    requirements = map(Requirement, Project(META).pyproject()["project"]["dependencies"])
    return {each.name: each.specifier for each in requirements if each.name in ISLANDS}
