"""`./run release seg-optim 0.2.0`: what it commits and tags, what it refuses, and that a failure leaves no trace."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import interface
import projects
import pytest
import release
import release_files
import supported
from projects import NAMES, ROOT, Project, ProjectError

OPTIM = Project("seg-optim")
META = Project("seg-engine")
REAL_DRY_RUN = release.dry_run


def git(*words: str) -> str:
    return release.run("git", *words).strip()


def commit(message: str = "docs: more") -> None:
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the packages of this one, where no release was yet and every try succeeds."""
    parts = [path.relative_to(ROOT) for name in NAMES for path in (Project(name).about, Project(name).changelog)]
    for name in [Path("SECURITY.md"), Path("CITATION.cff"), *parts]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    ranges = ", ".join(f'"{name}>=0.1,<0.3"' for name in NAMES if name != META.name)
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = [{ranges}]\n", encoding="utf-8")
    for module in (projects, release, release_files, interface):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(supported, "PAGE", tmp_path / "SECURITY.md")
    for name in ("ask_tools", "dry_run"):
        monkeypatch.setattr(release, name, lambda *_: None)
    monkeypatch.setattr(interface, "build", lambda _: {})
    git("init", "--quiet", "--initial-branch", "main")
    git("config", "user.name", "A tester")
    git("config", "user.email", "tester@example.org")
    for name in NAMES:
        opened(Project(name), "- News.\n")
    commit("all: the beginning")
    return tmp_path


def opened(it: Project, news: str) -> None:
    interface.file_of(it).write_text(interface.text_of({}), encoding="utf-8")
    it.about.write_text('__version__ = "0.1.0"\n', encoding="utf-8")
    it.changelog.write_text(f"# Changes of {it.name}\n\n## not yet released\n\n{news}", encoding="utf-8")


def refused(it: Project, version: str) -> str:
    """Return why a release is refused; nothing may have changed."""
    before = git("rev-parse", "HEAD"), git("status", "--porcelain"), git("tag")
    with pytest.raises(ProjectError) as caught:
        release.prepare(it, version)
    assert (git("rev-parse", "HEAD"), git("status", "--porcelain"), git("tag")) == before
    return str(caught.value)


def test_a_release_is_a_commit_and_a_tag() -> None:
    release.prepare(OPTIM, "0.2.0")
    assert git("log", "-1", "--format=%s", "seg-optim-v0.2.0") == "seg-optim: 0.2.0"
    assert '__version__ = "0.2.0"' in git("show", "seg-optim-v0.2.0:packages/seg-optim/src/seg_optim/__about__.py")
    changelog = git("show", "seg-optim-v0.2.0:packages/seg-optim/CHANGELOG.md")
    assert changelog.startswith("# Changes of seg-optim\n\n## 0.2.0 (20")
    assert "not yet released" not in changelog
    assert "| seg-optim | 0.2.0 | 0.2.0 and newer |" in git("show", "seg-optim-v0.2.0:SECURITY.md")
    assert git("status", "--porcelain") == ""


def test_the_first_release_may_keep_its_version() -> None:
    opened(OPTIM, "- News.\n")
    text = OPTIM.changelog.read_text(encoding="utf-8").replace("not yet released", "0.1.0 (not yet released)")
    OPTIM.changelog.write_text(text, encoding="utf-8")
    commit()
    release.prepare(OPTIM, "0.1.0")
    assert git("tag") == "seg-optim-v0.1.0"


def test_after_a_release_the_changelog_is_open_and_says_nothing_yet() -> None:
    release.prepare(OPTIM, "0.2.0")
    text = OPTIM.changelog.read_text(encoding="utf-8")
    assert text.startswith("# Changes of seg-optim\n\n## not yet released\n\n## 0.2.0")
    assert "says nothing under `## not yet released`: write there what users notice" in refused(OPTIM, "0.2.1")
    assert release.check_words(OPTIM, None) == "- News.\n"
    assert release.check_words(OPTIM, "seg-optim-v0.2.0") == "- News.\n"


def test_a_release_of_the_meta_package_follows_the_others() -> None:
    assert "and no such version has a tag: release seg-registry first" in refused(META, "0.2.0")
    for name in NAMES[:-1]:
        release.prepare(Project(name), "0.1.0")
    release.prepare(META, "0.2.0")
    assert "\nversion: 0.2.0\n" in git("show", "seg-engine-v0.2.0:CITATION.cff")


def test_tags_that_only_look_like_a_release_stop_none() -> None:
    for tag in ("seg-optim-vnext", "seg-optim-v1", "seg-optim-v0.3.0.post1"):
        git("tag", tag)
    release.prepare(OPTIM, "0.1.0")
    assert interface.last_release(OPTIM) == "0.1.0"


def dirty() -> None:
    (projects.ROOT / "left.txt").write_text("left", encoding="utf-8")


def closed() -> None:
    OPTIM.changelog.write_text("# Changes of seg-optim\n\n## 0.1.0 (2026-12-01)\n\n- Old.\n", encoding="utf-8")
    commit()


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (dirty, "0.2.0", "the working tree is not clean"),
    (closed, "0.2.0", "CHANGELOG.md has no section `## not yet released`: write it above the others"),
    (lambda: git("tag", "seg-optim-v0.2.0"), "0.2.0", "the tag seg-optim-v0.2.0 is there already"),
    (lambda: None, "0.0.9", "0.0.9 is not above 0.1.0"),
    (lambda: None, "0.3.0", "pyproject.toml: seg-engine requires seg-optim<0.3,>=0.1, which leaves 0.3.0 out"),
    (lambda: None, "0.2", "'seg-optim-v0.2' is no tag of a release"),
]


@pytest.mark.parametrize(("change", "version", "words"), REFUSED)
def test_what_must_not_be_released_is_refused(change: Callable[[], object], version: str, words: str) -> None:
    change()
    assert words in refused(OPTIM, version)


def test_all_that_stands_in_the_way_is_told_at_once() -> None:
    closed()
    dirty()
    told = refused(OPTIM, "0.0.9")
    assert told.startswith("seg-optim 0.0.9 cannot be released:\n- the working tree")
    assert "\n- 0.0.9 is not above 0.1.0\n- packages/seg-optim/CHANGELOG.md has no section" in told


def test_what_breaks_the_rule_of_compatibility_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"names": {"seg_optim.freeze": "function(model)"}}
    interface.file_of(OPTIM).write_text(interface.text_of(held), encoding="utf-8")
    monkeypatch.setattr(interface, "build", lambda _: held)
    commit()
    release.prepare(OPTIM, "0.1.0")
    opened(OPTIM, "- `freeze` is gone.\n")
    assert "interface.json is not what the code has: `./run interface` writes it" in refused(OPTIM, "0.1.1")
    monkeypatch.setattr(interface, "build", lambda _: {})
    commit()
    assert "- seg-optim 0.1.1: since 0.1.0 1 changes break something, which asks for 0.2.0 at least" in refused(
        OPTIM, "0.1.1"
    )
    release.prepare(OPTIM, "0.2.0")


@pytest.mark.parametrize("error", [release_files.ReleaseError("a test failed"), KeyboardInterrupt()])
def test_what_fails_its_try_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        assert git("log", "-1", "--format=%s") == "seg-optim: 0.2.0"
        raise error

    monkeypatch.setattr(release, "dry_run", fail)
    before = git("rev-parse", "HEAD")
    with pytest.raises(type(error)):
        release.prepare(OPTIM, "0.2.0")
    assert (git("rev-parse", "HEAD"), git("status", "--porcelain"), git("tag")) == (before, "", "")


def test_a_package_is_tested_as_it_is_locked_and_at_both_ends() -> None:
    ends = [["bounds", "seg-optim", "oldest"], ["bounds", "seg-optim", "newest"]]
    assert release.tries(OPTIM) == [["alone.seg-optim:test", "-q"], *ends]
    assert release.tries(META)[0] == ["test", "-q"]


def test_a_failing_test_ends_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: object, **_: object) -> str:
        assert words[-1] == "-q"
        raise release_files.ReleaseError("1 failed")

    monkeypatch.setattr(release, "run", fail)
    with pytest.raises(ProjectError, match="1 failed"):
        REAL_DRY_RUN(OPTIM, None)


def test_what_is_edited_while_a_release_is_tried_stays(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """The tests take minutes."""

    def fail(*_: object) -> None:
        (repository / "CITATION.cff").write_text("my words\n", encoding="utf-8")
        raise release_files.ReleaseError("a test failed")

    monkeypatch.setattr(release, "dry_run", fail)
    with pytest.raises(ProjectError, match="a test failed"):
        release.prepare(OPTIM, "0.2.0")
    assert (repository / "CITATION.cff").read_text(encoding="utf-8") == "my words\n"
    assert git("status", "--porcelain") == "M CITATION.cff"


def test_a_tag_that_cannot_be_made_leaves_no_trace(repository: Path) -> None:
    (repository / ".git/refs/tags/seg-optim-v0.2.0").mkdir(parents=True)
    (repository / ".git/refs/tags/seg-optim-v0.2.0/x.lock").touch()
    assert "git tag --annotate seg-optim-v0.2.0" in refused(OPTIM, "0.2.0")


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP"])
def test_a_release_that_is_ended_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    number = getattr(signal, sent)
    kept = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    before = git("rev-parse", "HEAD")
    monkeypatch.setattr(sys, "argv", ["release.py", "seg-optim", "0.2.0"])
    monkeypatch.setattr(release, "DIST", projects.ROOT / "dist")
    monkeypatch.setattr(release, "dry_run", lambda *_: signal.raise_signal(number))
    try:
        with pytest.raises(SystemExit):
            release.main()
    finally:
        for name, handler in kept.items():
            signal.signal(name, handler)
    assert (git("rev-parse", "HEAD"), git("status", "--porcelain"), git("tag")) == (before, "", "")


def test_the_commit_of_a_try_that_was_killed_is_told() -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "seg-optim: 0.2.0")
    assert "left the release's commit without a tag: git reset --keep HEAD~1" in refused(OPTIM, "0.2.0")


def test_a_shallow_clone_is_refused(monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path) -> None:
    """It has neither the tags nor the commits by which earlier releases are known."""
    commit_empty = ("commit", "--quiet", "--allow-empty", "--message", "docs: one more")
    git(*commit_empty)
    shallow = tmp_path / "shallow"
    git("clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow))
    for module in (projects, release, release_files, interface):
        monkeypatch.setattr(module, "ROOT", shallow)
    monkeypatch.setattr(supported, "PAGE", shallow / "SECURITY.md")
    assert "this clone is shallow, which hides earlier releases: git fetch --unshallow --tags" in refused(
        OPTIM, "0.2.0"
    )


def test_all_packages_are_tried_and_the_one_that_requires_the_others_last(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(release, "dry_run", lambda it, *_: tried.append(it.name))
    monkeypatch.setattr(release, "ask_tools", lambda: tried.append("tools"))
    release.dry_runs([Project(name) for name in reversed(NAMES)], None, tests=False)
    assert sorted(tried[:5]) == sorted(NAMES[:-1])
    assert tried[5:] == ["seg-engine", "tools"]


def test_what_fails_in_one_package_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(it: Project, *_: object) -> None:
        if it.name == "seg-optim":
            raise release_files.ReleaseError("two builds differ")

    monkeypatch.setattr(release, "dry_run", fail)
    with pytest.raises(ProjectError, match="two builds differ"):
        release.dry_runs([Project(name) for name in NAMES], None, tests=False)


def test_the_table_of_supported_versions_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the checkout, not of the copy."""
    monkeypatch.setattr(projects, "ROOT", ROOT)
    assert supported.table() in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
