"""Say what of an MMSegmentation project, config or checkpoint runs here, and what to change; convert checkpoints.

Of a folder, configs, code, shell scripts and checkpoints are looked at; nothing of it is run or imported. What is to be
changed has its file and line; what runs and differs has a name and a page. With --to a checkpoint is written anew:

  seg        tensors and plain values only, with a checksum; torch.load(weights_only=True) reads it
  mmengine   what MMEngine and MMSegmentation's own tools load, and go on from

The exit code is 0 where everything runs, 1 where something is to be changed, 2 where something cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seg_engine.cli.messages import describe

if TYPE_CHECKING:
    from seg_engine.migrate.findings import Report

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg migrate`."""
    parser.add_argument("path", help="project folder, config or checkpoint")
    parser.add_argument("--to", choices=["mmengine", "seg"], help="convert the checkpoint for this engine")
    parser.add_argument("-o", "--out", metavar="FILE", help="file that the converted checkpoint is written to")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, every place of every finding")


def run(options: argparse.Namespace) -> int:
    """Look, and print what was found."""
    from seg_runner import CheckpointError

    try:
        report = made(options)
    except (OSError, ValueError, CheckpointError) as error:
        if options.debug:
            raise
        print(describe(error), file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        show(report)
    return report.code


def made(options: argparse.Namespace) -> Report:
    """Return the report, or that of a conversion.

    Raises:
        OSError: there is nothing to read, or a file that would be overwritten.
        ValueError: options that do not go together, or a path that is neither a folder nor a file.
    """
    from seg_engine.migrate.checkpoints import convert
    from seg_engine.migrate.project import look_at

    if bool(options.to) != bool(options.out):
        raise ValueError("--to and -o go together: --to says for which engine, -o where to")
    if options.to is None:
        return look_at(Path(options.path))
    if not Path(options.path).is_file():
        raise ValueError(f"--to converts a checkpoint, and {options.path} is no file")
    return convert(Path(options.path), options.to, Path(options.out))


def show(report: Report) -> None:
    """Print the report for people: as wide as the terminal, in colour where that is wanted."""
    from rich.console import Console
    from rich.text import Text
    from seg_vis.names import printable

    from seg_engine.migrate.text import lines_of

    console = Console(soft_wrap=True, highlight=False)
    for line, style in lines_of(report, console.width):
        console.print(Text(printable(line, lines=False), style=style))
