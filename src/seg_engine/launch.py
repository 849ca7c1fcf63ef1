"""From a config and the words of a command line to a run: overrides, `custom_imports`, what to do after a stop."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_engine.ranks import tell

if TYPE_CHECKING:
    from seg_registry import Config
    from seg_runner import Runner
    from seg_runner.distributed.world import World

    from seg_engine.data.pipeline import NestedBuilder

__all__ = ["give", "make_builder", "make_runner", "override", "read_config", "train", "world_of"]


def read_config(path: str | Path, trust: bool = False, alone: bool = False) -> Any:
    """Return the config of a file; what is odd about it is printed, one line each.

    Args:
        path: The file.
        trust: Run it as Python.
        alone: It comes from elsewhere: it reads no other file and no environment variable.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from seg_registry import Config
    from seg_vis.names import printable

    if not Path(path).is_file():
        from seg_engine.data.files import nearest_folder

        raise FileNotFoundError(f"there is no config {path} ({nearest_folder(path)})")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cfg = Config.fromfile(path, trusted=trust, alone=alone)
    for warning in caught:
        tell(f"warning: {printable(warning.message)}", sys.stderr)
    return cfg


def override(cfg: Config, words: list[str]) -> None:
    """Apply `--cfg-options` words to a config; a key that looks misspelt is an error."""
    from seg_registry import parse_options

    if words:
        cfg.merge_from_dict(parse_options(words), strict=True, source="--cfg-options")


def give(cfg: Config, source: str, **values: object) -> None:
    """Set top-level keys of a config for a flag of the command line, which errors about them then name."""
    cfg.merge_from_dict({f"+{key}": value for key, value in values.items()}, source=source)


def world_of(cfg: Config, launcher: str = "none") -> World:
    """Return the processes that a run of this config will have, met already: they may have something to agree on."""
    from seg_runner.distributed.world import adopt_world

    group, own = ((cfg.get(key) or {}) for key in ("env_cfg", "seg"))
    return adopt_world(group.get("dist_cfg"), own.get("device"), launcher)


def make_runner(
    cfg: Config, trust: bool = False, allow: Sequence[str] = (), imports: bool = True, overwrite: bool = False
) -> Any:
    """Return the Runner of a config.

    Args:
        cfg: The config.
        trust: Build from any installed package that the config names (`--trust-config`).
        allow: Packages and modules that the caller vouches for (`--allow`).
        imports: Carry out `custom_imports`, since a person started this with a config of their own; JSON, YAML and
            TOML files hold data only, and start none.
        overwrite: Delete the checkpoints of an earlier run in the work directory.
    """
    from seg_runner import Runner

    prepare_mmseg(cfg)
    own = imports and not is_data(cfg)
    if not (own or trust):
        stay_below(cfg)  # somebody else may have written it: it writes below its work directory
    build = make_builder(cfg, trust, allow, own, files="read" if imports or trust else "refuse")
    return Runner.from_cfg(cfg, build=build, overwrite=overwrite)


def stay_below(cfg: Config) -> None:
    """Let a config write below its work directory only, whatever it says itself."""
    if isinstance(cfg.get("seg"), Mapping | None):
        cfg.seg = {**(cfg.get("seg") or {}), "strict_paths": True}
    else:
        cfg.strict_paths = True


def prepare_mmseg(cfg: object) -> None:
    """Let MMSegmentation import, if a config asks for it, where mmcv is not compiled; a line says what was done."""
    from seg_engine.mmseg import prepare_for

    for line in prepare_for(cfg):
        tell(f"note: {line}", sys.stderr)


def is_data(cfg: Config) -> bool:
    """Tell whether a config was read from a file format that holds nothing but data."""
    return Path(getattr(cfg, "filename", None) or "").suffix.lower() in (".json", ".yaml", ".yml", ".toml")


def make_builder(
    cfg: Config, trust: bool = False, allow: Sequence[str] = (), imports: bool = False, files: str = "read"
) -> NestedBuilder:
    """Return what builds the parts of a config, and the parts inside them; `files` as `NestedBuilder` takes it."""
    from seg_registry import builder

    from seg_engine.data.pipeline import NestedBuilder  # with OpenCV, for which `seg --help` does not wait

    made = builder(cfg, allow=("*",) if trust else tuple(allow), allow_imports=imports or trust)
    return NestedBuilder(made, files)


def train(runner: Runner, again: str) -> None:
    """Train; where a signal stops it, say which command goes on."""
    try:
        runner.train()
    except SystemExit:
        tell(f"go on with: {as_typed(again)}", sys.stderr)
        raise


def as_typed(command: str) -> str:
    """Return a command as it is to be typed: behind `./run` where that is what keeps it on the path.

    >>> as_typed("seg demo") in ("seg demo", "./run seg demo")
    True
    """
    prefix = os.environ.get("SEG_COMMAND_PREFIX")
    return f"{prefix} {command}" if prefix else command
