"""What several ranks train in the tests: a small set of images and a net whose sizes no number of ranks divides."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

__all__ = ["Block", "Blocks", "Net"]


class Blocks(Dataset[Any]):
    """Images by number, bright where their class is; every pixel counts."""

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(0, 3, (6, 6), generator=generator)
        return label.float().expand(3, 6, 6) + 0.5 * torch.randn(3, 6, 6, generator=generator), label


class Block(nn.Module):
    """A convolution and a norm beside the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(1, width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """N x C x H x W, unchanged in shape."""
        return image + self.norm(self.conv(image)).relu()


class Net(nn.Module):
    """A stem and a head round blocks; 5 is divided by neither 2 nor 4, and 3 is less than 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 1)
        self.blocks = nn.ModuleList([Block(5), Block(5)])
        self.head = nn.Conv2d(5, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """N x 3 x H x W to as many classes."""
        image = self.stem(image)
        for block in self.blocks:
            image = block(image)
        return self.head(image)

    def get_layer_id(self, name: str) -> int:
        """How deep a parameter lies, for layer decay."""
        return {"stem": 0, "blocks": 1, "head": 2}[name.split(".")[0]]
