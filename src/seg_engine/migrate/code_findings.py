"""What is to be said of a file of Python code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from seg_engine.migrate.code import Code, Used
from seg_engine.migrate.findings import CHANGE, Finding
from seg_engine.migrate.modules import absent_part
from seg_engine.migrate.old_names import now
from seg_engine.migrate.scopes import absent_operator, install
from seg_engine.migrate.served import instead_of, missing

__all__ = ["findings_in"]

WRITTEN_FOR = ("mmcv", "mmengine", "mmseg", "seg_engine", "seg_hooks", "seg_runner")
"""Whose imports tell that a variable called `runner` is one of these."""

ENGINE = ("mmengine.runner.Runner", "mmengine.Runner")


def findings_in(code: Code, file: str, roots: Sequence[Path], gives: frozenset[str]) -> Iterator[Finding]:
    """Yield what is to be said of a file.

    Args:
        code: The file.
        file: Its name for the report.
        roots: Folders of the project that modules are imported from.
        gives: Names that the project's code assigns to the runner, or its parts to themselves.
    """
    for used in code.used:
        found = old_name(used, file) or of_engine(used, file)
        found = found or of_operator(used, file) or not_there(used, file, roots)
        if found is not None:
            yield found
    if code.imports(*WRITTEN_FOR):
        for path, line in code.reads:
            yield from not_served(path, Finding(CHANGE, file, line, ""), gives)


def old_name(used: Used, file: str) -> Finding | None:
    """Say what a name of mmcv 1.x or MMSegmentation 0.x is called now."""
    old, new = now(used.name)
    if not new or used.guarded:
        return None
    module, _, name = new.rpartition(".")
    since = "MMSegmentation 1.0" if old.startswith("mmseg.") else "mmcv 2.0"
    return Finding(CHANGE, file, used.line, f"{old} is gone since {since}", f"from {module} import {name}")


def of_engine(used: Used, file: str) -> Finding | None:
    """Say that code starts MMEngine's own Runner."""
    if not used.called or used.name not in (*ENGINE, *(f"{name}.from_cfg" for name in ENGINE)):
        return None
    what = "this starts MMEngine's own Runner, and so a run of MMEngine's"
    advice = "seg train CONFIG, or: from seg_runner import Runner (from_cfg, train, val and test are the same)"
    return Finding(CHANGE, file, used.line, what, advice)


def of_operator(used: Used, file: str) -> Finding | None:
    """Say that code needs an operator that mmcv compiles, and that is not here."""
    name = absent_operator(used.name) if used.name.startswith("mmcv.ops.") and not used.guarded else ""
    if not name:
        return None
    advice = "install mmcv with its operators, in place of mmcv-lite"
    return Finding(CHANGE, file, used.line, f"mmcv.ops.{name} is compiled, and is not here", advice)


def not_there(used: Used, file: str, roots: Sequence[Path]) -> Finding | None:
    """Say which package, or module of one, an import does not find."""
    if not used.imported or used.guarded:
        return None
    needs = "mmcv" if used.module.startswith("mmcv.ops") else used.module  # the stand-in makes that one
    absent = absent_part(needs, roots) if needs else ""
    if not absent:
        return None
    if "." in absent:
        return Finding(CHANGE, file, used.line, f"there is no module {absent} in what is installed", "")
    return Finding(CHANGE, file, used.line, f"the package {absent} is not installed", install(absent))


def not_served(path: tuple[str, ...], at: Finding, gives: frozenset[str]) -> Iterator[Finding]:
    """Yield what is read off the runner and is not there."""
    from seg_runner.errors import nearest

    found = missing(path, gives)
    if found is None or (len(path) > 1 and path[1] in gives):
        return
    name, known = found
    near = nearest(name, known)
    guess = f"did you mean runner.{near}?" if near else f"what there is: {', '.join(sorted(known)[:8])}, ..."
    hint = instead_of(name) or guess
    yield Finding(CHANGE, at.file, at.line, f"runner.{name} does not exist here", hint)
