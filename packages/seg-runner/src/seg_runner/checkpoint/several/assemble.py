"""Reading a set of files: the tensors that lie in shards are put where they belong, mapped from the files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from seg_runner.checkpoint.several.layout import DTYPES, PLACEHOLDER, REST, Manifest, Part, Stored, read_manifest
from seg_runner.distributed.shards import Cut
from seg_runner.errors import CheckpointError
from seg_runner.trees import map_paths

__all__ = ["read_set"]


def read_set(folder: Path, read_file: Callable[[Path], Any], cuts: Mapping[torch.Size, Cut] | None = None) -> Any:
    """Return the checkpoint of a set, as it would come out of one file.

    A tensor that lies in one piece is mapped from its file (copy on write), so a rank reads of the disk only what it
    looks at; one in several parts is put together in memory.

    Args:
        folder: The set.
        read_file: Reads `rest.pth`.
        cuts: Tensors of these shapes that lie in several parts are read as this rank keeps them: its block alone.

    Raises:
        CheckpointError: What is in it cannot be read, or a tensor is named that there is none of.
    """
    manifest = read_manifest(folder)
    if not (folder / REST).is_file():  # a pipe would be waited for
        raise CheckpointError(f"{folder} is not a whole checkpoint: {REST} is missing")
    shards = Shards(folder, manifest, cuts or {})

    def put_in(path: object, value: object) -> object:
        named = isinstance(value, dict) and len(value) == 1 and PLACEHOLDER in value
        return shards.tensor(value[PLACEHOLDER]) if named else value  # type: ignore[index]  # it is a dict

    return map_paths(read_file(folder / REST), put_in)


class Shards:
    """The tensors in the shards of a set; each file is mapped once.

    Args:
        folder: The set.
        manifest: What it says of itself.
        cuts: How tensors of a shape are cut.
    """

    def __init__(self, folder: Path, manifest: Manifest, cuts: Mapping[torch.Size, Cut]) -> None:
        self.folder, self.manifest, self.cuts = folder, manifest, cuts
        self._files: dict[str, torch.UntypedStorage] = {}
        self._made: dict[str, torch.Tensor] = {}

    def tensor(self, key: object) -> torch.Tensor:
        """Return a whole tensor; one that is asked for again lies in the same memory."""
        if not isinstance(key, str) or key not in self.manifest.tensors:
            raise CheckpointError(f"{self.folder}: {REST} names the tensor {key!r:.80}, which is in none of the shards")
        if key not in self._made:
            self._made[key] = self._read(self.manifest.tensors[key])
        return self._made[key].detach()

    def _read(self, stored: Stored) -> torch.Tensor:
        if len(stored.parts) == 1:
            return self._part(stored, stored.parts[0])
        cut = self.cuts.get(torch.Size(stored.shape))
        if cut is not None:
            return cut.put(self._block(stored, cut.block))
        return self._block(stored, tuple(slice(0, length) for length in stored.shape))

    def _block(self, stored: Stored, wanted: tuple[slice, ...]) -> torch.Tensor:
        """Put a block of a tensor together; parts that are not in it are not looked at."""
        found = torch.zeros([each.stop - each.start for each in wanted], dtype=DTYPES[stored.dtype])
        for part in stored.parts:
            begins = [max(at, each.start) for at, each in zip(part.offsets, wanted, strict=True)]
            sides = zip(part.offsets, part.sizes, wanted, strict=True)
            ends = [min(at + size, each.stop) for at, size, each in sides]
            if any(end <= begin for begin, end in zip(begins, ends, strict=True)):
                continue
            there = (slice(b - each.start, e - each.start) for b, e, each in zip(begins, ends, wanted, strict=True))
            here = (slice(b - at, e - at) for b, e, at in zip(begins, ends, part.offsets, strict=True))
            found[tuple(there)] = self._part(stored, part)[tuple(here)]
        return found

    def _part(self, stored: Stored, part: Part) -> torch.Tensor:
        dtype = DTYPES[stored.dtype]
        if not (size := math.prod(part.sizes) * stored.itemsize):
            return torch.empty(part.sizes, dtype=dtype)
        if part.file not in self._files:
            path = self.folder / part.file
            if not path.is_file() or path.stat().st_size != self.manifest.files[part.file][0]:
                raise CheckpointError(f"{path} is missing, or not as long as it was")
            mapped: Any = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
            self._files[part.file] = mapped
        memory: Any = self._files[part.file][part.begin : part.begin + size]
        block: torch.Tensor = torch.empty((0,), dtype=dtype).set_(memory).view(part.sizes)
        return block
