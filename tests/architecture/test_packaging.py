"""Each package is a distribution of its own: licence, types, change log, entry points that exist."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from helpers.tree import PACKAGES, PROJECTS, ROOT
from projects import ISLANDS

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
    assert [c for c in commands if not c.startswith('"{env:HATCH_UV:uv}" pip ')] == []


@pytest.fixture(scope="module")
def with_builder() -> list[str]:
    """Run what follows where pip and what builds our wheels is installed beside everything else."""
    command = [sys.executable, "-m", "uv", "run", "--no-project", "--quiet"]
    return [*command, "--with", "hatchling>=1.27", "--with", "hatch-fancy-pypi-readme>=24.1", "--with", "pip>=25"]


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def siblings(metadata: str) -> set[str]:
    """What metadata requires of our own packages."""
    return set(re.findall(r"^Requires-Dist: (seg-.*)$", metadata, flags=re.MULTILINE))


def test_pip_takes_the_packages_of_a_checkout(tmp_path: Path, with_builder: list[str]) -> None:
    """`pip install .` works without an index that has them; what is built for an index names no folder."""
    code = "import sys, build_backend; print(build_backend.prepare_metadata_for_build_wheel(sys.argv[1]))"
    told = run(*with_builder, "python", "-c", code, str(tmp_path), PYTHONPATH=str(ROOT / "scripts"))
    metadata = (tmp_path / told.splitlines()[-1] / "METADATA").read_text(encoding="utf-8")
    needs, places = siblings(metadata), {path.name: path.as_uri() for path in (ROOT / "packages").glob("seg-*")}
    assert {f"{name} @ {place}" for name, place in places.items()} <= needs
    assert {f"seg-vis[wandb] @ {places['seg-vis']} ; extra == '{extra}'" for extra in ("wandb", "all")} <= needs
    assert "pillow>=10.1" in metadata
    page = metadata.partition("\n\n")[2]
    assert "](https://raw.githubusercontent.com/seg-engine/seg-engine/main/docs/demo.png)" in page
    assert "](https://github.com/seg-engine/seg-engine/blob/main/packages/seg-optim/README.md)" in page
    assert re.findall(r"\]\((?!https://|#)", page) == [], "an index has no files beside the page"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation reads, committed to a repository of its own."""
    folder = tmp_path_factory.mktemp("clone") / "seg-engine"
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "src", "packages", "scripts"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    author = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    run("git", *author, "commit", "--quiet", "--message", "all: as it stands", cwd=folder)
    return folder


def test_pip_installs_everything_from_a_git_address(tmp_path: Path, with_builder: list[str], repository: Path) -> None:
    """pip keeps the wheel of a commit and deletes the clone: so the wheel has addresses, not folders of the clone."""
    address = f"git+{repository.as_uri()}@{run('git', 'rev-parse', 'HEAD', cwd=repository).strip()}"
    pip = [*with_builder, "python", "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "-w"]
    run(*pip, str(tmp_path), f"seg-engine @ {address}", cwd=tmp_path, PIP_CACHE_DIR=str(tmp_path / "cache"))
    (wheel,) = tmp_path.glob("seg_engine-*.whl")
    with zipfile.ZipFile(wheel) as files:
        name = next(each for each in files.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = files.read(name)
        record = files.read(name.replace("METADATA", "RECORD")).decode()
    needs = siblings(metadata.decode())
    assert {f"{name} @ {address}#subdirectory=packages/{name}" for name in ISLANDS} <= needs
    assert f"seg-vis[wandb] @ {address}#subdirectory=packages/seg-vis ; extra == 'wandb'" in needs
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    assert f"{name},sha256={digest},{len(metadata)}" in record.splitlines()
    pip[pip.index("wheel") :] = ["install", "--dry-run", "--no-index", "--no-build-isolation"]
    told = run(*pip, str(wheel), cwd=tmp_path)
    assert all(f"{name}-" in told.splitlines()[-1] for name in ISLANDS)
