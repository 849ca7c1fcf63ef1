"""Convert a checkpoint: a set of files that several processes wrote into one file, or a file into a set."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `seg ckpt convert`."""
    parser.add_argument("action", choices=["convert"], help="convert SRC into DST, with equal values to the last bit")
    parser.add_argument(
        "source", metavar="SRC", help="a checkpoint: the folder of a set (checkpoint=dict(sharded=True)), or a file"
    )
    parser.add_argument("target", metavar="DST", help="what is made of it: one file of a set, a set of a file")
    parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint that is at DST")


def run(options: argparse.Namespace) -> int:
    """Convert."""
    from seg_runner.checkpoint.several.convert import convert_checkpoint
    from seg_runner.checkpoint.several.layout import checkpoint_bytes
    from seg_vis.names import printable

    target = convert_checkpoint(options.source, options.target, overwrite=options.overwrite)
    kind = "a set of files" if target.is_dir() else "a file"
    print(printable(f"{target}: {kind}, {checkpoint_bytes(target) / 2**20:.1f} MB, made of {options.source}"))
    return 0
