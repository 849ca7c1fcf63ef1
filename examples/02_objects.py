"""Train a segmentation network from plain objects: no config, no registry, no base class. Needs seg-runner alone."""

from __future__ import annotations

import torch
from seg_runner import IoUMetric, Runner
from torch.utils.data import DataLoader, TensorDataset


def squares(count: int, seed: int) -> TensorDataset:
    """Noisy images with a bright square somewhere, and masks that say where."""
    generator = torch.Generator().manual_seed(seed)
    images, masks = torch.randn(count, 3, 32, 32, generator=generator), torch.zeros(count, 32, 32, dtype=torch.long)
    for image, mask in zip(images, masks, strict=True):
        top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
        mask[top : top + 12, left : left + 12] = 1
        image += 2.0 * mask
    return TensorDataset(images, masks)


def main() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3, padding=1))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    runner = Runner(
        model=net,
        loss=torch.nn.CrossEntropyLoss(ignore_index=255),
        train_dataloader=DataLoader(squares(64, seed=0), batch_size=8, shuffle=True),
        optim_wrapper=optimizer,
        param_scheduler=torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=80, power=0.9),
        val_dataloader=DataLoader(squares(16, seed=1), batch_size=8),
        val_evaluator=IoUMetric(num_classes=2),
        train_cfg={"max_iters": 80, "val_interval": 40},
        randomness={"seed": 0},
        log_interval=20,
        work_dir="out",
        overwrite=True,  # run this file as often as you like; resume=True goes on instead
    )
    runner.train()
    metrics = runner.val()
    print(f"mIoU {metrics['mIoU']:.1f}")


if __name__ == "__main__":
    main()
