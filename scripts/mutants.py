"""Mutants of a module: change one token, run the package's tests, and tell which changes nobody noticed.

`./run mutants seg_registry.overrides.apply seg_optim.groups.collect --count 10 --seed 7` draws ten changes a module by
seed. A change that cannot alter what the program does is listed, with the reason, in `tests/equivalent_mutants.toml`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.9  # of the mutants that are not equivalent, the share that must be noticed
SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is": "is not", "in": "not in", "not": "",
    "+": "-", "-": "+", "*": "//", "//": "*", "/": "*", "%": "*", "+=": "-=", "-=": "+=", "and": "or", "or": "and",
    "True": "False", "False": "True", "None": "0", "min": "max", "max": "min", "any": "all", "all": "any",
    "break": "continue", "continue": "break",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One module with one token changed."""

    module: str
    line: int
    source: str
    change: str
    text: str


def path_of(module: str) -> Path:
    """The file of a module, by its dotted name.

    Raises:
        SystemExit: there is no such module in this repository.
    """
    package = module.partition(".")[0]
    folder = ROOT / "src" if package == "seg_engine" else ROOT / "packages" / package.replace("_", "-") / "src"
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        example = "seg_optim.groups.collect"
        raise SystemExit(f"mutants: there is no {path.relative_to(ROOT)}; give a module such as {example}")
    return path


def mutants_of(module: str) -> list[Mutant]:
    """Every change of one token that still compiles to another program."""
    text = path_of(module).read_text(encoding="utf-8")
    lines, program, found = text.splitlines(keepends=True), program_of(text), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        other = changed(token)
        if other is None:
            continue
        row, start, end = token.start[0] - 1, token.start[1], token.end[1]
        line = lines[row][:start] + other + lines[row][end:]
        mutated = "".join([*lines[:row], line, *lines[row + 1 :]])
        try:
            if program_of(mutated) == program:
                continue
        except SyntaxError:
            continue
        change = f"{token.string} at column {start + 1} -> {other or 'nothing'}"
        found.append(Mutant(module, row + 1, lines[row].strip(), change, mutated))
    return found


def program_of(text: str) -> str:
    """What a module does: without its annotations, which nothing evaluates, and a dataclass's `frozen`.

    No test can notice a change in the first, and the second holds back programmers, not programs.
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.keyword) and node.arg == "frozen":
            node.value = ast.Constant(True)
    return ast.dump(tree)


def changed(token: tokenize.TokenInfo) -> str | None:
    """What stands in a token's place in the mutant, or None where it stays."""
    if token.type == tokenize.NUMBER and token.string.isdecimal():
        return str(int(token.string) + 1)
    return SWAPS.get(token.string) if token.type in (tokenize.OP, tokenize.NAME) else None


def equivalents() -> set[tuple[str, str, str]]:
    """What cannot be noticed: module, source line, change."""
    table = tomllib.loads((ROOT / "tests/equivalent_mutants.toml").read_text(encoding="utf-8"))
    return {(each["module"], each["source"], each["change"]) for each in table.get("mutant", [])}


class Tests:
    """A package's own tests, run on a copy of its sources."""

    def __init__(self, module: str) -> None:
        self.package, _, rest = module.partition(".")
        folder = ROOT / "tests" / self.package.removeprefix("seg_")
        own = sorted(folder.rglob(f"test_{rest.rpartition('.')[2]}*.py"))
        self.rounds = [[str(path) for path in own], [str(folder)]] if own else [[str(folder)]]
        self.limit = 0.0

    def notice(self, mutant: Mutant | None) -> bool:
        """Whether a test fails. One that runs ten times as long as without the change hangs: it was noticed, too."""
        module = mutant.module if mutant else f"{self.package}.__init__"
        original = path_of(module)
        sources = original.parents[len(module.split(".")) - 1]
        with tempfile.TemporaryDirectory() as copied:
            shutil.copytree(sources / self.package, Path(copied) / self.package)
            if mutant:
                (Path(copied) / original.relative_to(sources)).write_text(mutant.text, encoding="utf-8")
            return any(self._fails(names, copied) for names in self.rounds)

    def _fails(self, names: list[str], sources: str) -> bool:
        environment = {**os.environ, "PYTHONPATH": sources, "CI": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        quiet = subprocess.DEVNULL
        tests = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            return tests.wait(self.limit or None) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tests.pid, signal.SIGKILL)  # with the processes that the tests started
            tests.wait()

    def measure(self) -> None:
        """Run once without a change; sets the limit.

        Raises:
            SystemExit: the tests fail as they are.
        """
        began = time.monotonic()
        if self.notice(None):
            raise SystemExit(f"mutants: the tests of {self.package} fail without any change")
        self.limit = 60 + 10 * (time.monotonic() - began)


def examine(module: str, count: int, seed: int, jobs: int | None) -> tuple[int, list[Mutant]]:
    """How many mutants were judged, and which of them nobody noticed."""
    known = equivalents()
    all_of_them = [one for one in mutants_of(module) if (module, one.source, one.change) not in known]
    chosen = random.Random(f"{seed} {module}").sample(all_of_them, min(count, len(all_of_them)))
    tests, survivors = Tests(module), []
    tests.measure()
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        for mutant, noticed in zip(chosen, pool.map(tests.notice, chosen), strict=True):
            print(f"{'noticed ' if noticed else 'SURVIVED'} {module}:{mutant.line}: {mutant.change}", flush=True)
            survivors += [] if noticed else [mutant]
    return len(chosen), survivors


def main() -> int:
    """Exit code 1 where too many mutants survive."""
    parser = argparse.ArgumentParser(prog="./run mutants", description=__doc__)
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="such as seg_registry.overrides.apply")
    parser.add_argument("--count", type=int, default=10, help="changes a module (10)")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (0)")
    parser.add_argument("--jobs", type=int, help="how many are tried at the same time (as many as there are cores)")
    options = parser.parse_args()
    results = [examine(module, options.count, options.seed, options.jobs) for module in options.modules]
    judged, survivors = sum(number for number, _ in results), [one for _, found in results for one in found]
    for one in survivors:
        print(f'\n[[mutant]]\nmodule = "{one.module}"\nsource = {one.source!r}\nchange = "{one.change}"')
    share = 1 - len(survivors) / judged if judged else 1.0
    print(f"\n{judged - len(survivors)} of {judged} mutants noticed ({share:.0%}; seed {options.seed})")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
