"""A batch leaves a worker as one block of shared memory, and arrives as it would have without workers."""

from __future__ import annotations

import io
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import PixelData, SegDataSample, TrainBatches
from seg_runner.data import one_block
from seg_runner.data.one_block import InOneBlock
from seg_runner.data.private_loader import NamedLoader
from seg_runner.data.samples import default_collate, pseudo_collate
from seg_runner.process.randomness import Randomness
from torch.utils.data import DataLoader, Dataset


class Street(Dataset[Any]):
    """Images and label maps, as PackSegInputs gives them."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        sample = SegDataSample(metainfo={"img_path": f"{index}.png", "scale_factor": (0.5, 2.0)})
        sample.gt_sem_seg = PixelData(data=torch.full((1, 4, 6), index))
        return {"inputs": torch.full((3, 4, 6), index, dtype=torch.uint8), "data_samples": sample}


class Pairs(Street):
    """The usual data set of torch."""

    def __getitem__(self, index: int) -> Any:
        return torch.full((3, 5), float(index)), index


def loader(dataset: Dataset[Any], workers: int, collate: Any = pseudo_collate) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=collate)


def storages(*tensors: torch.Tensor) -> int:
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors})


@pytest.mark.parametrize("stream", ["sample", "mmengine"])
def test_a_batch_of_a_worker_lies_in_one_block(stream):
    batches = TrainBatches(loader(Street(), 1), Randomness(seed=0, stream=stream))
    batch = next(batches)
    batches.close()
    labels = [sample.gt_sem_seg.data for sample in batch["data_samples"]]
    assert type(batch["inputs"]) is list
    assert storages(*batch["inputs"], *labels) == 1  # of 8 tensors, each a file of its own before
    assert [image.unique().tolist() for image in batch["inputs"]] == [label.unique().tolist() for label in labels]
    assert [str(s.img_path) for s in batch["data_samples"]] == [f"{int(label.max())}.png" for label in labels]
    assert (batch["inputs"][0].dtype, labels[0].dtype) == (torch.uint8, torch.int64)
    assert labels[0].shape == (1, 4, 6)
    assert all(tensor.is_contiguous() and tensor.is_shared() for tensor in (*batch["inputs"], *labels))


def test_stacked_tensors_are_not_copied_again():
    batch = next(iter(NamedLoader(loader(Pairs(), 1, default_collate))))
    assert batch[0].tolist() == [[[float(i)] * 5] * 3 for i in range(4)]
    assert batch[1].tolist() == [0, 1, 2, 3]
    assert storages(*batch) == 2  # torch stacked them into shared memory already


def test_a_single_sample_without_a_batch_arrives_as_it_is():
    samples = NamedLoader(DataLoader(Street(), batch_size=None, num_workers=1))
    assert [int(sample["inputs"].max()) for sample in samples] == list(range(8))


def test_without_workers_nothing_is_packed():
    assert NamedLoader(loader(Street(), 0)).loader.collate_fn is pseudo_collate
    batch = InOneBlock(pseudo_collate)([{"x": torch.ones(2)}])
    assert not batch["x"][0].is_shared()


def sent(batch: Any) -> Any:
    """Send a batch from this process to itself."""
    return pickle.loads(bytes(ForkingPickler.dumps(one_block._Packed(batch))))


def test_views_strides_and_doubles_arrive_as_they_were():
    whole = torch.arange(24, dtype=torch.int16).reshape(4, 6)
    batch = sent({"whole": whole, "turned": whole.T, "row": whole[1], "again": whole, "many": torch.ones(1).expand(9)})
    assert batch["turned"].stride() == (1, 6)
    assert batch["row"].tolist() == whole[1].tolist()
    batch["whole"][1] = 5
    assert batch["row"].tolist() == [5] * 6
    assert batch["again"] is batch["whole"]
    assert batch["many"].tolist() == [1.0] * 9


def test_parts_of_one_numpy_array_arrive_whole():
    pixels = np.arange(100.0)
    given = {"first": torch.from_numpy(pixels[:1]), "all": torch.from_numpy(pixels), "other": torch.zeros(100)}
    got = sent(given)  # the first two begin at one address, in storages of their own
    assert all(torch.equal(got[name], given[name]) for name in given)


def test_types_of_all_widths_lie_side_by_side():
    kinds = (torch.uint8, torch.int64, torch.bool, torch.bfloat16, torch.complex64, torch.float64)
    given = [torch.ones(n + 1).to(kind) for n, kind in enumerate(kinds)]
    got = sent(given)
    assert [one.dtype for one in got] == list(kinds)
    assert all(torch.equal(one, other) for one, other in zip(got, given, strict=True))
    assert storages(*got) == 1


def test_tensors_made_while_a_sample_is_pickled_are_told_apart():
    packer = one_block._Packer(io.BytesIO())
    places = [packer.persistent_id(torch.full((4,), number)) for number in range(50)]  # each is freed at once
    assert len({place[0] for place in places}) == 50
    block = packer.block()
    assert block is not None
    numbers = [int(block[64 * place : 64 * place + 8].view(torch.int64)) for place in range(50)]
    assert numbers == list(range(50))


class Counted(torch.Tensor):
    """A tensor with a class of its own."""


def test_other_tensors_and_values_travel_as_torch_sends_them():
    shared = torch.ones(3).share_memory_()
    batch = {
        "shared": shared,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "own": torch.ones(2).as_subclass(Counted),
        "empty": torch.zeros(0, 4),
        "array": np.arange(3),
        "text": "a",
        "none": None,
    }
    got = sent(batch)
    got["shared"][0] = 7
    assert shared[0] == 7  # the same memory
    assert isinstance(got["parameter"], torch.nn.Parameter)
    assert type(got["own"]) is Counted
    assert got["empty"].shape == (0, 4)
    assert (got["array"].tolist(), got["text"], got["none"]) == ([0, 1, 2], "a", None)


class Unsendable(Pairs):
    """Gives what cannot be pickled."""

    def __getitem__(self, index: int) -> Any:
        return {"inputs": torch.ones(2), "how": lambda: index}


def test_what_cannot_be_sent_is_an_error_and_no_endless_wait():
    batches = TrainBatches(loader(Unsendable(), 1), Randomness(seed=0))
    with pytest.raises(Exception, match=r"pickle|local object") as caught:
        next(batches)
    batches.close()
    assert "putting together sample" in "".join(getattr(caught.value, "__notes__", []))
