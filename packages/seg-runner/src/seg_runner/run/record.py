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

from seg_runner.files import write_text
from seg_runner.protocols import Config

__all__ = ["git_state", "installed_versions", "origins_of", "write_record"]

_PACKAGES = ("seg-engine", "seg-registry", "seg-hooks", "seg-optim", "seg-runner", "seg-vis", "torch", "numpy")
RECORD = "run.json"


def write_record(
    log_dir: Path, *, cfg: Config | None = None, work_dir: Path, facts: Mapping[str, object], keep: bool = False
) -> Path:
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


def _config_files(cfg: Config | None, log_dir: Path) -> dict[str, str]:
    """Return file name -> text of the resolved config; empty without one that can be written out."""
    text = getattr(cfg, "pretty_text", None)
    if not isinstance(text, str):
        return {}
    filename = getattr(cfg, "filename", None)
    return {Path(filename).with_suffix(".py").name if filename else f"{log_dir.name}.py": text}


def origins_of(cfg: Config | None) -> dict[str, str]:
    """Return the dotted path of each value in a config -> where it was written; empty where nobody knows."""
    find = getattr(cfg, "origin", None)
    if not callable(find) or cfg is None:
        return {}
    found: dict[str, str] = {}
    for path in _paths("", dict(cfg.items())):
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            found[path] = str(find(path))
    return found


def _paths(path: str, value: object) -> Iterator[str]:
    """Yield the paths of everything in a config that is no dict and no list of dicts."""
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
    """Return the version of each package of ours and of torch and numpy that is installed.

    One that is imported is asked itself: its metadata may be older than the files, and lacks the build (`2.4.0+cu121`).
    """
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            module = sys.modules.get(name.replace("-", "_"))
            found[name] = str(getattr(module, "__version__", None) or version(name))
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Return commit and changed files of the folder's repository, and the changes; (None, '') outside one."""
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
