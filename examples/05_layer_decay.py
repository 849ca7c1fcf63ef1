"""Layer-wise learning-rate decay in a hand-written loop: what each layer learns with, and why.

Run `python examples/05_layer_decay.py`; it needs seg-optim and torch.
"""

from __future__ import annotations

import torch
from seg_optim import LinearLR, OptimWrapper, PolyLR, explain, freeze, layer_decay_param_groups, plot_schedule
from torch import Tensor, nn

MAX_ITERS = 60


class Block(nn.Module):
    """One block of a plain transformer-like backbone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block has to say."""
        return x + self.mlp(self.norm(x))


class Segmentor(nn.Module):
    """A backbone with the names that ViT has everywhere, and a head that gives logits per pixel."""

    def __init__(self, width: int = 16, depth: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "patch_embed": nn.Linear(3, width),
                "blocks": nn.ModuleList(Block(width) for _ in range(depth)),
                "norm": nn.LayerNorm(width),
            }
        )
        self.decode_head = nn.Linear(width, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of each pixel."""
        x = self.backbone["patch_embed"](pixels)
        for block in self.backbone["blocks"]:
            x = block(x)
        return self.decode_head(self.backbone["norm"](x))


def main() -> None:
    torch.manual_seed(0)
    net = Segmentor()
    frozen = freeze(net, "backbone.patch_embed", until=20)  # its weights begin to learn at iteration 20
    groups = layer_decay_param_groups(net, lr=3e-3, weight_decay=0.05, decay_rate=0.6, min_scale=0.05)
    optimizer = torch.optim.AdamW(groups)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2, clip_grad={"max_norm": 1.0})
    print(explain(net, wrapper), end="\n\n")

    schedule = [
        {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 10, "by_epoch": False},
        {"type": "PolyLR", "power": 0.9, "eta_min_ratio": 0.01, "begin": 10, "end": MAX_ITERS, "by_epoch": False},
    ]
    print(plot_schedule(schedule, MAX_ITERS, lr={"head": 3e-3}).sparkline(), end="\n\n")
    schedulers = [
        LinearLR(wrapper, start_factor=0.1, begin=0, end=10, by_epoch=False),
        PolyLR(wrapper, power=0.9, eta_min_ratio=0.01, begin=10, end=MAX_ITERS, by_epoch=False),
    ]

    wrapper.initialize_count_status(net, 0, MAX_ITERS)
    for iteration in range(MAX_ITERS):
        frozen.update(iteration)
        pixels = torch.rand(8, 64, 3)
        labels = pixels.argmax(dim=-1)
        with wrapper.optim_context(net):
            loss = nn.functional.cross_entropy(net(pixels).flatten(0, 1), labels.flatten())
        wrapper.update_params(loss)
        for scheduler in schedulers:
            scheduler.step()
        if iteration % 10 == 9:
            rates = wrapper.get_lr()["lr"]
            print(
                f"iter {iteration + 1:3d}  loss {loss.item():.3f}  lr {rates[0]:.2e} (embedding) {rates[-1]:.2e} (head)"
            )


if __name__ == "__main__":
    main()
