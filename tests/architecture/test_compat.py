"""`./run compat`: what does not go together is found, and the document says what the ranges are."""

from __future__ import annotations

import re

import compat
import compat_sets
import compat_tests
import pytest
from helpers.copies import Copy
from projects import ISLANDS, NAMES, Project
from ranges import allowed

CHECK = '''"""The pictures of a run."""

from pathlib import Path

from seg_runner import Runner
from seg_vis import SegLocalVisualizer


def test_the_runner_tells_the_visualizer(tmp_path: Path) -> None:
    assert Runner.tell(SegLocalVisualizer()) == "told"


def test_that_is_newer_than_the_release(tmp_path: Path) -> None:
    assert SegLocalVisualizer.newer
'''
RUNNER, VISUALIZER = "packages/seg-runner/src/seg_runner", "packages/seg-vis/src/seg_vis/visualizer.py"


def test_the_document_is_the_commands_own() -> None:
    text = compat.DOCUMENT.read_text(encoding="utf-8")
    head, _, last = text.partition(compat.LAST)
    assert head == compat.head(), "docs/compatibility.md: `./run compat --head` writes the head anew"
    rows = [line.strip("|").split("|") for line in last.splitlines() if line.startswith("|")][2:]
    works = {cells[0].strip(): cells[2].strip() for cells in rows}
    assert list(works) == ["newest", "oldest", *(f"previous {name}" for name in NAMES)]
    assert works["newest"] == "yes"
    assert "no" not in works.values()


def test_only_tags_of_releases_count(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = ["seg-vis-vnext", "seg-vis-v0.10.0", "seg-vis-v0.9.0", "seg-vis-v0.11.0rc1", "seg-vis-v1"]
    monkeypatch.setattr(compat_sets, "run", lambda *_: "\n".join(tags))
    assert compat_sets.releases("seg-vis") == ["0.9.0", "0.10.0"]


def test_the_ranges_hold_the_versions_of_this_checkout() -> None:
    assert set(allowed()) == set(ISLANDS)
    assert compat.left_out() == []


@pytest.mark.parametrize("package", ISLANDS)
def test_tests_concern_the_packages_that_they_use(package: str) -> None:
    files = {path.name for path in compat_tests.concerned(package)}
    module = Project(package).module
    importing = {path.name for path in compat_tests.CONTRACTS.glob("test_*.py") if f"from {module}" in path.read_text()}
    assert importing
    assert importing <= files
    assert "test_names.py" not in files or package in ("seg-runner", "seg-vis")  # it is of these two, and has no config


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository with one contract test and a release of each package behind it."""
    copy = Copy(tmp_path_factory.mktemp("copy"))
    for path in (copy.folder / "tests/contracts").glob("test_*.py"):
        path.unlink()
    text = CHECK.partition("\n\ndef test_that")[0] + "\n"
    (copy.folder / "tests/contracts/test_pictures.py").write_text(text, encoding="utf-8")
    copy.edit(
        f"{RUNNER}/runner.py",
        "    # -- running -",
        TELL.format(call="visualizer.close() or 'told'") + "    # -- running -",
    )
    copy.commit("releases")
    for name in NAMES:
        copy.git("tag", f"{name}-v{Project(name).version()}")
    (copy.folder / "tests/contracts/test_pictures.py").write_text(CHECK, encoding="utf-8")
    return copy


TELL = '''    @staticmethod
    def tell(visualizer: Any) -> str:
        """Tell a visualizer something."""
        return {call}

'''


def test_what_would_be_tried(copy: Copy) -> None:
    done = copy.run("compat.py", "--plan")
    assert done.returncode == 0
    assert "newest: now\noldest: seg-registry-v0.1.0, seg-optim-v0.1.0," in done.stdout
    assert "previous seg-vis: seg-vis-v0.1.0\n" in done.stdout
    copy.allow("seg-vis", ">=0.1.1,<0.2")
    done = copy.run("compat.py", "--plan")
    assert done.returncode == 1
    assert "previous seg-vis: 0.1.0 is outside of the range\n" in done.stdout
    assert done.stderr.startswith(
        "compat: pyproject.toml: seg-engine requires seg-vis<0.2,>=0.1.1, but here it is 0.1.0"
    )
    copy.allow("seg-vis", ">=0.1,<0.2")


def test_a_change_that_fits_passes_and_one_that_does_not_is_caught(copy: Copy) -> None:
    """The runner asks a visualizer for more; ours has it, the released one has not."""
    new = '\n    newer = True\n\n    def hear(self) -> str:\n        """Hear."""\n        return \'told\'\n'
    text = (copy.folder / VISUALIZER).read_text(encoding="utf-8")
    end = re.search(r"^def outline", text, re.MULTILINE)
    assert end
    (copy.folder / VISUALIZER).write_text(
        text[: end.start()].rstrip() + "\n" + new + "\n\n" + text[end.start() :], encoding="utf-8"
    )
    fits = copy.run("compat.py", "seg-vis", "--here")
    assert (fits.returncode, fits.stdout) == (0, "previous seg-vis: works  1 passed, 1 deselected\n"), fits.stderr

    copy.edit(
        f"{RUNNER}/runner.py",
        TELL.format(call="visualizer.close() or 'told'"),
        TELL.format(call="str(visualizer.hear())"),
    )
    copy.edit(
        f"{RUNNER}/protocols.py",
        "class Pictures(Protocol):\n",
        'class Pictures(Protocol):\n    def hear(self) -> str:\n        """Hear."""\n\n',
    )
    broken = copy.run("compat.py", "seg-vis", "--here")
    assert (broken.returncode, broken.stdout) == (1, "previous seg-vis: does not work  1 failed, 1 deselected\n"), (
        broken.stderr
    )
    assert "object has no attribute 'hear'" in broken.stderr  # the contract test
    assert re.search(r'fits_runner\.py:\d+: error: .*expected "tuple\[Pictures, Resumes\]"', broken.stderr)  # the types
    assert "compat: seg-vis-v0.1.0 does not go with the others: mend it, or begin the range of seg-vis" in broken.stderr

    copy.raise_version("seg-vis", "0.1.1", "- `hear`.")
    copy.allow("seg-vis", ">=0.1.1,<0.2")
    mended = copy.run("compat.py", "seg-vis", "--here")
    assert (mended.returncode, mended.stdout) == (0, "previous seg-vis: 0.1.0 is outside of the range  \n")
