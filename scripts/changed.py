"""Tell which jobs a change needs: `./run changed` against `main`, `./run changed HEAD~3` against another commit.

Prints JSON, each key of it the matrix or the condition of a job in `.github/workflows/ci.yml`; with `--github` the same
goes into the outputs of the workflow's step. Nothing is listed by hand: who depends on whom is read from the packages'
requirements, from what tests import and name, and from the environments of `hatch.toml`.

- A file of a package: that package alone, and each folder of tests that uses it, directly, through a package that
  requires it, through `tests/helpers`, or by the name of one of its entry points. The contracts are such a folder.
- A file of a folder of tests: that folder. A document: the site, and the tests that name it.
- Any other file (the environments, the scripts, the workflows): everything. So does a commit that git does not have.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from projects import ISLANDS, META, NAMES, ROOT, Project, environments

ALWAYS = "tests/architecture"  # reads all files, so every change can break it


def git(*words: str) -> str:
    """Return what a git command prints."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")  # a file's name may be any bytes


def changed_files(base: str) -> list[str] | None:
    """Return what differs from where this branch left `base`, new and deleted files too; None if git lacks `base`."""
    if not base or re.fullmatch("0+", base):  # what a workflow hands over for a new branch, or a start by hand
        return None
    try:
        start = git("merge-base", base, "HEAD").strip()
    except subprocess.CalledProcessError:
        if re.fullmatch("[0-9a-f]{40}", base):  # it was there before a forced push
            return None
        command = Path(sys.argv[0]).stem
        raise SystemExit(f"{command}: git knows no commit {base!r}; give one: `./run {command} HEAD~3`") from None
    known = git("diff", "--name-only", "--no-renames", "-z", start)  # else git quotes what is not ASCII
    new = git("ls-files", "--others", "--exclude-standard", "-z")
    return sorted({*f"{known}{new}".split("\0")} - {""})


@cache
def metadata(name: str) -> dict[str, Any]:
    """Return what a package says of itself, read once."""
    found: dict[str, Any] = Project(name).pyproject()["project"]
    return found


def requirements(name: str) -> set[str]:
    """Return the names of what a package requires, without extras and versions."""
    return {re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in metadata(name).get("dependencies", [])}


def dependents(name: str) -> set[str]:
    """Return a package and all that require it."""
    users = {other for other in NAMES if name in requirements(other)}
    return {name}.union(*map(dependents, users))


def tests_of(package: str) -> str:
    """Return the folder of a package's own tests."""
    return Project(package).tests.relative_to(ROOT).as_posix()


def is_pure(package: str) -> bool:
    """Tell whether a package does without torch, so that each system can test it in a minute."""
    return "torch" not in requirements(package)


@cache
def shared_folders() -> tuple[str, ...]:
    """Return the folders of tests that run where all packages are installed."""
    found = {"/".join(each.relative_to(ROOT).parts[:2]) for each in ROOT.glob("tests/*/**/test_*.py")}
    return tuple(sorted(found - {*map(tests_of, ISLANDS)} - {*own_environments().values()}))


def own_environments() -> dict[str, str]:
    """Return the environments that are there for one folder of tests, with that folder."""
    found = {}
    for name, environment in environments().items():
        script = " ".join(str(each) for each in environment.get("scripts", {}).values())
        if name != "default" and (folders := re.findall(r"pytest [^']*?(tests/\w+)(?= |'|$)", script)):
            found[name] = folders[0]
    return found


@cache
def read_by(folder: str) -> tuple[str, frozenset[str]]:
    """Return all that the tests of a folder say, with the helpers that they import; and every name that they import."""
    texts = [path.read_text("utf-8", "replace") for path in sorted((ROOT / folder).rglob("*.py"))]
    unread, names = list(texts), set[str]()
    while unread:
        for name in imported(unread.pop()) - names:
            names.add(name)
            if (path := ROOT / "tests" / f"{name.replace('.', '/')}.py").is_file():
                texts.append(path.read_text(encoding="utf-8"))
                unread.append(texts[-1])
    return "\n".join(texts), frozenset(names)


def imported(text: str) -> set[str]:
    """Return the dotted names that a file imports; of `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # hostile configs, which tests of the registry read
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return names


@cache
def used_by(folder: str) -> frozenset[str]:
    """Return the packages whose change can change what the tests of a folder say."""
    text, names = read_by(folder)
    if folder in {*map(tests_of, ISLANDS)}:  # where these run, nobody else is installed
        mentioned = {name.partition(".")[0].replace("_", "-") for name in names} & {*NAMES}
    else:
        words = set(re.findall(r"\w+", text))
        mentioned = {name for name in NAMES if name.replace("-", "_") in words or name in text}
        mentioned |= {name for name in NAMES if words & entry_points(name)}
    return frozenset(name for name in NAMES if dependents(name) & mentioned)


def entry_points(package: str) -> set[str]:
    """Return the names by which configs call what a package holds."""
    groups = metadata(package).get("entry-points", {})
    return {name for group in groups.values() for name in group}


def names_it(folder: str, file: str) -> bool:
    """Tell whether the tests of a folder speak of a file, by its path or as a module."""
    text, names = read_by(folder)
    parents = [each.as_posix() for each in Path(file).parents if len(each.parts) > 1 and each.parts[0] != "packages"]
    return as_module(file) in names or any(each in text for each in (file, *parents))


def as_module(file: str) -> str:
    """Return the name by which a file is imported from the project's root."""
    return file.removesuffix(".py").replace("/", ".")


def packages_of(file: str) -> set[str]:
    """Return the package whose file this is: of the sources, the metadata, or the README, which tests run.

    Of the root's files only the sources are the meta-package's alone, and what is made from them.
    """
    parts = file.split("/")
    if parts[0] == "packages" and parts[1] in NAMES and parts[-1] != "CHANGELOG.md":
        return {parts[1]}
    return {META} if parts[0] == "src" or file == "interface.json" else set()


def is_document(file: str) -> bool:
    """Tell whether a file is there to be read, or to be run as a document's example."""
    top = file.split("/")[0]
    return top in ("docs", "examples", "benchmarks") or file.endswith(".md")


def folders_of(file: str) -> set[str] | None:
    """Return the folders of tests that one changed file concerns; None for all of them."""
    parts, every = file.split("/"), [*map(tests_of, NAMES), *shared_folders(), *own_environments().values()]
    if packages := packages_of(file):
        return {tests_of(name) for name in packages} | {folder for folder in every if packages & used_by(folder)}
    if parts[0] == "tests" and len(parts) > 2:
        if parts[1] != "helpers":
            return {"/".join(parts[:2])}
        return {folder for folder in every if as_module(file.removeprefix("tests/")) in read_by(folder)[1]}
    if is_document(file):
        return {folder for folder in every if "/" in file and names_it(folder, file)}
    return None


def jobs(files: Iterable[str] | None) -> dict[str, Any]:
    """Return what must run for these files: names of packages, folders of tests, and conditions."""
    found: list[set[str] | None] = [None] if files is None else [folders_of(each) for each in files]
    everything = None in found
    shared = shared_folders()
    all_folders = {*map(tests_of, NAMES), *shared, *own_environments().values()}
    folders = all_folders if everything else set().union({ALWAYS} if found else set(), *(each or () for each in found))
    packages = [name for name in ISLANDS if tests_of(name) in folders]
    touched = {name for file in files or () for name in packages_of(file)}
    released = set(NAMES) if everything else set().union(*map(dependents, touched))
    return {
        "packages": packages,
        "pure": [name for name in packages if is_pure(name)],
        "tests": [folder for folder in shared if folder in folders],
        "environments": [name for name, folder in own_environments().items() if folder in folders],
        "releases": [name for name in NAMES if name in released],
        "site": everything or any(not file.startswith("tests/") for file in files or ()),
        "everything": everything,
    }


def main() -> int:
    """Print the jobs; with `--github` hand them to the jobs that follow."""
    parser = argparse.ArgumentParser(prog="./run changed", description=__doc__.splitlines()[0])
    parser.add_argument("base", nargs="?", default="main", help="a commit; main if none is given, everything if ''")
    parser.add_argument("--github", action="store_true", help="write the outputs of a workflow's step, too")
    options = parser.parse_args()
    found = jobs(changed_files(options.base))
    print(json.dumps(found, indent=2))
    if options.github:
        with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as outputs:
            outputs.writelines(f"{name}={json.dumps(value)}\n" for name, value in found.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
