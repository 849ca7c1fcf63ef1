"""Writing a set of files: torch's DCP says which rank writes which part of which tensor, each writes its own.

Everything is written in a folder of another name. Once all ranks have told that their files are written and synced,
rank 0 adds the rest and the manifest, and gives the folder its name: a set is whole or absent, whoever is killed when.
"""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from seg_runner.checkpoint.content import to_cpu, to_plain
from seg_runner.checkpoint.finite import mark, not_finite, optimizer_not_finite
from seg_runner.checkpoint.several.layout import ALIGNED, REST, Manifest, Part, Stored, digest_of, write_manifest
from seg_runner.checkpoint.several.split import Content, nested
from seg_runner.checkpoint.write import CheckpointWriteError, explained, place_of, write_plain
from seg_runner.distributed.shards import is_sharded
from seg_runner.files import Background, Writable, new_folder, put_in_place, write_whole

__all__ = ["write_set"]

MOST_NAMED = 20
"""So many names of tensors that are not finite a manifest holds."""


def write_set(path: Path, content: Content, group: Any = None) -> None:
    """Write a checkpoint as a set of files, whole or not at all; called by all ranks of the group.

    Args:
        path: The name of the folder; what is there is replaced.
        content: What this rank brings.
        group: The processes, on the CPU; None: this one alone.

    Raises:
        CheckpointWriteError: A disk is full, a folder cannot be written, ...; on all ranks, with the same words.
    """
    writer = _Writer(path, content, 0 if group is None else distributed.get_rank(group))
    with writer:
        if group is None:
            _save_alone(writer)
            return
        try:
            planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
            save(content.tensors, storage_writer=writer, planner=planner, process_group=group)
        except CheckpointException as error:
            raise _told(path, error) from error


def _save_alone(writer: _Writer) -> None:
    """Do what `dcp.save` does, without other processes."""
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    try:
        planner.set_up_planner(writer.content.tensors, is_coordinator=True)
        plans, metadata = planner.create_global_plan([planner.create_local_plan()])
        (plan,) = writer.prepare_global_plan(plans)
        results = writer.write_data(planner.finish_plan(plan), planner).wait()
        writer.finish(metadata, [results])
    except OSError as error:
        raise explained(writer.path, error) from error


def _told(path: Path, error: CheckpointException) -> Exception:
    """Return what the ranks failed with as one error, the same on all of them."""
    rank, (cause, _) = min(error.failures.items())
    if isinstance(cause, OSError):
        found = explained(path, cause)
        return CheckpointWriteError(found.errno, f"{found.strerror} (told by rank {rank})")
    return RuntimeError(f"checkpoint {path} was not written: rank {rank}: {type(cause).__name__}: {cause}")


@dataclass(frozen=True)
class _File:
    """What a rank has written: its file, and which of the values in it are not finite."""

    name: str
    size: int
    digest: str
    bad: list[str]
    bad_optimizer: list[str]


@dataclass(frozen=True)
class _Written:
    """Where a part of a tensor lies."""

    file: _File
    begin: int


class _Writer(StorageWriter):
    """What DCP calls, on each rank, to write the parts that it has dealt out.

    Args:
        path: The name of the folder at the end.
        content: What this rank brings.
        rank: The number of this process.
    """

    def __init__(self, path: Path, content: Content, rank: int) -> None:
        self.path, self.content, self.rank = path, content, rank
        self.folder: Path | None = None
        self.stack = ExitStack()

    def __enter__(self) -> None:
        self.stack.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.stack.close()
        if kind is not None and self.folder is not None:  # on a disk that rank 0 does not see
            shutil.rmtree(self.folder, ignore_errors=True)

    def reset(self, checkpoint_id: object = None) -> None:
        """Do nothing: a writer writes one set."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: object, **kwargs: object) -> None:
        """Do nothing: the folder is made once all have told what they have."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        """Tell that no address is taken."""
        return False

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Make the folder, on rank 0, and tell all ranks its name."""
        self.folder = self.stack.enter_context(new_folder(self.path))
        return [replace(plan, storage_data=str(self.folder)) for plan in plans]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's parts into one file."""
        self.folder = Path(plan.storage_data)
        done: Future[list[WriteResult]] = Future()
        done.set_result(self._write(self.folder, plan.items, planner) if plan.items else [])
        return done

    def _write(self, folder: Path, items: list[WriteItem], planner: SavePlanner) -> list[WriteResult]:
        begins, size = [], 0
        for item in items:
            begins.append(size)
            size += -(-_bytes_of(item) // ALIGNED) * ALIGNED
        hasher, name = xxhash.xxh3_128(), f"rank_{self.rank}.shards"
        write_whole(folder / name, partial(_write_items, items, planner, hasher), size)
        parts = nested({self.content.paths[item.index.fqn]: _local(planner.resolve_data(item)) for item in items})
        file = _File(name, size, hasher.hexdigest(), not_finite(parts), optimizer_not_finite(parts))
        pairs = zip(items, begins, strict=True)
        return [WriteResult(item.index, _bytes_of(item), _Written(file, begin)) for item, begin in pairs]

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Add, on rank 0, the rest and the manifest, and give the folder its name."""
        assert self.folder is not None, "the folder is made before anything is written"
        written = {(each.index.fqn, tuple(each.index.offset or ())): each.storage_data for each in chain(*results)}
        files = {each.file.name: each.file for each in written.values()}
        for file in files.values():
            _check_seen(self.folder / file.name, file.size)
        rest = to_cpu(to_plain(self.content.rest))
        _mark(rest, files.values())
        write_plain(self.folder / REST, rest)
        known = {file.name: (file.size, file.digest) for file in files.values()}
        known[REST] = (self.folder / REST).stat().st_size, digest_of(self.folder / REST)
        tensors = {key: _stored(key, found, written) for key, found in metadata.state_dict_metadata.items()}
        write_manifest(self.folder, Manifest(place_of(rest), known, tensors, len(results)))
        put_in_place(self.folder, self.path)


def _write_items(items: list[WriteItem], planner: SavePlanner, hasher: Any, file: Writable) -> None:
    def add(pieces: list[Any]) -> None:
        for piece in pieces:
            hasher.update(piece)

    with Background("checksum") as background:
        for item in items:
            tensor = _local(planner.resolve_data(item)).cpu().contiguous()
            content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            data = memoryview(content)
            pieces: list[Any] = [data, bytes(-len(data) % ALIGNED)]
            background(add, pieces)
            file.writelines(pieces)


def _local(value: Any) -> torch.Tensor:
    """Return what this rank has of a tensor."""
    tensor: torch.Tensor = value.to_local() if is_sharded(value) else value
    return tensor.detach()


def _bytes_of(item: WriteItem) -> int:
    assert item.tensor_data is not None, "only tensors are given to DCP"
    return math.prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize


def _check_seen(path: Path, size: int) -> None:
    """Refuse a set of which rank 0 does not see a part: nobody could read it."""
    if not path.is_file() or path.stat().st_size != size:
        raise OSError(
            errno.ENOENT,
            f"{path.name} was written on another machine and is not to be seen on that of rank 0: sharded=True needs a "
            "folder on a disk that all ranks share; without it rank 0 writes one file",
        )


def _mark(rest: dict[str, Any], files: Collection[_File]) -> None:
    """Write into `meta` what is not finite, as the ranks have found it, unless it is there already."""
    meta = rest.get("meta")
    if not isinstance(meta, dict) or {"not_finite", "optimizer_not_finite"} & meta.keys():
        return
    mark(rest)
    meta = rest["meta"]
    for name, found in (
        ("not_finite", [file.bad for file in files]),
        ("optimizer_not_finite", [file.bad_optimizer for file in files]),
    ):
        if any(found):
            meta[name] = list(dict.fromkeys([*meta.get(name, []), *chain(*found)]))[:MOST_NAMED]


def _stored(key: str, found: Any, written: Mapping[Any, _Written]) -> Stored:
    """Return where the parts of a tensor lie, as the ranks have told it."""
    parts = []
    for chunk in found.chunks:
        told = written[key, tuple(chunk.offsets)]
        parts.append(Part(tuple(chunk.offsets), tuple(chunk.sizes), told.file.name, told.begin))
    return Stored(str(found.properties.dtype).removeprefix("torch."), tuple(found.size), tuple(parts))
