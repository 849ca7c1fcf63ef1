"""Small models whose parameter names are those of real families."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A transformer block in name, a linear layer in size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc(self.norm1(x))


class TinyViT(nn.Module):
    """Names of a plain ViT: cls_token, pos_embed, patch_embed, blocks, norm, head."""

    def __init__(self, depth: int = 3, width: int = 4) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 3, width))
        self.patch_embed = nn.Linear(4, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.cls_token[0] + self.pos_embed[0, :1]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class TinyConvNet(nn.Module):
    """Two convolutions, a norm, a depthwise one and a head of 1 x 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.depthwise(torch.relu(self.norm(self.stem(x)))))


@pytest.fixture
def vit() -> TinyViT:
    torch.manual_seed(0)
    return TinyViT()


@pytest.fixture
def convnet() -> TinyConvNet:
    torch.manual_seed(0)
    return TinyConvNet()


@pytest.fixture
def images() -> Callable[[int], Tensor]:
    return lambda seed: torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
