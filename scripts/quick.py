"""Check what changed in under a minute, before a commit: `./run quick`.

The linter and the type checker look at everything; of the tests only those run that belong to a changed file: the test
file that lies as it lies, and the ones of its package that import it. "Changed" is what differs from `main`, or from
the commit that is given: `./run quick HEAD~3`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from changed import changed_files
from projects import ROOT

SOURCE = re.compile(r"(?:packages/seg-(?P<island>\w+)/src|src)/seg_\w+/(?P<module>.+)\.py")


def tests_of(name: str) -> set[Path]:
    """Return the test files that belong to a changed file; where there is none, those of the modules that import it."""
    path = ROOT / name
    if not path.is_file():  # deleted
        return set()
    if path.name.startswith("test_") and path.suffix == ".py":
        return {path}
    if (found := SOURCE.fullmatch(name)) is None:
        return set()
    module, folder = Path(found["module"]), ROOT / "tests" / (found["island"] or "engine")
    package = f"seg_{found['island'] or 'engine'}"
    beside = folder / module.with_name(f"test_{module.name}.py")
    dotted, every = ".".join([package, *module.parts]), set(folder.rglob("test_*.py"))
    if tests := importing(dotted, every) | ({beside} & every):
        return tests
    users = importing(dotted, path.parents[len(module.parts) - 1].rglob("*.py")) - {path}
    return set().union(*(tests_of(str(each.relative_to(ROOT))) for each in users if each.name != "__init__.py"))


def importing(module: str, files: Iterable[Path]) -> set[Path]:
    """Return the files that import a module by its dotted name."""
    parent, _, last = module.rpartition(".")
    line = re.compile(rf"^\s*(?:from {module} import|import {module}\b|from {parent} import .*\b{last}\b)", re.M)
    return {each for each in files if line.search(each.read_text(encoding="utf-8"))}


def main() -> int:
    """Run the three at once; return 1 if one of them fails."""
    began = time.monotonic()
    files = changed_files(*sys.argv[1:2] or ["main"])
    files = changed_files("HEAD~1") or [] if files is None else files  # a workflow does not always know where it began
    always = {ROOT / "tests/architecture/test_sizes.py"}
    if any(map(SOURCE.fullmatch, files)):
        always.add(ROOT / "tests/architecture/test_interface.py::test_the_file_is_what_the_code_has")
    tests = sorted(set().union(*map(tests_of, files), always))
    print(f"quick: {len(files)} changed files, {len(tests)} test files, the linter, the types", flush=True)
    commands = {
        "lint": [sys.executable, str(ROOT / "run"), "lint"],
        "types": [sys.executable, "scripts/check_types.py"],
        "tests": [sys.executable, "-m", "pytest", "-q", *map(str, tests)],
    }
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = {name: subprocess.Popen(command, cwd=ROOT, **pipe) for name, command in commands.items()}
    ends = {name: (process.communicate()[0], process.returncode) for name, process in started.items()}
    for name, (text, code) in ends.items():
        if code:
            print(f"\n=== {name} ===\n{text}")
    failed = [name for name, (_, code) in ends.items() if code]
    print(f"quick: {', '.join(failed) + ' failed' if failed else 'all passed'} in {time.monotonic() - began:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
