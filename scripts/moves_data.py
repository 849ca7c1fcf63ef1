"""Samples of MMSegmentation's kind without files: small, and drawn from their index."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["SmallSamples", "register"]


class SmallSamples(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """A data set that draws image and labels from the index.

    Args:
        classes: How many classes there are.
        size: Height and width.
        channels: Of the image.
        length: How many samples.
        ignored: Have a row of pixels that are of no class (255).
        edge: Add `gt_edge_map`, as GenerateEdge does.
        depth: Add `gt_depth_map`, as LoadDepthAnnotation does.
        img_path: What the samples give as their file.
    """

    def __init__(
        self,
        classes: int,
        size: tuple[int, int],
        channels: int = 3,
        length: int = 4,
        *,
        ignored: bool = True,
        edge: bool = False,
        depth: bool = False,
        img_path: str = "",
    ) -> None:
        self.classes, self.size, self.channels, self.length = classes, tuple(size), channels, length
        self.ignored, self.edge, self.depth, self.img_path = ignored, edge, depth, img_path
        self.metainfo = {
            "classes": tuple(f"class {index}" for index in range(classes)),
            "palette": [[index, 255 - index, index * 7 % 256] for index in range(classes)],
        }

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        generator = torch.Generator().manual_seed(index)
        facts = {"img_path": self.img_path, "seg_map_path": self.img_path, "reduce_zero_label": False}
        shapes = dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), self.size)
        sample = SegDataSample(metainfo={**facts, **shapes, "scale_factor": (1.0, 1.0), "flip": False})
        for name, values in self._truth(generator).items():
            setattr(sample, name, PixelData(data=values[None]))
        image = torch.randint(0, 256, (self.channels, *self.size), generator=generator).byte()
        return {"inputs": image, "data_samples": sample}

    def _truth(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return label maps: bands of classes, with a border that is ignored."""
        height, width = self.size
        column = torch.randint(0, self.classes, (8,), generator=generator)
        labels = column.repeat_interleave(-(-width // 8))[:width].expand(height, width).clone()
        labels[height // 2 :] = labels[: height - height // 2].roll(width // 3, 1)
        if self.ignored:
            labels[0] = 255
        truth = {"gt_sem_seg": labels}
        if self.edge:
            truth["gt_edge_map"] = (labels != labels.roll(1, 1)).long()
        if self.depth:
            truth["gt_depth_map"] = 1 + 8 * torch.rand(self.size, generator=generator)
        return truth


def register() -> None:
    """Give MMSegmentation's registry this data set, as a project's own is given to it."""
    from mmseg.registry import DATASETS

    DATASETS.register_module(name="SmallSamples", module=SmallSamples, force=True)
