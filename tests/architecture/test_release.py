"""`./run release`: what does not fit together is refused, in words; a build can be repeated."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import projects
import pytest
import release
import release_files
from projects import ROOT as CHECKOUT
from projects import Project, ProjectError

SCRIPTS = CHECKOUT / "scripts"


def package(folder: Path, version: str, changelog: str) -> Project:
    """A package of a few files that is taken for seg-optim."""

    class Here(Project):
        about = folder / "__about__.py"
        changelog = folder / "CHANGELOG.md"

    Here.about.write_text(f'"""The version."""\n\n__version__ = "{version}"\n', encoding="utf-8")
    Here.changelog.write_text(changelog, encoding="utf-8")
    return Here("seg-optim")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (projects, release):
        monkeypatch.setattr(module, "ROOT", tmp_path)


def test_the_notes_are_the_sections_own(tmp_path: Path) -> None:
    text = "# Changes\n\n## 1.2.0 (2026-12-01)\n\n- Frozen groups are named.\n\n## 1.1.0 (2026-11-01)\n\n- Older.\n"
    notes = release.check_words(package(tmp_path, "1.2.0", text), "seg-optim-v1.2.0")
    assert notes == "- Frozen groups are named.\n"


@pytest.mark.parametrize(
    ("version", "changelog", "tag", "words"),
    [
        ("1.1.0", "## 1.1.0 (2026-12-01)\n\n- New.\n", "seg-optim-v1.2.0", "the tag says 1.2.0, __about__.py says"),
        ("1.2.0", "## 1.1.0 (2026-12-01)\n\n- New.\n", "seg-optim-v1.2.0", "has no section `## 1.2.0`"),
        ("1.2.0", "## 1.2.0 (2026-12-01)\n\n## 1.1.0\n\n- Old.\n", "seg-optim-v1.2.0", "has no section `## 1.2.0`"),
        ("1.2.0", "## 1.2.0 (not yet released)\n\n- New.\n", "seg-optim-v1.2.0", "date it, it is released now"),
    ],
)
def test_what_disagrees_is_refused(tmp_path: Path, version: str, changelog: str, tag: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        release.check_words(package(tmp_path, version, changelog), tag)


TAGS = [
    "seg-optim-1.2.0",
    "v1.2.0",
    "seg-opt-v1.2.0",
    "seg-optim-v1.2",
    "seg-optim-v1.2.0\nx",
    "seg-optim-v1.02.0",
    "seg-optim-v١.2.0",
]


@pytest.mark.parametrize("tag", TAGS)
def test_other_tags_start_no_release(tag: str) -> None:
    with pytest.raises(ProjectError):
        projects.of_tag(tag)


@pytest.mark.parametrize(
    ("version", "old", "above"),
    [
        ("0.2.0", "0.1.0", True),
        ("0.1.10", "0.1.9", True),
        ("0.1.0", "0.1.0", False),
        ("0.9.0", "1.0.0", False),
        ("0.2.0", "0.2.0rc1", True),
        ("0.2.0rc1", "0.1.0", True),
    ],
)
def test_which_version_is_above(version: str, old: str, above: bool) -> None:
    assert release.newer(version, old) is above


PLACES = ["file:///home/a/seg-hooks", "git+https://example.org/seg@1f2e#subdirectory=packages/seg-hooks"]


def wheel_with(folder: Path, requirement: str) -> Path:
    """A wheel of seg-optim as it should be, but for what it requires."""
    wheel = folder / "seg_optim-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("seg_optim/py.typed", "seg_optim-1.2.0.dist-info/licenses/LICENSE"):
            archive.writestr(name, "")
        metadata = (
            f"Name: seg-optim\nVersion: 1.2.0\nRequires-Dist: {requirement}\n\nA README with x @ git+https://y.\n"
        )
        archive.writestr("seg_optim-1.2.0.dist-info/METADATA", metadata)
    return wheel


@pytest.mark.parametrize("place", PLACES)
def test_a_wheel_that_requires_what_lies_in_one_place_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(release_files.ReleaseError, match="requires what lies in one place"):
        release_files.check_wheel(Project("seg-optim"), wheel_with(tmp_path, f"seg-hooks @ {place} ; extra == 'all'"))
    release_files.check_wheel(Project("seg-optim"), wheel_with(tmp_path, "seg-hooks<0.3,>=0.1; extra == 'all'"))


def test_a_dry_run_builds_twice_uses_the_wheel_and_lists_what_is_there() -> None:
    """The registry needs nothing but Python, so this needs no network."""
    command = [sys.executable, str(SCRIPTS / "release.py"), "seg-registry", "--dry-run", "--no-tests"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = release_files.DIST.glob("seg_registry-*.whl")
    version = wheel.name.split("-")[1]
    assert f"seg-registry {version}: built twice, equal byte by byte: {wheel.name}, seg_registry-" in done.stdout
    assert f"seg-registry {version}: runs the README's first example in an empty environment" in done.stdout
    listed = json.loads((release_files.DIST / f"seg_registry-{version}.cdx.json").read_text(encoding="utf-8"))
    about = listed["metadata"]["component"]
    assert about["purl"] == f"pkg:pypi/seg-registry@{version}"
    assert about["hashes"] == [{"alg": "SHA-256", "content": release_files.digest(wheel)}]
    assert listed.get("components", []) == []  # it needs nothing
    again = release_files.DIST / "again.json"
    python, time = sys.executable, {"SOURCE_DATE_EPOCH": "1800000000"}
    written = []
    for _ in range(2):
        release_files.run(sys.executable, CHECKOUT / "run", "lint:sbom", python, wheel, again, cwd=CHECKOUT, **time)
        written.append(again.read_bytes())
    assert written[0] == written[1]
    assert json.loads(written[0])["serialNumber"] == listed["serialNumber"]
    assert {"torch", "pytest"} <= {each["name"] for each in json.loads(written[0])["components"]}


def test_a_release_of_nothing_is_refused_in_words() -> None:
    command = [sys.executable, str(SCRIPTS / "release.py"), "seg-optm", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("release: there is no package 'seg-optm'; there are seg-registry,")


@pytest.mark.parametrize("words", [[], ["--all"], ["seg-optim"], ["seg-optim", "--all", "--dry-run"]])
def test_what_is_meant_must_be_said(words: list[str]) -> None:
    done = subprocess.run([sys.executable, str(SCRIPTS / "release.py"), *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "give a package and a version, a package and --dry-run, or --all and --dry-run" in done.stderr


def test_a_release_cannot_do_without_tests() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "release.py"), "seg-optim", "0.2.0", "--no-tests"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "release: a release is always tested; --no-tests goes with --dry-run only\n",
    )


def test_a_tag_beside_a_version_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "release.py"), "seg-optim-v0.3.0", "0.2.0"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("release: there is no package 'seg-optim-v0.3.0'; there are")
