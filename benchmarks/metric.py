"""Mean IoU of one image, and the scalars of a thousand steps: the bare limit, ours, and the peers.

Run with `./run bench metric --peers`. The bare limit counts pairs of bytes as 16-bit numbers with one call of NumPy,
and checks no label; `cv2.calcHist` is quicker, and needs OpenCV, which seg-runner does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _contest import Contest, Contestant, Goal, main

Work = Callable[[], object]
BARE = "bare: bytes, np.bincount"
STEPS = 1000


def picture(height: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A label map of blocks with an ignored edge, and a prediction that is right in 8 of 10 pixels."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, classes, (height // 32, width // 32), generator=generator)
    true = blocks.repeat_interleave(32, 0).repeat_interleave(32, 1).contiguous()
    guess = torch.randint(0, classes, (height, width), generator=generator)
    pred = torch.where(torch.rand(height, width, generator=generator) < 0.8, true, guess)
    true[: height // 32] = 255
    return pred, true


def bare(pred: torch.Tensor, true: torch.Tensor) -> np.ndarray:
    """Pairs of bytes counted as 16-bit numbers."""
    pairs = np.empty((pred.numel(), 2), np.uint8)
    pairs[:, 0] = pred.numpy().ravel()
    pairs[:, 1] = true.numpy().ravel()
    return np.bincount(pairs.view(np.uint16).ravel(), minlength=65536).reshape(256, 256)


def seg_runner(pred: torch.Tensor, true: torch.Tensor, classes: int) -> Work:
    from seg_runner import IoUMetric

    metric, sample = IoUMetric(num_classes=classes), sample_of(pred, true)
    return lambda: metric.process(None, [sample])


def histogram(pred: torch.Tensor, true: torch.Tensor, classes: int) -> Work:
    import cv2

    sizes, ranges = [256, 256], [0, 256, 0, 256]
    return lambda: cv2.calcHist(
        [pred.numpy().astype(np.uint8), true.numpy().astype(np.uint8)], [0, 1], None, sizes, ranges
    )


def torchmetrics(pred: torch.Tensor, true: torch.Tensor, classes: int) -> Work:
    from torchmetrics.classification import MulticlassJaccardIndex

    jaccard = MulticlassJaccardIndex(classes, ignore_index=255, validate_args=False)
    return lambda: jaccard.update(pred[None], true[None])


def mmsegmentation(pred: torch.Tensor, true: torch.Tensor, classes: int) -> Work:
    from _mmsegmentation import import_mmseg

    import_mmseg()
    from mmseg.evaluation import IoUMetric

    metric, sample = IoUMetric(), sample_of(pred, true)
    metric.dataset_meta = {"classes": [str(index) for index in range(classes)]}
    return lambda: metric.process({}, [sample])


def sample_of(pred: torch.Tensor, true: torch.Tensor) -> dict[str, Any]:
    return {"pred_sem_seg": {"data": pred[None]}, "gt_sem_seg": {"data": true[None]}}


def counting(height: int, width: int, classes: int) -> Contest:
    """Everyone counts the same image."""

    def of(make: Callable[..., Work]) -> Callable[[], Work]:
        return lambda: make(*picture(height, width, classes), classes)

    return Contest(
        f"one image, {height} x {width}, {classes} classes",
        {
            BARE: of(lambda pred, true, classes: lambda: bare(pred, true)),
            "ours, IoUMetric": of(seg_runner),
            "cv2.calcHist": Contestant(of(histogram), "cv2"),
            "torchmetrics Jaccard": Contestant(of(torchmetrics), "torchmetrics", "parity"),
            "MMSegmentation IoUMetric": Contestant(of(mmsegmentation), "mmseg", "parity"),
        },
        goals=[Goal("ours, IoUMetric", ratio=1.1, why="the form without OpenCV")],
        seconds=15,
    )


def scalars() -> dict[str, Callable[[], Work]]:
    """A thousand steps of five losses, read every 50 steps, after so many steps before."""
    losses = {f"train/loss_{index}": torch.tensor(float(index)) for index in range(5)}

    def limit() -> None:
        kept = []
        for step in range(STEPS):
            kept.append(torch.stack(list(losses.values())))
            if step % 50 == 49:
                torch.cat(kept).tolist()
                kept.clear()

    def ours(before: int) -> Work:
        from seg_runner import MessageHub

        hub = MessageHub()

        def steps() -> None:
            for step in range(STEPS):
                hub.update_scalars(losses)
                if step % 50 == 49:
                    hub.get_scalar("train/loss_0").mean(10)

        for _ in range(before // STEPS):
            steps()
        return steps

    return {
        "bare: one stack a step": lambda: limit,
        "ours, MessageHub": lambda: ours(0),
        "ours, MessageHub after 160,000": lambda: ours(160_000),
    }


CONTESTS = [
    counting(1024, 2048, 19),
    counting(512, 512, 150),
    Contest("1,000 steps of five losses, read every 50", scalars(), seconds=15),
]

if __name__ == "__main__":
    main(CONTESTS)
