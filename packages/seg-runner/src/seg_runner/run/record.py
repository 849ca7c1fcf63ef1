"""What repeats a run: versions, seed, command line, git state and the resolved config, left in the log folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_runner.assembly.arguments import DEFAULTS, Parts, misspelt
from seg_runner.assembly.hooks import _plain_line
from seg_runner.files import write_text
from seg_runner.hooks.defaults import without_effect
from seg_runner.log.setup import IN_FILE
from seg_runner.process.environment import describe_environment
from seg_runner.process.places import check_places

__all__ = ["announce", "git_state", "installed_versions", "origins_of", "record", "write_record"]

_PACKAGES = ("seg-engine", "seg-registry", "seg-hooks", "seg-optim", "seg-runner", "seg-vis", "torch", "numpy")
RECORD = "run.json"


def write_record(log_dir: Path, *, cfg: Any = None, work_dir: Path, facts: dict[str, Any], keep: bool = False) -> Path:
    """Write `run.json`, the config as it was resolved with the origin of each value, and uncommitted changes.

    Args:
        log_dir: Folder of this session's logs.
        cfg: The config, if the run has one.
        work_dir: Folder of the run; the config goes there too, under its own name.
        facts: Seeds and whatever else the run wants to have kept.
        keep: Leave a config that lies in `work_dir` as it is: that of the training, where this is a test.

    Returns:
        Path of `run.json`.
    """
    state, diff = git_state(Path.cwd())
    record = {
        "command": [sys.executable, *sys.argv],
        "folder": str(Path.cwd()),
        "environment": {
            key: os.environ[key] for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS") if key in os.environ
        },
        "versions": {"python": sys.version.split()[0], **installed_versions()},
        "git": state,
        **facts,
    }
    if diff:
        write_text(log_dir / "uncommitted.diff", diff)
    for name, text in _config_files(cfg, log_dir).items():
        write_text(log_dir / name, text)
        record.setdefault("config", name)
        if not keep or not (work_dir / name).exists():
            write_text(work_dir / name, text)
    origins = origins_of(cfg)
    if origins:
        write_text(log_dir / "origins.json", json.dumps(origins, indent=1) + "\n")
    path = log_dir / RECORD
    write_text(path, json.dumps(record, indent=2, default=str) + "\n")
    return path


def _config_files(cfg: Any, log_dir: Path) -> dict[str, str]:
    """File name -> text of the resolved config; empty without one that can be written out."""
    text = getattr(cfg, "pretty_text", None)
    if not isinstance(text, str):
        return {}
    filename = getattr(cfg, "filename", None)
    return {Path(filename).with_suffix(".py").name if filename else f"{log_dir.name}.py": text}


def origins_of(cfg: Any) -> dict[str, str]:
    """Dotted path of each value in a config -> where it was written; empty for a config that does not know."""
    find = getattr(cfg, "origin", None)
    if not callable(find):
        return {}
    found: dict[str, str] = {}
    for path in _paths("", dict(cfg.items())):
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            found[path] = str(find(path))
    return found


def _paths(path: str, value: Any) -> Iterator[str]:
    """Paths of everything in a config that is no dict and no list of dicts."""
    lead = f"{path}." if path else ""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _paths(f"{lead}{key}", item)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _paths(f"{lead}{number}", item)
    elif path:
        yield path


def installed_versions() -> dict[str, str]:
    """Version of each package of ours and of torch and numpy that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Commit and changed files of the folder's repository, and the changes themselves; (None, '') outside one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None, ""
    changed = _git(folder, "status", "--porcelain").splitlines()
    diff = _git(folder, "diff", "HEAD") if changed else ""
    return {"commit": commit, "changed": changed[:100]}, diff if len(diff) <= 1_000_000 else ""


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


NOT_EXACT = (
    "randomness.stream='mmengine': random numbers come from the global generators in the reference's order, so a "
    "resumed run is not the same run bit for bit; stream='sample' (the default) makes it so"
)


def places_outside(runner: Any) -> list[str]:
    """A line for each place outside of the working folder that the parts of a run would write to.

    Raises:
        ValueError: a place where a config may not write.
    """
    parts: Parts = runner.parts
    names = ["model", *(name for name in DEFAULTS if name not in ("cfg", "build"))]
    named = parts if runner.cfg is None else runner.cfg
    return check_places(named, names, runner.work_dir, strict=parts["strict_paths"])


def shortened(path: Path) -> str:
    """A path as a person here would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def announce(runner: Any) -> None:
    """The first lines of the log."""
    facts = describe_environment(runner.device, runner.seed)
    runner.logger.info("%s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    if not runner.randomness.by_sample:
        runner.logger.info("%s", NOT_EXACT)
    for line in without_effect(runner.cfg):
        runner.logger.info("%s", line)
    if runner.outside:
        text = "Written outside of work_dir: %s (strict_paths=True refuses it)"
        runner.logger.warning(text, "; ".join(runner.outside))
    for line in misspelt(runner.cfg or {}):
        runner.logger.warning("%s", line)
    if runner.cfg is not None and isinstance(getattr(runner.cfg, "pretty_text", None), str):
        runner.logger.info("Config:\n%s", runner.cfg.pretty_text, extra=IN_FILE)
    runner.logger.info("Hooks:\n%s", runner.points, extra=IN_FILE)
    told = "config and timetable" if runner.cfg is not None else "timetable"
    runner.logger.info("The %s of the hooks: %s", told, shortened(runner.log_dir / f"{runner.timestamp}.log"))
    if runner.table.stand_ins:
        runner.logger.info("%s", _plain_line(runner.table.stand_ins))


def record(runner: Any, mode: str) -> None:
    """Right before the first step of a runner: the files that repeat the run; a start that failed leaves none."""
    if runner.underway or runner.rank != 0:
        return
    kept = {"seed": runner.seed, "stream": runner.randomness.stream, "experiment_name": runner.experiment_name}
    write_record(runner.log_dir, cfg=runner.cfg, work_dir=runner.work_dir, facts=kept, keep=mode != "train")
    if runner.cfg is not None and callable(getattr(runner.visualizer, "add_config", None)):
        runner.visualizer.add_config(runner.cfg)
    runner.underway = True
