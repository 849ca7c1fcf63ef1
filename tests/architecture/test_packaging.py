"""Each package is a distribution of its own: licence, types, change log, entry points that exist."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from helpers.tree import PACKAGES, PROJECTS, ROOT

REPOSITORY = "https://github.com/seg-engine/seg-engine"
SITE = "https://seg-engine.github.io/seg-engine/"


def project_table(package: str) -> dict[str, object]:
    """The `[project]` table of a package."""
    return tomllib.loads((PROJECTS[package] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_brings_what_a_distribution_needs(package: str) -> None:
    folder: Path = PROJECTS[package]
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (PACKAGES[package] / "py.typed").is_file()
    version = importlib.import_module(package).__version__
    assert f"## {version}" in (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len((folder / "README.md").read_text(encoding="utf-8")) > 500


@pytest.mark.parametrize("package", PACKAGES)
def test_declared_entry_points_are_installed_and_load(package: str) -> None:
    declared = {
        (group, name, target)
        for group, entries in project_table(package).get("entry-points", {}).items()  # type: ignore[union-attr]
        for name, target in entries.items()
    }
    points = [p for p in distribution(package.replace("_", "-")).entry_points if p.group != "console_scripts"]
    assert {(p.group, p.name, p.value) for p in points} == declared
    for point in points:
        assert callable(point.load())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_an_exhaustive_contract_of_layers(package: str) -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = [c for c in tool["importlinter"]["contracts"] if c["type"] == "layers" and package in c["containers"]]
    assert layers
    assert all(contract.get("exhaustive") for contract in layers)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_where_it_lives_and_where_it_runs(package: str) -> None:
    table = project_table(package)
    urls: dict[str, str] = table["urls"]  # type: ignore[assignment]
    assert list(urls) == ["Homepage", "Documentation", "Source", "Issues", "Changelog"]
    assert {url for name, url in urls.items() if name in ("Homepage", "Documentation")} == {SITE}
    folder = str(PROJECTS[package].relative_to(ROOT))
    assert urls["Source"] == (REPOSITORY if folder == "." else f"{REPOSITORY}/tree/main/{folder}")
    assert urls["Changelog"] == f"{REPOSITORY}/blob/main/{'' if folder == '.' else folder + '/'}CHANGELOG.md"
    told = [text.rpartition(" ")[2] for text in table["classifiers"] if "Python :: 3." in text]  # type: ignore[attr-defined]
    assert told == ["3.11", "3.12", "3.13", "3.14"]
    assert table["requires-python"] == f">={told[0]}"


def test_dependencies_between_packages_run_one_way() -> None:
    for package in PACKAGES:
        names = [d for d in project_table(package).get("dependencies", []) if d.startswith("seg-")]  # type: ignore[union-attr]
        assert len(names) == (5 if package == "seg_engine" else 0)


def test_installing_asks_nothing_of_the_machine_but_python() -> None:
    """uv comes with hatch, in an environment of its own: on a machine without one on PATH a bare `uv` is not found."""
    tables = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"].values()
    commands = [c for t in tables for k in ("pre-install-commands", "post-install-commands") for c in t.get(k, [])]
    assert commands
    assert [c for c in commands if not c.startswith("{env:HATCH_UV:uv} pip ")] == []


def test_pip_takes_the_packages_of_a_checkout(tmp_path: Path) -> None:
    """`pip install .` works without an index that has them; what is built for an index names no folder."""
    code = "import sys, build_backend; print(build_backend.prepare_metadata_for_build_wheel(sys.argv[1]))"
    command = [sys.executable, "-m", "uv", "run", "--no-project", "--quiet", "--with", "hatchling>=1.27"]
    command += ["python", "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metadata = (tmp_path / done.stdout.splitlines()[-1] / "METADATA").read_text(encoding="utf-8")
    told = dict(re.findall(r"^Requires-Dist: (seg-\w+)[^@\n]*@ (\S+)$", metadata, flags=re.MULTILINE))
    assert told == {path.name: path.as_uri() for path in (ROOT / "packages").glob("seg-*")}
    assert "pillow>=10.1" in metadata
