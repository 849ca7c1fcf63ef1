"""Flags that several verbs share, by MMSegmentation's names, and the config that they lead to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_engine.launch import give, override, read_config

if TYPE_CHECKING:
    from seg_registry import Config

__all__ = [
    "add_config_options",
    "add_launcher_option",
    "add_run_options",
    "add_trust_option",
    "find_work_dir",
    "load_config",
    "use_amp",
]


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override settings of the config, such as optim_wrapper.optimizer.lr=0.01 or train_pipeline.0.prob=0.2; "
        "quote a key that has a dot in it: 'optim_wrapper.paramwise_cfg.custom_keys.\"head.norm\".lr_mult=10'; KEY= "
        "is the empty text, KEY=_delete_ removes the key; can be given several times",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what everything that starts a Runner takes: `--work-dir`, `--cfg-options`, `--launcher`."""
    parser.add_argument("--work-dir", metavar="DIR", help="folder for logs and checkpoints (work_dirs/<config name>)")
    add_config_options(parser)
    add_trust_option(parser)
    add_launcher_option(parser)


def add_launcher_option(parser: argparse.ArgumentParser) -> None:
    """Add `--launcher`, and `--local-rank`, which older launchers give to each process and nobody needs."""
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="who starts the processes"
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add `--allow` and `--trust-config`."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NAME",
        help="a package, module or distribution that the config may build from; can be given several times",
    )
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="run the config as Python, and build from any package that it names: only for configs of your own",
    )


def load_config(options: argparse.Namespace) -> Any:
    """Return the config of the command line, with its overrides, launcher and working folder in place."""
    cfg = read_config(options.config, options.trust_config)
    override(cfg, options.cfg_options)
    if options.launcher != "none":
        give(cfg, "--launcher", launcher=options.launcher)
    if (work_dir := find_work_dir(cfg, options)) != cfg.get("work_dir"):
        give(cfg, "--work-dir" if options.work_dir else "named after the config", work_dir=work_dir)
    return cfg


def find_work_dir(cfg: Config, options: argparse.Namespace) -> str:
    """Return the working folder: of the command line, else of the config, else named after the config."""
    given = options.work_dir or cfg.get("work_dir")
    return str(given) if given else str(Path("work_dirs") / Path(options.config).stem)


def use_amp(cfg: Config) -> None:
    """Switch a config to mixed precision, as `--amp` does: `OptimWrapper` becomes `AmpOptimWrapper`.

    Raises:
        ValueError: the config's wrapper is of another type.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        return
    if kind != "OptimWrapper":
        raise ValueError(f"--amp turns OptimWrapper into AmpOptimWrapper, but optim_wrapper.type is {kind!r}")
    wrapper.type = "AmpOptimWrapper"
    wrapper.setdefault("loss_scale", "dynamic")
