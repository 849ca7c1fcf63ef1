"""The batch of a graph: tensors of its own, filled from any batch of its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataSample
from seg_runner.model.graph.inputs import StaticBatch, kind_of_batch

CPU = torch.device("cpu")


def sample(value: float, name: str = "a") -> SegDataSample:
    made = SegDataSample(metainfo={"img_path": name})
    made.gt_sem_seg = PixelData(data=torch.full((1, 2, 2), value))
    return made


def test_samples_and_tensors_are_filled_and_the_given_ones_left_alone() -> None:
    image = torch.zeros(3)
    first = {"inputs": [image, image], "data_samples": [sample(0), sample(0)], "name": "x"}
    static = StaticBatch(first, CPU)
    static.fill({"inputs": [torch.ones(3), torch.full((3,), 2.0)], "data_samples": [sample(3), sample(4)], "name": "y"})
    inputs, samples = static.batch["inputs"], static.batch["data_samples"]
    assert [float(one[0]) for one in inputs] == [1.0, 2.0]  # two tensors, though the first batch had one twice
    assert [float(one.gt_sem_seg.data[0, 0, 0]) for one in samples] == [3.0, 4.0]
    assert float(image.sum()) == 0
    assert float(first["data_samples"][0].gt_sem_seg.data.sum()) == 0  # type: ignore[attr-defined, index]


def test_a_step_may_put_others_into_its_batch() -> None:
    static = StaticBatch({"data_samples": [sample(0)]}, CPU)
    given = static.batch["data_samples"][0].gt_sem_seg.data
    static.batch["data_samples"][0].gt_sem_seg = PixelData(data=torch.zeros(1, 9, 9))
    static.fill({"data_samples": [sample(5)]})
    assert float(given[0, 0, 0]) == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((torch.zeros(2), 1.0), (torch.ones(2), 1.0), True),
        ((torch.zeros(2), 1.0), (torch.zeros(2), 2.0), False),
        ((torch.zeros(2), "a"), (torch.zeros(2), "b"), True),
        (torch.zeros(2, 3), torch.zeros(3, 2).t(), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), False),
        ([sample(1, "a")], [sample(2, "b")], True),
    ],
)
def test_what_one_graph_can_serve(one: Any, other: Any, same: bool) -> None:
    assert (kind_of_batch(one) == kind_of_batch(other)) is same
