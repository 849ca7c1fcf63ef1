"""`./run interface`: the files are what the code has, and a change asks for a version and a line in the changelog."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import interface
import pytest
from helpers.copies import Copy
from interface_changes import compare, least_version
from projects import NAMES, Project

ABOUT = "packages/seg-registry/src/seg_registry/__about__.py"
REGISTRY = "packages/seg-registry/src/seg_registry/registry/registry.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_the_code_has(name: str) -> None:
    it = Project(name)
    now = interface.text_of(interface.build(it))
    assert interface.file_of(it).read_text(encoding="utf-8") == now, f"run `./run interface {name}` and commit the file"


def lines_of(name: str) -> dict[str, str]:
    """All lines of a package's file, `section: name` first."""
    found = json.loads(interface.file_of(Project(name)).read_text(encoding="utf-8"))
    return {f"{section}: {key}": text for section, lines in found.items() for key, text in lines.items()}


@pytest.mark.parametrize(
    ("package", "line", "text"),
    [
        ("seg-optim", "names: seg_optim.OptimWrapper.step", "def ("),
        ("seg-optim", "names: seg_optim.explain", "def (model"),  # a module has this name, too
        ("seg-registry", "names: seg_registry.DictAction", "class ("),  # imported when it is asked for
        ("seg-runner", "names: seg_runner.Runner.rank", "property: int"),  # of a class above that is not public
        ("seg-hooks", "protocols: seg_hooks.protocols.Saves.save_checkpoint", "def (path"),
        ("seg-hooks", "protocols: seg_hooks.hooks.ema._Runner", "class (HasModel"),
        ("seg-vis", "entry points: seg_engine.hooks.SegVisualizationHook", "seg_vis:SegVisualizationHook"),
        ("seg-optim", "config: param_schedulers.PolyLR", "(optimizer: HasGroups, eta_min"),
        ("seg-engine", "config: datasets.CityscapesDataset", "(img_suffix"),
        ("seg-runner", "config: config.resume", "bool | str = False"),
        ("seg-runner", "config: config.default_hooks.checkpoint", "CheckpointHook"),
        ("seg-engine", "commands: seg train --amp", "storetrue"),
        ("seg-vis", "commands: python -m seg_vis overlay --alpha", "store"),
        ("seg-runner", "checkpoint: meta.iter", "int"),
        ("seg-runner", "checkpoint: grads", "dict"),  # only between two steps of a window
        ("seg-hooks", "checkpoint: ema_state_dict", "dict"),
        ("seg-hooks", "checkpoint: hooks.EarlyStoppingHook.wait_count", "int"),
        ("seg-optim", "checkpoint: param_schedulers.ReduceOnPlateauLR.min_values", "list"),
        ("seg-vis", "checkpoint: visualizer.WandbVisBackend.run_id", "str"),
    ],
)
def test_each_kind_of_promise_is_listed(package: str, line: str, text: str) -> None:
    assert lines_of(package)[line].startswith(text)


def test_no_line_has_an_address_in_memory() -> None:
    texts = [text for name in NAMES for text in lines_of(name).values()]
    assert len(texts) > 1000
    assert not [text for text in texts if re.search(r"0x[0-9a-f]{6}|<[\w. ]+ (at|object)", text)]


CALL = "seg_x.f"
CHANGES: list[tuple[str, dict[str, str], dict[str, str], str]] = [
    ("names", {CALL: "def (a: int)"}, {}, "what uses it"),
    ("names", {}, {CALL: "def (a: int)"}, ""),
    ("names", {CALL: "def (a: int, b: int = 0)"}, {CALL: "def (a: int)"}, "parameter was removed: b"),
    ("names", {CALL: "def (a: int)"}, {CALL: "def (a: int, b: int = 0)"}, ""),
    ("names", {CALL: "def (a: int)"}, {CALL: "def (a: int, b: int)"}, "parameter was added as required: b"),
    (
        "names",
        {CALL: "def (a, b)"},
        {CALL: "def (b, a)"},
        "positional parameter was moved: a; positional parameter was moved: b",
    ),
    ("names", {CALL: "def (a=1)"}, {CALL: "def (a=2)"}, "parameter default was changed: a"),
    ("names", {CALL: "def (a)"}, {CALL: "def (*, a)"}, "parameter kind was changed: a"),
    ("names", {CALL: "def (a: int)"}, {CALL: "def (a: float)"}, ""),
    ("names", {CALL: "def ()"}, {CALL: "property: int"}, "what counts on the old one"),
    ("names", {CALL: "writable property: int"}, {CALL: "property: int"}, "what sets it"),
    ("names", {CALL: "property: int"}, {CALL: "writable property: int"}, ""),
    ("names", {CALL: "classmethod (a)"}, {CALL: "def (a)"}, "calls on the class"),
    ("names", {CALL: "staticmethod (a)"}, {CALL: "def (a)"}, "calls on the class"),
    ("names", {CALL: "def (a)"}, {CALL: "classmethod (a)"}, ""),
    ("names", {CALL: "class (Base, Other)"}, {CALL: "class (Base)"}, "it is no Other any more"),
    ("names", {CALL: "class (Base)"}, {CALL: "class (Base, Other)"}, ""),
    ("config", {"hooks.X": "(a=1)"}, {"hooks.X": "(a=1, *, b=2)"}, ""),
    ("config", {"hooks.X": "(a=1, **rest)"}, {"hooks.X": "(**rest)"}, "parameter was removed: a"),
    ("config", {"config.amp": "bool = False"}, {"config.amp": "bool = True"}, "what counts on the old one"),
    ("protocols", {"p.A": "class", "p.A.f": "def ()"}, {"p.A": "class"}, ""),
    ("protocols", {"p.A": "class"}, {"p.A": "class", "p.A.f": "def ()"}, "what fits this Protocol lacks it"),
    ("protocols", {"p.A": "class", "p.A.f": "def ()"}, {"p.A": "class", "p.A.f": "def (b=1)"}, "what fits it"),
    ("protocols", {"p.A": "class"}, {}, "what imports it"),
    ("protocols", {}, {"p.A": "class", "p.A.f": "def ()"}, ""),
    ("entry points", {"seg_engine.hooks.X": "a:X"}, {"seg_engine.hooks.X": "b:X"}, ""),
    ("entry points", {"seg_engine.hooks.X": "a:X"}, {}, "what uses it"),
    ("commands", {"seg x --a": "store"}, {"seg x --a": "storetrue"}, "what counts on the old one"),
    ("commands", {}, {"seg x --a": "store"}, ""),
    ("commands", {}, {"seg x a": "store, required"}, "calls of the command"),
    ("checkpoint", {"meta.iter": "int"}, {}, "what uses it"),
    ("checkpoint", {}, {"meta.iter": "int"}, ""),
]


@pytest.mark.parametrize(("section", "old", "new", "broken"), CHANGES)
def test_what_breaks_and_what_does_not(section: str, old: Any, new: Any, broken: str) -> None:
    changes = compare({section: old}, {section: new})
    assert changes
    assert "; ".join(change.broken for change in changes if change.broken) == broken


@pytest.mark.parametrize(
    ("released", "broken", "added", "least"),
    [
        ("0.1.4", True, True, "0.2.0"),
        ("0.1.4", False, True, "0.1.5"),
        ("0.1.4", False, False, "0.1.4"),
        ("1.3.2", True, False, "2.0.0"),
        ("1.3.2", False, True, "1.4.0"),
    ],
)
def test_the_least_version(released: str, broken: bool, added: bool, least: str) -> None:
    old = {"names": {"seg_x.f": "def ()"}}
    new = {"names": {**({} if broken else old["names"]), **({"seg_x.g": "def ()"} if added else {})}}
    assert least_version(released, compare(old, new)) == least


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository with a release of each package behind it, and nothing new."""
    copy = Copy(tmp_path_factory.mktemp("copy"))
    for name in NAMES:
        copy.date_changelog(name)
    copy.commit("releases")
    for name in NAMES:
        copy.git("tag", f"{name}-v{Project(name).version()}")
    return copy


@pytest.fixture
def copy(tagged: Copy) -> Iterator[Copy]:
    yield tagged
    tagged.git("reset", "--quiet", "--hard", "main")


def check(copy: Copy, name: str, *more: str) -> tuple[int, str, list[str]]:
    """Write a package's interface and judge it: the exit code, what is printed, and what is to be done."""
    assert copy.run("interface.py", name).returncode == 0
    done = copy.run("interface.py", name, "--check", *more)
    return done.returncode, done.stdout, [line.removeprefix("interface: ") for line in done.stderr.splitlines()]


def test_without_a_release_nothing_is_asked_for(tmp_path: Path) -> None:
    done = Copy(tmp_path).run("interface.py", "seg-registry", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no release yet, nothing to compare with\n")


def test_a_shallow_clone_is_refused(tagged: Copy, tmp_path: Path) -> None:
    """It lacks the tags, and everything would pass as the first release."""
    (shallow := tmp_path / "shallow").mkdir()
    tagged.git("commit", "--quiet", "--allow-empty", "--message", "docs: one more")
    tagged.git("clone", "--quiet", "--depth", "1", tagged.folder.as_uri(), str(shallow))
    tagged.git("reset", "--quiet", "--hard", "HEAD~1")
    command = [sys.executable, "scripts/interface.py", "seg-registry", "--check"]
    done = subprocess.run(command, cwd=shallow, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "interface: this clone is shallow, which hides earlier releases: git fetch --unshallow --tags\n"
    )


def test_a_file_that_is_not_fresh_is_told(copy: Copy) -> None:
    copy.edit(REGISTRY, "def find(self, name: str)", "def find(self, key: str)")
    done = copy.run("interface.py", "seg-registry", "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "interface: packages/seg-registry/interface.json is not what the code has: `./run interface` writes it\n"
    )


def test_an_argument_that_is_renamed_asks_for_a_minor_version_and_its_name_in_the_changelog(copy: Copy) -> None:
    copy.edit(REGISTRY, "def find(self, name: str)", "def find(self, key: str)")
    code, printed, lines = check(copy, "seg-registry")
    assert code == 1
    assert "~ names: seg_registry.Registry.find: def (name: str) -> Location -> def (key: str)" in printed
    assert "[breaks: parameter was removed: name; parameter was added as required: key]" in printed
    assert "least version: 0.2.0" in printed
    assert lines == [
        "packages/seg-registry/CHANGELOG.md has no section `## not yet released` that says what changed",
        "pyproject.toml: seg-engine requires seg-registry<0.2,>=0.1, which leaves 0.2.0 out",
    ]
    copy.raise_version("seg-registry", "0.1.1", "- Look-ups are quicker.")
    assert check(copy, "seg-registry")[2] == [
        "seg-registry 0.1.1: since 0.1.0 1 changes break something, which asks for 0.2.0 at least",
        "packages/seg-registry/CHANGELOG.md: the section that is not yet released does not name "
        "seg_registry.Registry.find",
    ]
    copy.edit(ABOUT, "0.1.1", "0.2.0")
    copy.edit(
        "packages/seg-registry/CHANGELOG.md", "Look-ups are quicker.", "`Registry.find` calls its argument `key`."
    )
    assert check(copy, "seg-registry")[2] == [
        "pyproject.toml: seg-engine requires seg-registry<0.2,>=0.1, which leaves 0.2.0 out"
    ]
    copy.allow("seg-registry", ">=0.1,<0.3")
    assert check(copy, "seg-registry")[::2] == (0, [])


def test_a_new_name_asks_for_a_patch_and_a_line_in_the_changelog(copy: Copy) -> None:
    copy.edit(
        REGISTRY,
        "    def find(self, name: str)",
        "    def has(self) -> bool:\n        return True\n\n    def find(self, name: str)",
    )
    head = copy.git("rev-parse", "HEAD")[:9]
    code, printed, lines = check(copy, "seg-registry", "HEAD")
    assert code == 1
    assert printed.count("+ names: seg_registry.Registry.has: def () -> bool") == 2  # since the release, and since HEAD
    assert lines == [
        "packages/seg-registry/CHANGELOG.md has no section `## not yet released` that says what changed",
        f"packages/seg-registry/CHANGELOG.md has no line that {head} has not: say what changed",
    ]
    copy.raise_version("seg-registry", "0.1.1", "- `Registry.has` is new.")
    assert check(copy, "seg-registry", "HEAD")[::2] == (0, [])


def test_an_entry_point_that_is_gone_asks_for_a_minor_version(copy: Copy) -> None:
    copy.edit("packages/seg-vis/pyproject.toml", 'SegVisualizationHook = "seg_vis:SegVisualizationHook"\n', "")
    code, printed, lines = check(copy, "seg-vis")
    assert code == 1
    assert "- entry points: seg_engine.hooks.SegVisualizationHook" in printed
    assert "least version: 0.2.0" in printed
    assert lines[0] == "packages/seg-vis/CHANGELOG.md has no section `## not yet released` that says what changed"


def test_a_protocol_that_asks_for_more_and_a_checkpoint_key_that_is_gone(copy: Copy) -> None:
    """The version, the changelog, and the floor of the meta-package's requirement, each by its name."""
    copy.edit(
        "packages/seg-hooks/src/seg_hooks/protocols.py",
        "class Resumes(Protocol):\n",
        'class Resumes(Protocol):\n    @property\n    def resumed_from(self) -> str:\n        """New."""\n\n',
    )
    copy.edit("packages/seg-hooks/src/seg_hooks/own_loop/checkpoints.py", '"seg_hooks_version"', '"version"')
    copy.raise_version("seg-hooks", "0.2.0", "- `meta.version` was `seg_hooks_version`; `Resumes` asks for more.")
    copy.allow("seg-hooks", ">=0.1,<0.3")
    code, printed, lines = check(copy, "seg-hooks")
    assert code == 1
    assert "+ protocols: seg_hooks.protocols.Resumes.resumed_from: property: str  [breaks: what fits this" in printed
    assert "- checkpoint: meta.seg_hooks_version: str  [breaks: what uses it]" in printed
    assert lines == [
        "pyproject.toml: seg-engine requires seg-hooks<0.3,>=0.1, which allows 0.1.0; since then a Protocol asks for "
        "more (seg_hooks.protocols.Resumes.resumed_from): raise the version to 0.2.0, and begin at it, "
        "`seg-hooks>=0.2.0,<...`"
    ]
    copy.allow("seg-hooks", ">=0.2,<0.3")
    assert check(copy, "seg-hooks")[::2] == (0, [])
