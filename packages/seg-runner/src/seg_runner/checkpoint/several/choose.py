"""One checkpoint for all ranks: rank 0 chooses it, and sends it to machines that do not see its disk."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import distributed

from seg_runner.distributed.world import World

__all__ = ["at_hand", "chosen_by_first"]

LOG = logging.getLogger("seg_runner")
TAIL, AT_ONCE = 2**16, 2**26  # bytes: what tells files of one name apart, and what is sent at once


def chosen_by_first(world: World, find: Callable[[], Path | None]) -> Path | None:
    """Return what rank 0 finds, on all ranks: each by itself may see another listing of the same folder.

    Raises:
        Exception: What is raised on rank 0; on the others `OtherRankError` with the same words.
    """
    found = world.first(lambda: None if (path := find()) is None else str(path))
    return None if found is None else Path(found)


@contextmanager
def at_hand(world: World, path: Path) -> Iterator[Path]:
    """Give a path under which this rank reads what rank 0 has under `path`; called by all.

    Where all see the same file, that is it. Else rank 0 sends it, and it lies in a temporary folder meanwhile.
    """
    marks = world.gather(_mark_of(path))
    if all(mark == marks[0] for mark in marks):
        yield path
        return
    lacking = [rank for rank, mark in enumerate(marks) if mark != marks[0]]
    text = "%s lies on the disk of rank 0 and not on that of rank %s: it is sent to them (%.1f MB)"
    LOG.info(text, path, ", ".join(map(str, lacking)), (marks[0] or (0, ""))[0] / 2**20)
    with ExitStack() as stack:
        folder = None
        if world.rank in lacking:
            folder = Path(tempfile.mkdtemp(prefix="seg_runner_"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _send(world, path, folder)
        yield path if folder is None else folder / path.name


def _files_of(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]


def _mark_of(path: Path) -> tuple[int, str] | None:
    """Return what tells files, or folders of files, of one name apart: sizes, and the ends, which hold checksums."""
    try:
        size, seen = 0, xxhash.xxh3_128()
        for file in _files_of(path):
            size += (length := os.path.getsize(file))
            with open(file, "rb") as content:
                content.seek(max(length - TAIL, 0))
                seen.update(file.name.encode() + length.to_bytes(8, "little") + content.read())
        return size, seen.hexdigest()
    except OSError:
        return None


def _send(world: World, path: Path, folder: Path | None) -> None:
    """Send the file, or the files of the folder, of rank 0; ranks with a folder keep them there under its name."""
    files = world.first(lambda: [(file.name, os.path.getsize(file)) for file in _files_of(path)])
    alone = not world.share(path.is_dir())
    target = None if folder is None else (folder if alone else folder / path.name)
    if target is not None:
        target.mkdir(exist_ok=True)
    for name, size in files:
        with ExitStack() as stack:
            source = stack.enter_context(open(path if alone else path / name, "rb")) if world.rank == 0 else None
            kept = stack.enter_context(open(target / name, "wb")) if target is not None else None
            for begin in range(0, size, AT_ONCE):
                piece = torch.empty(min(AT_ONCE, size - begin), dtype=torch.uint8)
                content: Any = piece.numpy()  # the same memory
                if source is not None:
                    source.readinto(content)
                distributed.broadcast(piece, src=0, group=world.words)
                if kept is not None:
                    kept.write(content)
