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

ROOT = Path(__file__).resolve().parent.parent
SOURCE = re.compile(r"(?:packages/seg-(?P<island>\w+)/src|src)/seg_\w+/(?P<module>.+)\.py")


def changed(base: str) -> list[str]:
    """Return the files that differ from where this branch left `base`, new ones too."""
    try:
        start = _git("merge-base", base, "HEAD")[0]
    except subprocess.CalledProcessError:
        raise SystemExit(f"quick: git knows no commit {base!r}; give one: `./run quick HEAD~3`") from None
    known = _git("diff", "--name-only", "--diff-filter=d", start)
    return sorted({*known, *_git("ls-files", "--others", "--exclude-standard")})


def _git(*command: str) -> list[str]:
    listed = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return listed.splitlines()


def tests_of(name: str) -> set[Path]:
    """Return the test files that belong to a changed file; where there is none, those of the modules that import it."""
    path = ROOT / name
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
    files = changed(*sys.argv[1:2] or ["main"])
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
