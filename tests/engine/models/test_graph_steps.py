"""A Segmentor with samples, an auxiliary head and ignored pixels can be captured: the same to the last bit."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from seg_optim import OptimWrapper
from seg_runner import PixelData, SegDataSample
from seg_runner.model.graph.options import GraphOptions
from seg_runner.model.graph.step import GraphStep, capture_steps

from seg_engine.models.segmentor import Segmentor

PREPARE = {"type": "SegDataPreProcessor", "mean": [128.0] * 3, "std": [64.0] * 3, "size": (16, 16)}
SMALL = {"channels": 4, "num_classes": 3}


def segmentor(loss: dict[str, Any], **more: Any) -> Segmentor:
    torch.manual_seed(0)
    return Segmentor(
        {"type": "TinyConvNeXt", "depths": (1, 1), "channels": (4, 8)},
        {"type": "FuseHead", "in_channels": [4, 8], **SMALL, "loss_decode": loss, **more},
        auxiliary_head={"type": "TinyFCNHead", "in_channels": 8, "in_index": 1, **SMALL},
        data_preprocessor=PREPARE,
    )


def batch(seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index in range(2):
        sample = SegDataSample(metainfo={"ori_shape": (16, 16), "img_path": f"{seed}_{index}.png"})
        labels = torch.randint(0, 4, (1, 16, 16), generator=generator)
        sample.gt_sem_seg = PixelData(data=torch.where(labels == 3, 255, labels))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator) for _ in samples]
    return {"inputs": images, "data_samples": samples}


@pytest.mark.parametrize("options", [{}, {"class_weight": [1.0, 2.0, 0.5]}, {"loss_weight": 0.3}])
def test_the_same_with_and_without_a_graph(options: dict[str, Any]) -> None:
    found = []
    for captured in (False, True):
        model = segmentor({"type": "CrossEntropyLoss", **options})
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), 0.01, fused=True), clip_grad={"max_norm": 1.0})
        if captured:
            capture_steps(model, wrapper, GraphOptions(stand_in=True), torch.device("cpu"), logging.getLogger("test"))
        losses = [model.train_step(batch(seed), optim_wrapper=wrapper) for seed in range(8)]
        found.append([{name: float(value) for name, value in one.items()} for one in losses])
    assert found[0] == found[1]
    assert isinstance(model.train_step, GraphStep)
    assert model.train_step.captured == 1


@pytest.mark.parametrize("kind", ["DiceLoss", "FocalLoss", "TverskyLoss"])
def test_losses_that_pick_pixels_out_cannot(kind: str) -> None:
    """How many pixels count is then known on the device alone, and the host waits for it at each step."""
    model = segmentor({"type": kind})
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), 0.01, fused=True))
    options = GraphOptions(stand_in=True, warm_up=1)
    capture_steps(model, wrapper, options, torch.device("cpu"), logging.getLogger("test"))
    model.train_step(batch(0), optim_wrapper=wrapper)
    with pytest.raises(RuntimeError, match="the host would wait"):
        model.train_step(batch(1), optim_wrapper=wrapper)
