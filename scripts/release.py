"""Release one package: `./run release seg-optim --dry-run` tries it, `./run release seg-optim 0.2.0` prepares it.

A dry run does what the release does but the upload: it compares the tag, `__about__.py` and the changelog, tests the
package alone, builds it twice from what is committed and compares the files byte by byte, checks the files, installs
the wheel into an empty environment, and runs the README's first example there. What it leaves in `dist/`: the wheel,
the sdist, and `NAME-notes.md`, the changelog's section for the release page.

A version makes the release's commit and tag on this machine: it raises `__about__.py`, dates the changelog's section,
does the dry run, commits, tags. Nothing is sent anywhere; `git push` with the tag starts `release.yml`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from projects import ISLANDS, META, NAMES, ROOT, VERSION, Project, ProjectError, of_tag, project

DIST = ROOT / "dist"
UNRELEASED = "not yet released"


class ReleaseError(ProjectError):
    """What stands in the way of a release, in words."""


def check_words(it: Project, tag: str | None) -> str:
    """Compare tag, source and changelog; return the release's notes."""
    version = it.version()
    heading, notes = it.section(version)
    if tag is not None:
        tagged = of_tag(tag)[1]
        if tagged != version:
            raise ReleaseError(f"the tag says {tagged}, {it.about.relative_to(ROOT)} says {version}")
        if UNRELEASED in heading:
            raise ReleaseError(f"{it.changelog.relative_to(ROOT)} says `## {heading}`: date it, it is released now")
    return notes


def run(*words: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command and return what it prints; what it printed is shown where it fails."""
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return done.stdout


def committed(it: Project, target: Path) -> Path:
    """Write what is committed of a package to a folder, so that no file of this machine gets into a release."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
    return target / it.folder.relative_to(ROOT)


def build(it: Project, out: Path) -> list[Path]:
    """Build wheel and sdist from the commit, with the commit's time in the files."""
    time = run("git", "log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as folder:
        source = committed(it, Path(folder))
        run(uv(), "build", "--quiet", "--out-dir", out, source, SOURCE_DATE_EPOCH=time)
    return sorted(path for path in out.iterdir() if path.suffix in (".whl", ".gz"))


def uv() -> str:
    """Return where uv is; the default environment has it."""
    found = shutil.which("uv")
    if found is None:
        raise ReleaseError("needs uv on the path; `./run release` has it")
    return found


def build_twice(it: Project) -> list[Path]:
    """Build in two folders at two times; return the first build's files in `dist/`."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    first = build(it, DIST)
    with tempfile.TemporaryDirectory() as folder:
        second = build(it, Path(folder))
        for one, two in zip(first, second, strict=True):
            if hashlib.sha256(one.read_bytes()).digest() != hashlib.sha256(two.read_bytes()).digest():
                raise ReleaseError(f"two builds of {one.name} differ; a stranger could not check it against the source")
    return first


def check_files(it: Project, files: list[Path]) -> None:
    """Look into the wheel, and ask the tools that look at both."""
    (wheel,) = [path for path in files if path.suffix == ".whl"]
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise ReleaseError(f"{wheel.name}: a package without compiled code is for every Python 3 and every machine")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (f"{it.module}/py.typed", "/licenses/LICENSE", ".dist-info/METADATA"):
        if not any(name.endswith(needed) for name in names):
            raise ReleaseError(f"{wheel.name} has no {needed}")
    (held,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    metadata = zipfile.ZipFile(wheel).read(held).decode()
    if " @ file:" in metadata:
        raise ReleaseError(f"{wheel.name} requires a folder of this machine; an index refuses that")
    if strangers := [name for name in names if not name.startswith((f"{it.module}/", f"{it.module}-"))]:
        raise ReleaseError(f"{wheel.name} holds what is not the package's: {strangers[:5]}")
    run(sys.executable, ROOT / "run", "lint:dist")


def quick_start(it: Project) -> str:
    """Return the first python block of the README, as a newcomer pastes it."""
    readme = (it.folder / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise ReleaseError(f"{it.name}: the README has no example")
    return found[1]


def try_wheel(it: Project, wheel: Path) -> None:
    """Install the wheel into an empty environment, without this folder, and run the quick start there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        python = place / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        links = ["--find-links", DIST]
        if it.name == META:  # its siblings as they stand here: they are released before it
            for name in ISLANDS:
                build(Project(name), place / "siblings")
            links += ["--find-links", place / "siblings"]
        for extra in filter(None, os.environ.get("UV_FIND_LINKS", "").split(",")):
            links += ["--find-links", extra]
        run(uv(), "venv", "--quiet", "--python", sys.executable, place / "env")
        run(uv(), "pip", "install", "--quiet", "--python", python, *links, wheel)
        run(python, "-I", "-W", "error::DeprecationWarning", "-c", quick_start(it), cwd=place)


def dry_run(it: Project, tag: str | None, tests: bool = True) -> None:
    """Do all of a release but the upload."""
    notes = check_words(it, tag)
    print(f"{it.name} {it.version()}: tag, version and changelog agree", flush=True)
    if tests:
        command = ["test", "-q"] if it.name == META else [f"alone.{it.name}:test", "-q"]
        tail = run(sys.executable, ROOT / "run", *command).strip().splitlines()[-1]
        print(f"tested alone: {tail}", flush=True)
    files = build_twice(it)
    check_files(it, files)
    print(f"built twice, equal byte by byte: {', '.join(path.name for path in files)}", flush=True)
    try_wheel(it, next(path for path in files if path.suffix == ".whl"))
    (DIST / f"{it.name}-notes.md").write_text(notes, encoding="utf-8")
    print("the wheel runs the README's first example in an empty environment")


def newer(version: str, old: str) -> bool:
    """Tell whether a version is above another one; only numbers count."""
    numbers = [tuple(map(int, re.findall(r"\d+", each)[:3])) for each in (version, old)]
    return numbers[0] > numbers[1]


def prepare(it: Project, version: str) -> None:
    """Raise the version, date the changelog, try everything, commit and tag."""
    old, tag = it.version(), f"{it.name}-v{version}"
    of_tag(tag)
    if changed := run("git", "status", "--porcelain").strip():
        raise ReleaseError(f"the working tree is not clean, so the release would not be what is tested:\n{changed}")
    if tag in run("git", "tag", "--list", tag).split():
        raise ReleaseError(f"the tag {tag} is there already")
    heading, _ = it.section(old)
    if UNRELEASED not in heading:
        raise ReleaseError(f"{it.changelog.relative_to(ROOT)} has no section that is {UNRELEASED!r}: what is new?")
    if version != old and not newer(version, old):
        raise ReleaseError(f"{version} is not above {old}")
    about = it.about.read_text(encoding="utf-8")
    it.about.write_text(VERSION.sub(f'__version__ = "{version}"', about), encoding="utf-8")
    text = it.changelog.read_text(encoding="utf-8")
    dated = f"## {version} ({datetime.datetime.now(datetime.UTC):%Y-%m-%d})"
    it.changelog.write_text(text.replace(f"## {heading}", dated, 1), encoding="utf-8")
    run("git", "commit", "--quiet", "--message", f"{it.name}: {version}", it.about, it.changelog)
    try:
        dry_run(it, tag)
    except ReleaseError:
        run("git", "reset", "--quiet", "--hard", "HEAD~1")
        raise
    run("git", "tag", "--annotate", tag, "--message", f"{it.name} {version}")
    print(f"\nCommitted and tagged. To release: git push origin HEAD {tag}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run release", description=__doc__, formatter_class=shown)
    parser.add_argument("package", help=f"one of {', '.join(NAMES)}, or in CI the tag, such as seg-optim-v1.2.0")
    parser.add_argument("version", nargs="?", help="the new version, such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="all but the upload; commits and tags nothing")
    parser.add_argument("--no-tests", action="store_true", help="with --dry-run: the tests ran in jobs of their own")
    return parser.parse_args()


def main() -> int:
    """Return 1 with words where something stands in the way."""
    options = arguments()
    try:
        tag = options.package if re.search(r"-v\d", options.package) else None
        it = of_tag(tag)[0] if tag else project(options.package)
        if options.dry_run == bool(options.version):
            raise ReleaseError("give either --dry-run or a version")
        if options.dry_run:
            dry_run(it, tag, tests=not options.no_tests)
        else:
            prepare(it, options.version)
    except ProjectError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
