"""Train a model from a config; with --resume go on where it stopped.

The same command starts a run or, with --resume, goes on. Ctrl-C saves first.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from seg_engine.cli.options import add_run_options, load_config, use_amp

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg train`."""
    parser.add_argument("config", help="config file")
    add_run_options(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=None,
        metavar="CHECKPOINT",
        help="go on from the newest whole checkpoint of the working folder (if there is any), or from this one",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the checkpoints of an earlier run in the working folder"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: AmpOptimWrapper instead of OptimWrapper")


def run(options: argparse.Namespace) -> int:
    """Train."""
    from seg_engine.launch import give, make_runner, train

    cfg = load_config(options)
    if options.amp:
        use_amp(cfg)
    if options.resume is not None:
        newest = options.resume == "auto" and not Path("auto").exists()  # as MMDetection's --resume auto
        give(cfg, "--resume", resume=True if newest else options.resume)
    runner = make_runner(cfg, options.trust_config, options.allow, overwrite=options.overwrite)
    train(runner, again=command(options, cfg.work_dir))
    return 1 if runner.lost else 0  # the last line said so


def command(options: argparse.Namespace, work_dir: str) -> str:
    """Return the command line that goes on with this run."""
    words = ["seg", "train", options.config, "--work-dir", work_dir, "--resume"]
    words += ["--amp"] if options.amp else []
    words += ["--trust-config"] if options.trust_config else []
    words += [word for each in options.allow for word in ("--allow", each)]
    return shlex.join([*words, *(["--cfg-options", *options.cfg_options] if options.cfg_options else [])])
