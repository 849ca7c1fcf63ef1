"""A whole file made of a set of files, and a set of a file: the same values to the last bit, in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_runner.checkpoint.content import payload_bytes, to_cpu, to_plain
from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.several.layout import is_set
from seg_runner.checkpoint.several.save import write_set
from seg_runner.checkpoint.several.split import Content, split
from seg_runner.checkpoint.write import explained, write_checkpoint, write_plain

__all__ = ["convert_checkpoint"]


def convert_checkpoint(source: str | Path, target: str | Path, *, overwrite: bool = False) -> Path:
    """Make one file of a set of files (`sharded=True`), or a set of one file; no process group is needed.

    Everything is checked against its checksum first, and the target is whole or absent.

    Args:
        source: A checkpoint: a file, or the folder of a set.
        target: What is made of it: of a file a folder, of a set a file.
        overwrite: Replace what is at `target`, if that is a checkpoint.

    Raises:
        CheckpointError: The source is no whole checkpoint.
        FileExistsError: Something is at `target`, and it was not said to replace it; or it is the source, or a folder
            of other things.
        CheckpointWriteError: It cannot be written; what is there stays as it is.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    _refuse_target(source, target, overwrite)
    content = read_checkpoint(source)
    if is_set(source):
        _write_file(target, content)
    else:
        rest, tensors, paths = split(content, lambda path: True)
        write_set(target, Content(rest, tensors, paths))
    return target


def _refuse_target(source: Path, target: Path, overwrite: bool) -> None:
    whole, into = source.resolve(), target.resolve()
    if into == whole or whole in into.parents or into in whole.parents:
        raise FileExistsError(f"{target} is, or lies in, what is converted ({source}): give another place")
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not is_set(target):
        raise FileExistsError(f"{target} is a folder with other things in it: give the name that the checkpoint gets")
    if not overwrite:
        raise FileExistsError(f"{target} is there already: give another name, or overwrite=True (--overwrite)")


def _write_file(target: Path, content: Mapping[str, Any]) -> None:
    meta = content.get("meta")
    if not isinstance(meta, Mapping) or not {"not_finite", "optimizer_not_finite"} & meta.keys():
        write_checkpoint(target, dict(content))
        return
    try:  # what is not finite is noted already, in the order in which it was found
        write_plain(target, to_cpu(to_plain(content)))
    except OSError as error:
        raise explained(target, error, payload_bytes(content)) from error
