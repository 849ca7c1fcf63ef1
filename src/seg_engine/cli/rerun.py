"""Repeat a run from the record that it left: the same config, seed and versions, or a list of what differs."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_engine.cli.options import add_config_options, add_launcher_option, add_trust_option
from seg_engine.ranks import tell

__all__ = ["add_arguments", "run"]

LARGEST = 2**22
KINDS: dict[str, tuple[type, ...]] = {"seed": (int,), "versions": (dict, type(None)), "git": (dict, type(None))}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg rerun`."""
    parser.add_argument("record", metavar="RUN", help="log folder of a run, or its working folder for the newest")
    parser.add_argument("--work-dir", metavar="DIR", help="folder for the repetition (<RUN>_rerun)")
    add_config_options(parser)
    add_trust_option(parser)
    add_launcher_option(parser)


def run(options: argparse.Namespace) -> int:
    """Repeat."""
    from seg_vis.names import printable

    from seg_engine.launch import give, make_runner, override, read_config, world_of

    folder, record = find_record(Path(options.record))
    for line in differences(record):
        tell(f"note: {printable(line, lines=False)}")
    cfg = read_config(folder / record["config"], options.trust_config, alone=not options.trust_config)
    before = cfg.get("randomness") or {}
    if not isinstance(before, Mapping):
        raise ValueError(f"{folder / record['config']}: randomness must be a dict, not {before!r:.100}")
    cfg.randomness = {**before, "seed": record["seed"]}
    world = world_of(cfg, options.launcher)
    if record.get("world_size", world.size) != world.size:
        tell(f"note: the run had {record['world_size']!r:.20} processes, and this one has {world.size}")
    work_dir = options.work_dir or world.first(lambda: free_folder(folder.parent))
    give(cfg, "seg rerun", work_dir=work_dir, resume=False)
    if options.launcher != cfg.get("launcher", "none"):
        give(cfg, "--launcher", launcher=options.launcher)
    override(cfg, options.cfg_options)
    make_runner(cfg, options.trust_config, options.allow, imports=False).train()
    return 0


def free_folder(work_dir: Path) -> str:
    """Return a folder beside that of the run, which is left as it is: `run` -> `run_rerun`, then `run_rerun_2`, ...

    >>> Path(free_folder(Path("/nowhere/run"))).name
    'run_rerun'
    """
    base = work_dir.resolve()
    names = (f"{base.name}_rerun{'' if number == 1 else f'_{number}'}" for number in itertools.count(1))
    return str(next(base.parent / name for name in names if not (base.parent / name).exists()))


def find_record(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the log folder, and its `run.json`.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: the run had no config that could be kept.
    """
    found = sorted(path.glob("*/run.json")) or sorted(path.glob("run.json"))
    if not found:
        raise FileNotFoundError(f"there is no run.json in {path}, nor in a folder below it")
    record = read_record(found[-1])
    if "config" not in record:
        raise ValueError(f"{found[-1]}: this run was made from objects, without a config, so it cannot be repeated")
    return found[-1].parent, record


def read_record(path: Path) -> dict[str, Any]:
    """Return a record, whoever wrote it.

    Raises:
        ValueError: it is none, or names a config that does not lie beside it.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is no record of a run: no file, or one of more than {LARGEST:,} bytes")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no record of a run: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is no record of a run: it holds a {type(record).__name__}, not an object")
    for key, kinds in KINDS.items():
        if not isinstance(record.get(key), kinds):
            raise ValueError(f"{path} is no record of a run: {key!r} is {record.get(key)!r:.100}")
    if not isinstance((record.get("git") or {}).get("changed") or [], list):
        raise ValueError(f"{path} is no record of a run: 'changed' of 'git' is no list of files")
    name = record.get("config", "config.py")
    if not isinstance(name, str) or name != Path(name).name:
        raise ValueError(f"{path}: 'config' must be the name of a file beside it, not {name!r:.100}")
    return record


def differences(record: dict[str, Any]) -> list[str]:
    """List what is not as it was: versions, and the state of the code."""
    from importlib.metadata import PackageNotFoundError, version

    lines = []
    for name, before in (record.get("versions") or {}).items():
        if name == "python":
            continue
        try:
            now = version(name)
        except (PackageNotFoundError, ValueError):  # what is no name at all is a ValueError
            now = "not installed"
        if now != before:
            lines.append(f"{name} was {before} and is {now}")
    git = record.get("git") or {}
    if git.get("changed"):
        lines.append(f"{len(git['changed'])} files were not committed then (uncommitted.diff holds the changes)")
    return lines
