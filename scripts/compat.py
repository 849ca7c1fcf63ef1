"""Which versions of our packages go together: `./run compat` tries them and writes `docs/compatibility.md`.

No package requires another one; only the meta-package has ranges. So "the range of the consumer", the package whose
Protocol asks something of others, is the meta-package's requirement on it. The rule, which the document has too:

- A range ends at the next version that may break: `<0.3` while the newest is 0.2.x, `<2` while it is 1.x.
- It begins at the oldest release that works with all others as they are now.
- Where a Protocol asks for more than in the last release, the package that owns it takes the step of its version, and
  its range begins there: `./run interface --check` asks for it, for each pull request.
- The range of a package that fits a Protocol begins at its first release that fits. The tests here find that out: they
  take each package's last release beside the others' current state, read `tests/typing` and run `tests/contracts`.

The sets: the newest, all as they are in this checkout; the oldest that the ranges allow; and each package's previous
release (the last tag in git) beside the others. Wheels are built from the tags, and installed into environments of
their own. That takes a while, so it is a nightly job. `--plan` only says what would be tried, and whether the ranges
hold the versions of this checkout: a second, for each pull request.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import run
from compat_sets import FACTS, NOW, Set, Wheels, install, plan
from compat_tests import libraries, run_contracts, run_demo, run_types
from projects import META, NAMES, ROOT, Project, ProjectError, project
from ranges import allowed

DOCUMENT = ROOT / "docs/compatibility.md"
LAST = "## The last run\n"
RULES = """# Which versions go together

*Written by `./run compat`; the ranges are those of `seg-engine`.*

Each package works alone: none requires another one. seg-engine requires all five, in ranges that are tried together:

{ranges}

- A range ends at the next version that may break something: before 1.0.0 at the next minor version, from then on at the
  next major one.
- It begins at the oldest release that works with all the others as they are now.
- Packages meet at Protocols, which stand in the package that calls. Where a Protocol asks for more than in the last
  release, its package takes that step of its version, and its range begins there.
- The range of a package that fits a Protocol begins at its first release that fits.
- Before 1.0.0, what breaks an interface raises the minor version, and everything else the patch; from then on the rule
  is that of [SemVer](https://semver.org). The interface is what `interface.json` of a package lists: names, signatures,
  Protocols, entry points, config keys, options of commands, keys of checkpoints.

Whoever installs the packages one by one finds below what goes together: each package's previous release is tried beside
the current state of the others.

"""


@dataclass(frozen=True)
class Result:
    """What was found of a set.

    Attributes:
        these: The set.
        contracts: What pytest counted.
        types: Whether `tests/typing` fits; empty where it was not asked.
        demo: Whether the demo ran; empty where it was not run.
        problem: What went wrong, in the words of the tool that says so; empty where all works.
    """

    these: Set
    contracts: str = ""
    types: str = ""
    demo: str = ""
    problem: str = ""

    def row(self) -> str:
        """Return the row of the table."""
        older = ", ".join(tag.replace("-v", " ") for tag in self.these.older.values()) or "all as they are here"
        verdict = "not run" if self.these.missing else "no" if self.problem else "yes"
        cells = [self.these.name, self.these.missing or older, verdict, self.contracts, self.types, self.demo]
        return f"| {' | '.join(cell or '–' for cell in cells)} |"


def head() -> str:
    """Return what the document says whatever was run: the ranges and the rule."""
    rows = [f"| {name} | `{text}` |" for name, text in _ranges()]
    return RULES.format(ranges="\n".join(["| package | versions |", "| --- | --- |", *rows]))


def _ranges() -> list[tuple[str, str]]:
    return [(name, ",".join(sorted(map(str, found), reverse=True))) for name, found in sorted(allowed().items())]


def left_out() -> list[str]:
    """Say which package of this checkout is outside of its range: nobody could install the six together."""
    versions = {name: Project(name).version() for name in allowed()}
    outside = {name: found for name, found in allowed().items() if not found.contains(versions[name], prereleases=True)}
    return [
        f"pyproject.toml: {META} requires {name}{found}, but here it is {versions[name]}: end the range at the next "
        "version that may break"
        for name, found in outside.items()
    ]


def try_out(these: Set, wheels: Wheels, here: bool) -> tuple[Result, str]:
    """Install a set and ask all that can tell whether it works; return that, and in what environment it was."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = install(these, wheels, Path(folder) / "env", libraries(), here)
        except ProjectError as error:
            return Result(these, problem=str(error)), ""
        contracts, failed = run_contracts(python, these)
        wrong = run_types(python, these)
        alone = these.name in ("newest", "oldest")  # of a previous release only the seams are tried
        stopped = run_demo(python) if alone else ""
        result = Result(
            these,
            contracts,
            types="no" if wrong else "yes",
            demo=("no" if stopped else "yes") if alone else "",
            problem="\n".join(each for each in (failed, wrong, stopped) if each),
        )
        return result, run(python, "-c", FACTS).strip().replace("\n", ", ")


def written(results: Sequence[Result], facts: str) -> str:
    """Return the whole document."""
    versions = ", ".join(f"{name} {Project(name).version()}" for name in NAMES)
    table = ["| set | what is not as it is here | works | contract tests | types | demo |", "| --- " * 6 + "|"]
    return "\n".join(
        [f"{head()}{LAST}", f"Here: {versions}.", f"With {facts}.", "", *table, *(each.row() for each in results), ""]
    )


def show(result: Result) -> None:
    """Print what was found of a set, at once: the next one takes minutes."""
    why = result.these.missing or ("does not work" if result.problem else "works")
    print(f"{result.these.name}: {why}  {result.contracts}", flush=True)
    if result.problem:
        print(result.problem, file=sys.stderr)
    for name, tag in result.these.older.items() if result.problem else ():
        print(
            f"compat: {tag} does not go with the others: mend it, or begin the range of {name} above", file=sys.stderr
        )


def chosen(names: Sequence[str]) -> list[Set]:
    """Return the sets to be tried: all, or the previous releases of these packages."""
    sets = plan(allowed())
    wanted = {f"previous {project(name).name}" for name in names}
    return [each for each in sets if each.name in wanted] if names else sets


def arguments() -> argparse.Namespace:
    """Read the command line."""
    shown = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="./run compat", description=__doc__, formatter_class=shown)
    parser.add_argument("packages", nargs="*", help="try the previous releases of these alone, and write no document")
    parser.add_argument(
        "--plan", action="store_true", help="say what would be tried; 1 where a range leaves out a version"
    )
    parser.add_argument("--head", action="store_true", help="write the document's head anew, and run nothing")
    parser.add_argument(
        "--here", action="store_true", help="take this environment's libraries: quick, and less of a proof"
    )
    return parser.parse_args()


def main() -> int:
    """Return 1 where a set that the ranges allow does not work."""
    options = arguments()
    try:
        lines = left_out()
        sets = chosen(options.packages)
        if options.head:
            last = DOCUMENT.read_text(encoding="utf-8").partition(LAST)[2]
            DOCUMENT.write_text(f"{head()}{LAST}{last}", encoding="utf-8")
        elif options.plan or lines:
            print("\n".join(f"{each.name}: {each.missing or ', '.join(each.older.values()) or NOW}" for each in sets))
        else:
            return try_all(sets, options.here, write=not options.packages)
    except ProjectError as error:
        lines = [str(error)]
    for line in lines:
        print(f"compat: {line}", file=sys.stderr)
    return int(bool(lines))


def try_all(sets: Sequence[Set], here: bool, write: bool) -> int:
    """Try sets one after another; write the document where these are all."""
    results, facts = [], ""
    with tempfile.TemporaryDirectory() as folder:
        wheels = Wheels(Path(folder))
        for these in sets:
            result, seen = (Result(these), "") if these.missing else try_out(these, wheels, here)
            facts = seen or facts
            results.append(result)
            show(result)
    if write:
        DOCUMENT.write_text(written(results, facts), encoding="utf-8")
    return int(any(each.problem for each in results))


if __name__ == "__main__":
    sys.exit(main())
