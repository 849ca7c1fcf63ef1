"""From nothing to a trained model: draw street scenes, train on them, validate, show what there is.

Takes about four minutes on two CPU cores with nothing beside it. Ctrl-C saves; the same command with --resume goes on.
"""

from __future__ import annotations

import argparse

from seg_engine.cli.options import add_config_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg demo`."""
    parser.add_argument("--out", default="work_dirs/demo", metavar="DIR", help="folder for everything (work_dirs/demo)")
    parser.add_argument(
        "--config",
        choices=["convnext", "vit", "sgd"],
        default="convnext",
        help="ConvNeXt style with layer-wise rates (default), ViT style, or plain SGD",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the last run stopped")
    parser.add_argument("--short", action="store_true", help="half a minute: few scenes, few steps, a poor model")
    add_config_options(parser)


def run(options: argparse.Namespace) -> int:
    """Draw, train, show."""
    from seg_engine.demo.run import run_demo

    return run_demo(options)
