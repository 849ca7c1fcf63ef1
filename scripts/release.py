"""Release one package: `./run release seg-optim --dry-run` tries it, `./run release seg-optim 0.2.0` prepares it.

A dry run does what the release does but the upload: it compares the tag, `__about__.py` and the changelog, tests the
package alone with the locked versions and at both ends of what it declares, builds it twice from what is committed and
compares the files byte by byte, checks the files, installs the wheel into an empty environment, runs the README's first
example there, and lists what is installed there. It leaves in `dist/`: the wheel, the sdist, the list (an SBOM,
`*.cdx.json`), and `NAME-notes.md`, the changelog's section for the release page. `--all` does so with every package.

A version makes the release's commit and tag on this machine: it raises `__about__.py`, dates the changelog's section,
writes the table of supported versions, does the dry run, commits, tags, and opens the changelog's next section in a
commit of its own. It refuses what is not clean, fails a test, breaks the rule of compatibility, or would be left out by
the range of a package that requires it. Nothing is sent anywhere; `git push` with the tag starts `release.yml`.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import interface
import supported
from commands import run
from packaging.version import Version
from projects import META, NAMES, ROOT, UNRELEASED, VERSION, Project, ProjectError, of_tag, project, versions_of
from ranges import allowed
from release_files import DIST, ReleaseError, ask_tools, build_twice, check_wheel, try_wheel


def check_words(it: Project, tag: str | None) -> str:
    """Compare tag, source and changelog; return the release's notes."""
    version = it.version()
    if tag is None:
        return it.unreleased()[1] or it.section(version)[1]
    heading, notes = it.section(version)
    tagged = of_tag(tag)[1]
    if tagged != version:
        raise ReleaseError(f"the tag says {tagged}, {it.about.relative_to(ROOT)} says {version}")
    if UNRELEASED in heading:
        raise ReleaseError(f"{it.changelog.relative_to(ROOT)} says `## {heading}`: date it, it is released now")
    return notes


def tries(it: Project) -> list[list[str]]:
    """Return the commands that test a package: with the locked versions, and at both ends of what it declares."""
    locked = "test" if it.name == META else f"alone.{it.name}:test"
    return [[locked, "-q"], *(["bounds", it.name, end] for end in ("oldest", "newest"))]


def dry_run(it: Project, tag: str | None, tests: bool = True) -> None:
    """Do all of a release but the upload, and but what the tools say of `dist/`."""
    notes = check_words(it, tag)
    said = f"{it.name} {it.version()}:"
    print(said, "tag, version and changelog agree", flush=True)
    for command in tries(it) if tests else []:
        tail = run(sys.executable, ROOT / "run", *command).strip().splitlines()[-1]
        print(said, f"`./run {' '.join(command)}`: {tail}", flush=True)
    files = build_twice(it)
    (wheel,) = [path for path in files if path.suffix == ".whl"]
    check_wheel(it, wheel)
    print(said, f"built twice, equal byte by byte: {', '.join(path.name for path in files)}", flush=True)
    sbom = try_wheel(it, wheel)
    (DIST / f"{it.name}-notes.md").write_text(notes, encoding="utf-8")
    print(said, f"runs the README's first example in an empty environment, listed in {sbom.name}", flush=True)


def dry_runs(chosen: list[Project], tag: str | None, tests: bool) -> None:
    """Do the dry runs of several packages, two at a time; the meta-package's takes the others' wheels."""
    if changed := run("git", "status", "--porcelain").strip():
        print(f"not committed, so tested here and not in what is built:\n{changed}", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda it: dry_run(it, tag, tests), [it for it in chosen if it.name != META]))
    for it in chosen:
        if it.name == META:
            dry_run(it, tag, tests)
    ask_tools()


def newer(version: str, old: str) -> bool:
    """Tell whether a version is above another one."""
    return Version(version) > Version(old)


def released(it: Project) -> list[str]:
    """Return the versions of a package that have a tag."""
    return versions_of(run("git", "tag", "--list", f"{it.name}-v*").split())


def hindrances(it: Project, version: str) -> Iterator[str]:
    """Say what stands in the way of a release, and what to do."""
    where, old = it.changelog.relative_to(ROOT), it.version()
    if changed := run("git", "status", "--porcelain").strip():
        yield f"the working tree is not clean, so the release would not be what is tested:\n{changed}"
    if run("git", "rev-parse", "--is-shallow-repository").strip() == "true":
        yield "this clone is shallow, which hides earlier releases: git fetch --unshallow --tags"
    if run("git", "log", "-1", "--format=%s").strip() == f"{it.name}: {version}":
        yield "an earlier try was killed, and left the release's commit without a tag: git reset --keep HEAD~1"
    if version in released(it):
        yield f"the tag {it.name}-v{version} is there already"
    elif version != old and not newer(version, old):
        yield f"{version} is not above {old}"
    heading, notes = it.unreleased()
    if not heading:
        yield f"{where} has no section `## {UNRELEASED}`: write it above the others, with what users notice"
    elif not notes:
        yield f"{where} says nothing under `## {heading}`: write there what users notice"
    yield from not_released(it)
    yield from incompatible(it, version)


def not_released(it: Project) -> Iterator[str]:
    """Say which packages the meta-package requires that nobody could install."""
    for name, where in allowed().items() if it.name == META else []:
        if not list(where.filter(released(Project(name)))):
            yield f"{META} requires {name}{where}, and no such version has a tag: release {name} first"


def incompatible(it: Project, version: str) -> Iterator[str]:
    """Say where the step is too small for what changed in the public interface, and which range leaves it out."""
    if interface.text_of(interface.build(it)) != interface.file_of(it).read_text(encoding="utf-8"):
        yield f"{interface.file_of(it).relative_to(ROOT)} is not what the code has: `./run interface` writes it"
    yield from interface.judge(it, version)


def files_of(it: Project) -> list[Path]:
    """Return the files that a release changes."""
    return [it.about, it.changelog, supported.PAGE, *([ROOT / "CITATION.cff"] if it.name == META else [])]


def raise_version(it: Project, version: str) -> list[Path]:
    """Write the version where it stands; return the files that changed."""
    about = it.about.read_text(encoding="utf-8")
    it.about.write_text(VERSION.sub(f'__version__ = "{version}"', about), encoding="utf-8")
    text = it.changelog.read_text(encoding="utf-8")
    dated = f"## {version} ({datetime.datetime.now(datetime.UTC):%Y-%m-%d})"
    it.changelog.write_text(text.replace(f"## {it.unreleased()[0]}", dated, 1), encoding="utf-8")
    supported.write()
    for cited in files_of(it)[3:]:
        text = re.sub(r"(?<=\nversion: ).+", version, cited.read_text(encoding="utf-8"))
        cited.write_text(text, encoding="utf-8")
    return files_of(it)


def prepare(it: Project, version: str) -> None:
    """Raise the version, date the changelog, try everything, commit and tag; on a failure all is as it was."""
    tag = f"{it.name}-v{version}"
    of_tag(tag)
    if found := list(hindrances(it, version)):
        raise ReleaseError("\n".join([f"{it.name} {version} cannot be released:", *(f"- {each}" for each in found)]))
    start = run("git", "rev-parse", "HEAD").strip()
    try:
        run("git", "commit", "--quiet", "--message", f"{it.name}: {version}", *raise_version(it, version))
        made = run("git", "rev-parse", "HEAD").strip()
        dry_run(it, tag)
        ask_tools()
        text = it.changelog.read_text(encoding="utf-8")
        it.changelog.write_text(text.replace("\n## ", f"\n## {UNRELEASED}\n\n## ", 1), encoding="utf-8")
        opened = f"{it.name}: the changelog is open for what comes next"
        run("git", "commit", "--quiet", "--message", opened, it.changelog)
        run("git", "tag", "--annotate", tag, made, "--message", f"{it.name} {version}")
    except BaseException:
        take_back(start, files_of(it))
        raise
    print(f"\nCommitted and tagged. To release: git push origin HEAD {tag}")


def take_back(start: str, files: list[Path]) -> None:
    """Undo the commits and the files of a release; what was edited in the minutes of its tests stays."""
    run("git", "reset", "--quiet", "--soft", start)
    run("git", "checkout", "--quiet", start, "--", *files)


def ended(number: int, _frame: object) -> None:
    """Turn a signal that would end the process at once into an exception, so that all is put back first."""
    raise SystemExit(128 + number)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run release", description=__doc__, formatter_class=shown)
    known = f"one of {', '.join(NAMES)}, or in CI the tag, such as seg-optim-v1.2.0"
    parser.add_argument("package", nargs="?", help=known)
    parser.add_argument("version", nargs="?", help="the new version, such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="all but the upload; commits and tags nothing")
    parser.add_argument("--all", action="store_true", help="with --dry-run: every package, in the order of releases")
    parser.add_argument("--no-tests", action="store_true", help="with --dry-run: the tests ran in jobs of their own")
    return parser.parse_args()


def main() -> int:
    """Return 1 with words where something stands in the way."""
    options = arguments()
    for name in {"SIGTERM", "SIGHUP"} & {*dir(signal)}:  # Windows has no SIGHUP
        signal.signal(getattr(signal, name), ended)
    try:
        if options.all == bool(options.package) or options.dry_run == bool(options.version):
            raise ReleaseError("give a package and a version, a package and --dry-run, or --all and --dry-run")
        if options.no_tests and not options.dry_run:
            raise ReleaseError("a release is always tested; --no-tests goes with --dry-run only")
        tag = options.package if options.dry_run and re.search(r"-v\d", options.package or "") else None
        names = [options.package] if options.package else NAMES
        chosen = [of_tag(tag)[0]] if tag else [project(name) for name in names]
        shutil.rmtree(DIST, ignore_errors=True)
        if options.dry_run:
            dry_runs(chosen, tag, tests=not options.no_tests)
        else:
            prepare(chosen[0], options.version)
    except ProjectError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
