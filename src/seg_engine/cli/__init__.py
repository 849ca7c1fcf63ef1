"""The command `seg`: one verb a file, and one clear message where something is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from seg_engine.cli.messages import Parser, describe, guard_terminal
from seg_engine.cli.version import ShowVersions
from seg_engine.cli.words import in_order
from seg_engine.ranks import tell, tell_error, warn_once

__all__ = ["main"]

SEVERAL = ("train", "test", "rerun")
"""Verbs that work on several processes, each started by a launcher."""
VERBS = ("demo", "train", "test", "predict", "rerun", "ckpt", "migrate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 1 where something was wrong, or 2 for wrong arguments).

    A run that was stopped by a signal leaves with 128 + its number.
    """
    guard_terminal()
    parser = make_parser()
    given = sys.argv[1:] if arguments is None else arguments
    if not given:  # whoever types the bare name asks what there is
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(in_order(given, parser))
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        refuse_empty(options)
        refuse_several(options.verb)
        warn_once()
        return int(options.run(options))
    except Exception as error:
        if options.debug:
            raise
        tell_error(error, describe(error))
        return 1
    except KeyboardInterrupt:
        tell("\nstopped", sys.stderr)
        return 130


def refuse_empty(options: argparse.Namespace) -> None:
    """Refuse an empty argument, as a shell makes of a variable that is not set: as a path it is the current folder.

    Raises:
        ValueError: there is one.

    >>> refuse_empty(argparse.Namespace(show_dir=""))
    Traceback (most recent call last):
    ValueError: show-dir: an empty text was given; name a file or folder ('.' is the current one), or leave it out
    """
    for name, value in vars(options).items():
        if "" in (value if isinstance(value, list) else [value]):
            raise ValueError(
                f"{name.replace('_', '-')}: an empty text was given; name a file or folder ('.' is the current one), "
                "or leave it out"
            )


def refuse_several(verb: str) -> None:
    """Refuse to be one of several processes (torchrun, srun, ...) with a verb that works in one.

    Raises:
        RuntimeError: the environment says that there are several: they would write over one another's files.
    """
    from seg_runner.distributed.launch import find_launch

    launch = find_launch()
    if launch.size > 1 and verb not in SEVERAL:
        raise RuntimeError(
            f"seg {verb} works in one process, but this is one of {launch.size} ({launch.says}): "
            "each would work on its own, and they would overwrite one another's files. Start one process (without "
            "torchrun, mpirun or srun -n), or unset these variables if another program left them"
        )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs; building it imports neither torch nor any of the packages."""
    parser = Parser(
        prog="seg",
        description="Train segmentation models from MMSegmentation-style configs.",
        epilog="Start with `seg demo`: it draws a data set, trains, validates and shows what it made.",
    )
    parser.add_argument("--version", action=ShowVersions, help="show the versions of all packages, and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in VERBS:
        module = import_module(f"seg_engine.cli.{name}")
        lines = (module.__doc__ or "").strip().splitlines()
        verb = verbs.add_parser(
            name,
            help=lines[0],
            description="\n".join(lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
        verb.set_defaults(run=module.run, verb=name)
    return parser
