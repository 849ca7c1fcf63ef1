"""The wrapper of seg-optim and the adapter of seg-runner: accumulating is the same as a larger batch."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny import config
from seg_optim import OptimWrapper
from seg_runner import LogitsModel, Runner
from torch import nn


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (12, 6, 6), generator=generator)
    for index in range(12):
        masks[index, : index % 5] = 255
    return torch.randn(12, 3, 6, 6, generator=generator), masks


@pytest.mark.parametrize("counts", [2, 3])
def test_k_batches_of_b_equal_one_of_k_times_b(counts: int) -> None:
    torch.manual_seed(0)
    large = LogitsModel(nn.Conv2d(3, 3, 3), nn.CrossEntropyLoss(ignore_index=255))
    small = copy.deepcopy(large)
    wrappers = [
        OptimWrapper(torch.optim.SGD(large.parameters(), 0.5, momentum=0.9), clip_grad={"max_norm": 1.0}),
        OptimWrapper(torch.optim.SGD(small.parameters(), 0.5, momentum=0.9), counts, clip_grad={"max_norm": 1.0}),
    ]
    wrappers[0].initialize_count_status(large, 0, 8)
    wrappers[1].initialize_count_status(small, 0, 8 * counts)
    images, masks = data()
    for _ in range(8):
        large.train_step((images, masks), wrappers[0])
        for part in zip(images.chunk(counts), masks.chunk(counts), strict=True):
            small.train_step(part, wrappers[1])
    for one, other in zip(large.parameters(), small.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_last_shorter_window_is_right_as_well() -> None:
    torch.manual_seed(0)
    large = LogitsModel(nn.Conv2d(3, 3, 3))
    small = copy.deepcopy(large)
    images, masks = data()
    one, many = (OptimWrapper(torch.optim.SGD(net.parameters(), 0.5), n) for net, n in ((large, 1), (small, 4)))
    one.initialize_count_status(large, 0, 2)
    many.initialize_count_status(small, 0, 6)
    for start, end in ((0, 8), (8, 12)):
        large.train_step((images[start:end], masks[start:end]), one)
    for part in zip(images.chunk(6), masks.chunk(6), strict=True):
        small.train_step(part, many)
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("counts", "steps"), [(1, [None, None, None]), (4, [0, 1, 2])])
def test_the_log_tells_steps_of_the_optimizer_beside_iterations(
    counts: int, steps: list[int | None], tmp_path: Path
) -> None:
    cfg = config(tmp_path)
    cfg["optim_wrapper"]["accumulative_counts"] = counts
    runner = Runner.from_cfg(cfg)
    runner.train()
    lines = (Path(runner.log_dir) / "vis_data/scalars.json").read_text().splitlines()
    records = [one for one in map(json.loads, lines) if one["mode"] == "train"]
    assert [(one["iter"], one.get("optim_step")) for one in records] == list(zip([2, 4, 6], steps, strict=True))
    text = next(Path(runner.log_dir).glob("*.log")).read_text()
    assert ("optim_step: 1" in text) == (counts > 1)
