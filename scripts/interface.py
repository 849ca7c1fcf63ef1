"""The public interface of each package in a file: `./run interface` writes them, `./run interface --check` judges.

`interface.json` beside each `pyproject.toml` lists public names with their signatures, Protocols at the seams, entry
points, config keys, options of the commands, and keys of checkpoints. A file is made from the code and never edited.

`--check` compares each with the package's last release (its newest tag in git), and says what was added, changed and
taken away, which version that asks for at least (`scripts/interface_changes.py` has the rule), and what the section of
the changelog that is not yet released does not name. With a commit, `--check origin/main`, it also shows what differs
from there, and asks for a line in the changelog that is not there yet. Where a Protocol asks for more, the requirement
of the meta-package must begin above the release that asked for less: `docs/compatibility.md` has the rule.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from interface_changes import SECTIONS, Change, Interface, compare, least_version
from packaging.version import Version
from projects import NAMES, ROOT, UNRELEASED, Project, ProjectError, project, versions_of
from ranges import allowed

SHOWN = 40
"""Lines of changes that are printed; the file has them all."""


def file_of(it: Project) -> Path:
    """Return where the interface of a package is written."""
    return Path(it.folder, "interface.json")


def build(it: Project) -> Interface:
    """Return the interface as the code has it now."""
    from interface_config import commands, config_keys, entry_points
    from interface_names import Source, imported_by, protocols, public_modules, public_names

    paths = [Project(name).source.parent for name in NAMES]
    sys.path[:0] = [str(path) for path in paths if str(path) not in sys.path]
    source = Source(it.module, paths)
    documents = [*sorted(ROOT.glob("docs/*.md")), *(Project(name).folder / "README.md" for name in NAMES)]
    points = it.pyproject()["project"].get("entry-points", {})
    found = [
        public_names(source, public_modules(source, documents)),
        protocols(source, imported_by(ROOT / "tests/typing")),
        entry_points(points),
        config_keys(it.module, points),
        commands(source),
        checkpoint_lines(it),
    ]
    return {section: dict(sorted(lines.items())) for section, lines in zip(SECTIONS, found, strict=True)}


def checkpoint_lines(it: Project) -> dict[str, str]:
    """Return the keys that a package writes into checkpoints; one without any state needs no torch for that."""
    if not any("def state_dict(" in path.read_text(encoding="utf-8") for path in it.source.rglob("*.py")):
        return {}
    from interface_state import checkpoint_keys

    return dict(checkpoint_keys(it.module, it.pyproject()["project"].get("entry-points", {})))


def text_of(interface: Interface) -> str:
    """Return an interface as its file has it."""
    return json.dumps(interface, indent=1, ensure_ascii=False) + "\n"


def git(*words: str) -> str:
    """Run git here and return what it prints.

    Raises:
        ProjectError: it knows no such commit, or there is no git.
    """
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def at(commit: str, it: Project) -> Interface:
    """Return the interface as a commit has it; empty where it had no such file."""
    name = file_of(it).relative_to(ROOT).as_posix()
    if not git("ls-tree", "--name-only", commit, name).strip():
        return {}
    found: Interface = json.loads(git("show", f"{commit}:{name}"))
    return found


def last_release(it: Project) -> str | None:
    """Return the version of the newest release that this commit goes back to; None where there is none yet."""
    tags = git("tag", "--list", f"{it.name}-v*", "--merged", "HEAD").split()
    final = [each for each in map(Version, versions_of(tags)) if not each.is_prerelease]
    return str(max(final)) if final else None


def judge(it: Project, version: str) -> list[str]:
    """Say what stands in the way of releasing a version of a package as its files are; empty where nothing does."""
    released = last_release(it)
    if released is None:
        return _left_out(it, version)
    changes = compare(at(f"{it.name}-v{released}", it), json.loads(file_of(it).read_text(encoding="utf-8")))
    least = least_version(released, changes)
    lines = []
    if Version(version).release < Version(least).release:
        broken = [change for change in changes if change.broken]
        why = f"{len(broken)} changes break something" if broken else f"{len(changes)} changes break nothing"
        lines.append(f"{it.name} {version}: since {released} {why}, which asks for {least} at least")
    notes = it.unreleased()[1] or ("" if version == released else _dated(it, version))
    return lines + _changelog(it, notes, least, changes) + _range(it, version, least, released, changes)


def _changelog(it: Project, notes: str, least: str, changes: list[Change]) -> list[str]:
    """Ask for a section that is not yet released, and in it for a word on each change that breaks something."""
    where = it.changelog.relative_to(ROOT)
    if changes and not notes:
        return [f"{where} has no section `## {UNRELEASED}` that says what changed"]
    words = set(re.findall(r"\w+|--[\w-]+", notes))
    silent = [change for change in changes if change.broken and not change.words & words]
    return [f"{where}: the section that is {UNRELEASED} does not name {change.name}" for change in silent]


def _dated(it: Project, version: str) -> str:
    """Return the section of a version whose release is under way; empty where there is none."""
    try:
        return str(it.section(version)[1])
    except ProjectError:
        return ""


def _range(it: Project, version: str, least: str, released: str, changes: list[Change]) -> list[str]:
    """Compare with the range that the meta-package has for a package."""
    where = allowed().get(it.name)
    if where is None:
        return []
    lines = _left_out(it, version)
    asks = [change.name for change in changes if change.section == "protocols" and change.broken]
    if asks and where.contains(released):
        lines.append(
            f"pyproject.toml: seg-engine requires {it.name}{where}, which allows {released}; since then a Protocol "
            f"asks for more ({asks[0]}): raise the version to {least}, and begin at it, `{it.name}>={least},<...`"
        )
    return lines


def _left_out(it: Project, version: str) -> list[str]:
    """Say that a version lies outside of the meta-package's range: who installs that one would not get it."""
    where = allowed().get(it.name)
    if where is None or where.contains(version, prereleases=True):
        return []
    return [f"pyproject.toml: seg-engine requires {it.name}{where}, which leaves {version} out"]


def check(it: Project, base: str | None) -> list[str]:
    """Print what changed in one package; return what is to be done."""
    file, now = file_of(it), build(it)
    if not file.exists() or file.read_text(encoding="utf-8") != text_of(now):
        return [f"{file.relative_to(ROOT)} is not what the code has: `./run interface` writes it"]
    released, version = last_release(it), it.version()
    if released is None:
        print(f"{it.name} {version}: no release yet, nothing to compare with")
    else:
        changes = compare(at(f"{it.name}-v{released}", it), now)
        show(f"{it.name} {version}: since release {released}", changes)
        least = least_version(released, changes)
        print(f"  least version: {least}")
        version = least if version == released else version  # raised by `./run release`
    lines = judge(it, version)
    if base is not None:
        changes = compare(at(base, it), now)
        show(f"{it.name}: since {base[:9]}", changes)
        if released is not None and changes and not new_lines(it, base):
            lines.append(f"{it.changelog.relative_to(ROOT)} has no line that {base[:9]} has not: say what changed")
    return lines


def new_lines(it: Project, base: str) -> set[str]:
    """Return lines of the changelog's section that is not yet released which a commit had not."""
    before = git("show", f"{base}:{it.changelog.relative_to(ROOT).as_posix()}")
    return set(it.unreleased()[1].splitlines()) - set(before.splitlines())


def show(title: str, changes: list[Change]) -> None:
    """Print changes, a class with its members as one."""
    whole = {change.name for change in changes if None in (change.old, change.new)}
    short = [change for change in changes if change.name.rpartition(".")[0] not in whole or change.section == "config"]
    print(f"{title}: {len(changes)} lines differ" if changes else f"{title}: the same")
    for change in short[:SHOWN]:
        print(f"  {change}")
    if len(short) > SHOWN:
        print(f"  ... and {len(short) - SHOWN} more")


def main() -> int:
    """Write the files, or judge what changed; 1 where something is to be done."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run interface", description=__doc__, formatter_class=shown)
    parser.add_argument("packages", nargs="*", help=f"some of {', '.join(NAMES)}; without any, all")
    parser.add_argument("--check", nargs="?", const="", metavar="BASE", help="compare with the last release, and BASE")
    options = parser.parse_args()
    try:
        chosen = [project(name) for name in options.packages or NAMES]
        if options.check is None:
            for it in chosen:
                file_of(it).write_text(text_of(build(it)), encoding="utf-8")
            return 0
        if git("rev-parse", "--is-shallow-repository").strip() == "true":
            raise ProjectError("this clone is shallow, which hides earlier releases: git fetch --unshallow --tags")
        base = git("merge-base", options.check, "HEAD").strip() if options.check else None
        lines = [line for it in chosen for line in check(it, base)]
    except ProjectError as error:
        lines = [str(error)]
    for line in lines:
        print(f"interface: {line}", file=sys.stderr)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
