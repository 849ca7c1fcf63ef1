"""Saving checkpoints: now, or beside training from a consistent copy; with a word on what happens when it fails."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from torch import distributed

from seg_runner.checkpoint.content import Staging, to_plain
from seg_runner.checkpoint.several.split import Content, alike_on_ranks, split, staged
from seg_runner.checkpoint.write import CheckpointWriteError, write_checkpoint
from seg_runner.distributed.world import LONGEST, World

__all__ = ["CheckpointSaver"]

LOG = logging.getLogger("seg_runner")


class CheckpointSaver:
    """Writes checkpoints one after the other.

    With `async_save=True`, `save` copies the state into buffers that are kept (one extra copy of the state in memory)
    and returns; a thread writes the file. One save is in flight at most: the next one waits for it. Its `on_done`, or
    its failure, comes up in the main thread at the next `wait()`, which the runner calls between two steps once
    `ready` says that there is something to tell.

    Args:
        async_save: Write beside training.
        on_full: What a failed write (full disk, lost permission) does: `continue` logs one message and goes on with the
            files from before; `stop` raises.
        sharded: Write a folder of files instead of one, each rank its own part of what all have (`ddp`) or of what each
            has a part of (`fsdp`). It needs a disk that all ranks share; `seg ckpt convert` makes one file of it.

    Attributes:
        world: The processes that save together.
        ready: The save in flight is through, and `wait()` tells at once how it went. A plain attribute, which the
            thread sets, so that the loop can look at it in each step at no cost.
        wrote: The file of the latest save, once it is there; None where that failed or is in flight.
        failure: What went wrong in the latest save: with the file or, where `wrote` is set, with what points to it.
        ending: The run ends with this save, so nothing is promised to go on.

    Raises:
        ValueError: `on_full` is neither.
    """

    def __init__(self, async_save: bool = False, on_full: str = "continue", sharded: bool = False) -> None:
        if on_full not in ("continue", "stop"):
            raise ValueError(f"on_full is {on_full!r}; it is 'continue' or 'stop'")
        self.async_save, self.on_full, self.sharded = async_save, on_full, sharded
        self.world = World()
        self._group: Any = None
        self.ready = self.ending = False
        self.wrote: Path | None = None
        self.failure: CheckpointWriteError | None = None
        self._staging = Staging()
        self._flight: _Flight | None = None

    def save(self, path: str | Path, payload: dict[str, Any], on_done: Callable[[], None] | None = None) -> None:
        """Write `payload` whole under `path`; `on_done` runs once it is there.

        Raises:
            TypeError: The payload holds what a safe file cannot.
            CheckpointWriteError: Only with `on_full='stop'`.
        """
        self.wait()
        self.wrote = self.failure = None
        if self.async_save:
            payload = self._staging.copy(to_plain(payload))
        self._run(Path(path), partial(write_checkpoint, path, payload), on_done)

    def save_set(
        self,
        path: str | Path,
        payload: dict[str, Any],
        parameters: Collection[str],
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """Write `payload` as a folder of files, each rank its part of them; called by all ranks.

        Args:
            path: The name of the folder.
            payload: What this rank has of the checkpoint; what is not in shards is taken from rank 0.
            parameters: Names of the model's parameters, which all ranks have alike.
            on_done: Runs once all of it is there.

        Raises:
            TypeError: The payload holds what a safe file cannot.
            CheckpointWriteError: Only with `on_full='stop'`; on all ranks.
        """
        from seg_runner.checkpoint.several.save import write_set

        self.wait()
        self.wrote = self.failure = None
        alone = self.world.size == 1
        rest, tensors, paths = split(payload, (lambda path: True) if alone else alike_on_ranks(parameters))
        rest = self.world.each(lambda: to_plain(rest))
        if self.async_save:
            rest, tensors = self._staging.copy(rest), staged(tensors)
        if self._group is None and not alone:  # words between steps go over another one
            self._group = distributed.new_group(backend="gloo", timeout=LONGEST)
        content = Content(rest if self.world.rank == 0 else {}, tensors, paths)
        self._run(Path(path), partial(write_set, Path(path), content, self._group), on_done)

    def _run(self, path: Path, write: Callable[[], None], on_done: Callable[[], None] | None) -> None:
        if self.async_save:
            self._flight = _Flight(path, write, on_done, self._landed)
            self._flight.start()
            return
        try:
            write()
        except CheckpointWriteError as error:
            self._failed(error)
        else:
            self._done(path, on_done)

    def _landed(self, error: BaseException | None) -> None:
        """Set `ready`: called in the thread, as the last thing that it does.

        Ranks that must stop together do so where all of them wait: at the next save, or at the end.
        """
        goes_on = error is None or (isinstance(error, CheckpointWriteError) and self.on_full == "continue")
        self.ready = goes_on or not self.sharded or self.world.size == 1

    def wait(self) -> None:
        """Wait for the save in flight, and finish it."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        flight.join()
        self.ready = False  # after the thread's end: only then will it not set it once more
        if isinstance(flight.error, CheckpointWriteError):
            self._failed(flight.error)
        elif flight.error is not None:
            raise flight.error
        else:
            self._done(flight.path, flight.on_done)

    def _done(self, path: Path, on_done: Callable[[], None] | None) -> None:
        """Tell that the file is there; pointers may then meet the same full disk."""
        self.wrote = path
        try:
            if on_done is not None:
                on_done()
        except OSError as error:
            text = f"the checkpoint is written, but what points to it is not: {error.strerror or error}"
            self._failed(CheckpointWriteError(error.errno or errno.EIO, text))

    def _failed(self, error: CheckpointWriteError) -> None:
        self.failure = error
        if self.ending:  # told with the last line of the run
            return
        if self.on_full == "stop":
            raise error
        if self.world.rank == 0:
            LOG.error("%s. Training goes on.", error.strerror)


class _Flight(threading.Thread):
    """One save in flight. Not a daemon: the interpreter waits for it before it ends."""

    def __init__(
        self,
        path: Path,
        write: Callable[[], None],
        on_done: Callable[[], None] | None,
        landed: Callable[[BaseException | None], None],
    ) -> None:
        super().__init__(name=f"save {path.name}")
        self.path, self.write, self.on_done, self.landed = path, write, on_done, landed
        self.error: BaseException | None = None

    def run(self) -> None:
        """Write what there is to write."""
        try:
            self.write()
        except BaseException as error:  # comes up in the main thread
            self.error = error
        del self.write
        self.landed(self.error)
