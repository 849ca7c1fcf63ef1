"""Validation of images in memory: CPU time and peak memory of a pass, whole and in windows, beside a loop by hand.

Run with `./run bench validation` (`--peers`: MMSegmentation too). A pass is two images with a network of two
convolutions, so that what stands around the network is seen: normalisation, windows, resizing, the best class, counts.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from _contest import Contest, Contestant, Goal, main

IMAGES = 2
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class Case:
    """Images of a data set, and how a model looks at them."""

    classes: int
    size: tuple[int, int]
    stored: tuple[int, int]
    """The size of the labels, to which logits are brought."""
    slide: dict[str, tuple[int, int]] | None = None

    @property
    def test_cfg(self) -> dict[str, Any]:
        """As configs have it."""
        return {"mode": "slide", **self.slide} if self.slide else {"mode": "whole"}


CASES = {
    "Cityscapes, whole": Case(19, (1024, 2048), (1024, 2048)),
    "Cityscapes, windows": Case(19, (1024, 2048), (1024, 2048), {"crop_size": (769, 769), "stride": (513, 513)}),
    "ADE20K, whole": Case(150, (512, 683), (512, 683)),
    "ADE20K, whole, resized": Case(150, (512, 512), (768, 768)),
    "ADE20K, windows": Case(150, (512, 683), (512, 683), {"crop_size": (512, 512), "stride": (341, 341)}),
}


def images_of(case: Case) -> list[tuple[Any, Any]]:
    """Images as files give them, and their labels."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def numbers(top: int, shape: tuple[int, ...]) -> Any:
        return torch.randint(0, top, shape, dtype=torch.uint8, generator=generator)

    return [(numbers(256, (3, *case.size)), numbers(case.classes, case.stored)) for _ in range(IMAGES)]


def network_of(case: Case) -> Any:
    """Logits at a quarter of the size."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, case.classes, 1)).eval()


def bare(case: Case) -> Callable[[], None]:
    """The loop by hand: the sum over windows in place, `max` for the best class, counts in int64."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    net, data = network_of(case), images_of(case)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def up(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)

    def in_windows(image: torch.Tensor, crop: int, stride: int) -> torch.Tensor:
        height, width = case.size
        crop_h, crop_w = min(crop, height), min(crop, width)
        total, hits = torch.zeros(1, case.classes, height, width), torch.zeros(1, 1, height, width)
        for row in range(max(height - crop_h + stride - 1, 0) // stride + 1):
            for column in range(max(width - crop_w + stride - 1, 0) // stride + 1):
                top, left = min(row * stride, height - crop_h), min(column * stride, width - crop_w)
                window = (..., slice(top, top + crop_h), slice(left, left + crop_w))
                total[window] += up(net(image[window]), (crop_h, crop_w))
                hits[window] += 1
        return total.div_(hits)

    def counted(pixels: torch.Tensor, labels: torch.Tensor) -> Any:
        """A function, so that nothing of an image is kept while the next one is computed."""
        image = pixels.float().sub_(mean).div_(std)[None]
        if case.slide:
            logits = in_windows(image, case.slide["crop_size"][0], case.slide["stride"][0])
        else:
            logits = up(net(image), case.size)
        if case.stored != case.size:
            logits = up(logits, case.stored)
        guess = logits[0].max(0).indices.numpy().reshape(-1)
        pairs = labels.numpy().reshape(-1).astype(np.intp) * 256 + guess
        return np.bincount(pairs, minlength=1 << 16)

    @torch.no_grad()
    def work() -> None:
        counts = sum(counted(pixels, labels) for pixels, labels in data)
        table = counts.reshape(256, 256)[: case.classes, : case.classes]
        np.nanmean(np.diag(table) / (table.sum(0) + table.sum(1) - np.diag(table)))

    return work


def ours(case: Case) -> Callable[[], None]:
    """The loop of validation, with preprocessor and metric."""
    import torch
    from seg_runner import IoUMetric, LogitsModel, Runner, SegDataPreProcessor, SegDataSample
    from seg_runner.model.samples import PixelData

    def sample_of(labels: torch.Tensor) -> SegDataSample:
        sample = SegDataSample(metainfo={"ori_shape": case.stored, "img_shape": case.size})
        sample.gt_sem_seg = PixelData(data=labels[None])
        return sample

    batches = [{"inputs": [image], "data_samples": [sample_of(labels)]} for image, labels in images_of(case)]
    runner = Runner(
        model=LogitsModel(
            network_of(case), data_preprocessor=SegDataPreProcessor(mean=MEAN, std=STD), test_cfg=case.test_cfg
        ),
        val_dataloader=batches,
        val_evaluator=IoUMetric(num_classes=case.classes),
        work_dir=tempfile.mkdtemp(),
        device="cpu",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        runner.val()

    def work() -> None:
        for sample in (one for batch in batches for one in batch["data_samples"]):
            for name in ("pred_sem_seg", "seg_logits"):  # each pass reads its samples anew
                if name in sample:
                    delattr(sample, name)
        with contextlib.redirect_stdout(io.StringIO()):
            runner.val_loop.run()

    return work


def theirs(case: Case) -> Callable[[], None]:
    """MMSegmentation's segmentor and metric, in a loop by hand."""
    import torch
    from _mmsegmentation import import_mmseg

    import_mmseg()
    from mmengine.config import ConfigDict
    from mmengine.logging import MMLogger
    from mmengine.structures import PixelData
    from mmseg.evaluation import IoUMetric
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    MMLogger.get_instance("mmengine", log_level="ERROR")
    net = network_of(case)

    @MODELS.register_module(force=True)
    class BenchBackbone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net[:2]

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [self.net(images)]

    @MODELS.register_module(force=True)
    class BenchHead(BaseDecodeHead):  # type: ignore[misc]  # of an environment without types
        def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
            return net[2](self._transform_inputs(maps))

    model = MODELS.build(
        {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", "mean": MEAN, "std": STD},
            "backbone": {"type": "BenchBackbone"},
            "decode_head": {"type": "BenchHead", "in_channels": 8, "channels": 8, "num_classes": case.classes},
            "test_cfg": ConfigDict(case.test_cfg),
        }
    ).eval()
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": [str(number) for number in range(case.classes)]}
    data = images_of(case)

    def sample_of(labels: torch.Tensor) -> SegDataSample:
        facts = {"ori_shape": case.stored, "img_shape": case.size, "pad_shape": case.size}
        sample = SegDataSample(metainfo=facts)
        sample.gt_sem_seg = PixelData(data=labels[None].long())
        return sample

    @torch.no_grad()
    def work() -> None:
        for image, labels in data:
            samples = model.val_step({"inputs": [image], "data_samples": [sample_of(labels)]})
            metric.process({}, [sample.to_dict() for sample in samples])
        with contextlib.redirect_stdout(io.StringIO()):
            metric.evaluate(IMAGES)

    return work


def contest(name: str, case: Case, measure: str) -> Contest:
    """One row group: a bare limit, ours, theirs."""
    contestants = {
        "bare": Contestant(partial(bare, case)),
        "ours": Contestant(partial(ours, case)),
        "MMSegmentation": Contestant(partial(theirs, case), "mmseg", "parity", rounds=3),
    }
    goals = [Goal("ours", ratio=1.05)]
    if measure == "peak":
        return Contest(f"{name}: peak memory", contestants, "peak", "MB", rounds=3, seconds=1, goals=goals)
    return Contest(f"{name}: a pass", contestants, rounds=7, seconds=8, goals=goals)


CONTESTS = [contest(name, case, measure) for measure in ("cpu", "peak") for name, case in CASES.items()]

if __name__ == "__main__":
    main(CONTESTS)
