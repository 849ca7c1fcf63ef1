"""Test one package with the oldest or the newest of what it declares: `./run bounds seg-vis oldest`.

Makes a fresh environment with that package, its extras, pytest and hypothesis, and runs the package's own tests there;
nothing of its siblings can be imported. For seg-engine: all six packages, and the tests of `tests/engine` and
`tests/contracts`. Prints the versions that it took.

`oldest` takes the lowest version of each requirement, `newest` the highest, `pre` the highest with pre-releases; what
those require is the newest in each case. `--python 3.13` takes another Python, `--record` writes the versions of
`oldest` to `constraints/oldest.txt`, and other options are pytest's. Needs only Python and uv, so that a pure package
is tested where torch is not: `python scripts/bounds.py seg-registry newest`.

torch comes from the CPU index of PyTorch, or from where UV_TORCH_BACKEND says; SEG_TORCH=index takes it from the
package index, which on Linux is a CUDA build of gigabytes. With SEG_CONSTRAINTS=cpu it is held at the version
in `constraints/cpu.txt`, which says nothing about the bound of torch.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from commands import python_in
from projects import META, NAMES, ROOT, Project, ProjectError, project

ENDS = {"oldest": ["--resolution", "lowest-direct"], "newest": [], "pre": ["--prerelease", "allow"]}
TOOLS = ["pytest>=9", "hypothesis>=6.100"]
RECORD = ROOT / "constraints/oldest.txt"
HEAD = "# The oldest versions that the packages were tested with: `./run bounds PACKAGE oldest --record` writes them.\n"
IMPORTABLE = """
import importlib, importlib.metadata, re, sys
for module, names in importlib.metadata.packages_distributions().items():
    public = module.isidentifier() and not module.startswith("_")
    if public and {re.sub("[-_.]+", "-", name).lower() for name in names} & {*sys.argv[1:]}:
        importlib.import_module(module)
"""


def name_of(requirement: str) -> str:
    """Return the distribution's name in a requirement, as indexes write it."""
    found = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0] if found else requirement).lower()


def requirements(it: Project) -> list[str]:
    """Return what a package and its extras require, without our own packages; seg-engine: what all six require."""
    wanted: set[str] = set()
    for each in map(project, NAMES) if it.name == META else [it]:
        table = each.pyproject()["project"]
        extras = table.get("optional-dependencies", {}).values()
        wanted |= {*table.get("dependencies", []), *(one for extra in extras for one in extra)}
    return sorted(one for one in wanted if name_of(one) not in NAMES)


def tests(it: Project) -> list[str]:
    """Return the folders of the tests that judge a package."""
    return ["tests/engine", "tests/contracts"] if it.name == META else [it.tests.relative_to(ROOT).as_posix()]


def environment() -> dict[str, str]:
    """Return the variables for uv: no constraints of ours, and no CUDA build unless somebody asks for it."""
    kept = {key: value for key, value in os.environ.items() if key not in ("UV_CONSTRAINT", "PIP_CONSTRAINT")}
    if os.environ.get("SEG_CONSTRAINTS") == "cpu":
        kept.pop("UV_TORCH_BACKEND", None)
        return kept | {"UV_CONSTRAINT": (ROOT / "constraints/cpu.txt").as_uri()}
    return kept if os.environ.get("SEG_TORCH") == "index" else {"UV_TORCH_BACKEND": "cpu"} | kept


def uv(*words: object) -> str:
    """Run uv and return what it prints.

    Raises:
        ProjectError: uv is not there, or fails; the error has its words.
    """
    found = shutil.which("uv")
    command = [*([found] if found else [sys.executable, "-m", "uv"]), *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        held = os.environ.get("SEG_CONSTRAINTS") == "cpu" and "torch" in done.stderr
        told = "\nSEG_CONSTRAINTS=cpu holds torch at the build in constraints/cpu.txt: leave it out" if held else ""
        raise ProjectError(f"uv {' '.join(map(str, words))}\n{done.stderr.strip()}{told}")
    return done.stdout


def make(it: Project, end: str, python: str, folder: Path) -> Path:
    """Make the environment in a folder; return its Python.

    Raises:
        ProjectError: there are no such versions, they do not fit together, or one of them cannot be imported.
    """
    uv("venv", "--quiet", "--clear", "--python", python, folder)
    inside = python_in(folder)
    install = ["pip", "install", "--quiet", "--python", inside]
    wanted = requirements(it)
    if wanted:
        uv(*install, "--only-binary", ":all:", *ENDS[end], *wanted)
    uv(*install, *TOOLS)
    uv(*install, "--no-deps", *(project(name).folder for name in (NAMES if it.name == META else [it.name])))
    uv("pip", "check", "--quiet", "--python", inside)
    names = [name_of(one) for one in wanted]
    done = subprocess.run([inside, "-c", IMPORTABLE, *names], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(f"what {it.name} requires cannot be imported:\n{done.stderr.strip()}")
    return inside


def versions(python: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the distributions of these names."""
    wanted, listed = set(names), json.loads(uv("pip", "list", "--format", "json", "--python", python))
    return {each["name"]: each["version"] for each in listed if each["name"] in wanted}


def record(package: str, used: dict[str, str], text: str) -> str:
    """Return the record with what a package was tested with; what another package had at another version goes out."""
    lines = dict(re.findall(r"^(\S+==\S+)  # (.+)$", text, flags=re.MULTILINE))
    users = {pin: set(names.split(", ")) - {package} for pin, names in lines.items()}
    users = {pin: names for pin, names in users.items() if pin.partition("==")[0] not in used}
    for name, version in used.items():
        pin = f"{name}=={version}"
        before = set(lines[pin].split(", ")) if pin in lines else set()
        users[pin] = before | {package}
    return HEAD + "".join(f"{pin}  # {', '.join(sorted(names))}\n" for pin, names in sorted(users.items()) if names)


def run(it: Project, options: argparse.Namespace, more: list[str], folder: Path) -> int:
    """Make the environment, tell the versions, and return the exit code of the tests."""
    python = make(it, options.end, options.python, folder)
    used = versions(python, map(name_of, requirements(it)))
    of_python = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    told = ", ".join(f"{name} {version}" for name, version in used.items()) or "nothing else"
    print(f"{it.name}, {options.end}: {of_python}, {told}", flush=True)
    held = "torch" in used and os.environ.get("SEG_CONSTRAINTS") == "cpu"
    if held:
        print(f"torch is held at {used['torch']} by SEG_CONSTRAINTS=cpu, this says nothing about its bound", flush=True)
    paths = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables |= {"PATH": paths, "VIRTUAL_ENV": str(folder), "PYTHONUTF8": "1"}  # tests write files without naming it
    code = subprocess.call([python, "-m", "pytest", "-q", *more, *tests(it)], cwd=ROOT, env=variables)
    if options.record and not code and not held:
        RECORD.write_text(record(it.name, used, RECORD.read_text("utf-8") if RECORD.exists() else ""), "utf-8")
    return code


def main() -> int:
    """Return pytest's exit code, or 1 with words where the environment cannot be made."""
    parser = argparse.ArgumentParser(prog="bounds", description="Test a package at the ends of what it declares.")
    parser.add_argument("package", help=", ".join(NAMES))
    parser.add_argument("end", help=", ".join(ENDS))
    parser.add_argument("--python", default=sys.executable, metavar="X", help="version or path (default: this one)")
    parser.add_argument("--record", action="store_true", help="write the oldest versions to constraints/oldest.txt")
    parser.add_argument("--folder", type=Path, help="make the environment there and leave it")
    options, more = parser.parse_known_args()
    try:
        it = project(options.package)
        if options.end not in ENDS:
            near = difflib.get_close_matches(options.end, ENDS, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ProjectError(f"there is no end {options.end!r}; there are {', '.join(ENDS)}{meant}")
        if options.record and options.end != "oldest":
            raise ProjectError("--record is for `oldest`: the newest versions are others tomorrow")
        if options.folder:
            return run(it, options, more, options.folder.resolve())
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return run(it, options, more, Path(folder) / "env")
    except ProjectError as error:
        print(f"bounds: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
