"""Mean IoU of one image, and one step's scalars: the bare limit, ours, and the peers that are installed.

python benchmarks/metric.py [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from _measure import differences, paired, print_table, ratios
from seg_runner import IoUMetric, MessageHub

BARE = "bare: bytes, np.bincount"
REPEAT = 3
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


def metrics(pred: torch.Tensor, true: torch.Tensor, classes: int) -> dict[str, Callable[[], object]]:
    """What is measured: everything counts the same image."""
    sample = {"pred_sem_seg": {"data": pred[None]}, "gt_sem_seg": {"data": true[None]}}
    ours = IoUMetric(num_classes=classes)
    found: dict[str, Callable[[], object]] = {
        BARE: lambda: bare(pred, true),
        "seg-runner IoUMetric": lambda: ours.process(None, [sample]),
    }
    if importlib.util.find_spec("cv2") is not None:
        import cv2

        found["cv2.calcHist"] = lambda: cv2.calcHist(
            [pred.numpy().astype(np.uint8), true.numpy().astype(np.uint8)], [0, 1], None, [256, 256], [0, 256, 0, 256]
        )
    theirs = mmseg_metric(classes)  # before torchmetrics: it makes torchvision's import work
    if importlib.util.find_spec("torchmetrics") is not None:
        from torchmetrics.classification import MulticlassJaccardIndex

        jaccard = MulticlassJaccardIndex(classes, ignore_index=255, validate_args=False)
        found["torchmetrics Jaccard"] = lambda: jaccard.update(pred[None], true[None])
    if theirs is not None:
        found["MMSegmentation IoUMetric"] = lambda: theirs.process({}, [sample])
    return found


def mmseg_metric(classes: int) -> object | None:
    """MMSegmentation's metric, where it is installed."""
    if importlib.util.find_spec("mmseg") is None:
        return None
    from _mmsegmentation import import_mmseg

    import_mmseg()
    from mmseg.evaluation import IoUMetric as Reference

    metric = Reference()
    metric.dataset_meta = {"classes": [str(index) for index in range(classes)]}
    return metric


def repeated(function: Callable[[], object]) -> Callable[[], object]:
    """Several calls, so that one measurement is long enough."""
    return lambda: [function() for _ in range(REPEAT)]


def scalars() -> dict[str, Callable[[], object]]:
    """A thousand steps of five losses, read every 50 steps, after so many steps before."""
    losses = {f"train/loss_{index}": torch.tensor(float(index)) for index in range(5)}

    def steps(hub: MessageHub) -> None:
        for step in range(STEPS):
            hub.update_scalars(losses)
            if step % 50 == 49:
                hub.get_scalar("train/loss_0").mean(10)

    def limit() -> None:
        kept = []
        for step in range(STEPS):
            kept.append(torch.stack(list(losses.values())))
            if step % 50 == 49:
                torch.cat(kept).tolist()
                kept.clear()

    fresh, old = MessageHub(), MessageHub()
    for _ in range(160):
        steps(old)
    ours = {"MessageHub, new": lambda: steps(fresh), "MessageHub, after 160,000": lambda: steps(old)}
    return {"bare: one stack a step": limit} | ours


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for height, width, classes in ((1024, 2048, 19), (512, 512, 150)):
        functions = metrics(*picture(height, width, classes), classes)
        found = paired({name: repeated(function) for name, function in functions.items()}, rounds)
        relative = ratios(found, BARE)
        rows = [[name, f"{min(found[name]) / REPEAT * 1e3:.2f}", f"{relative[name]:.2f}"] for name in functions]
        print_table(f"one image, {height} x {width}, {classes} classes", ["", "ms", "x bare"], rows)
    for missing in ("torchmetrics", "mmseg"):
        if importlib.util.find_spec(missing) is None:
            print(f"{missing} is not installed: left out")
    found = paired(scalars(), rounds)
    above = differences(found, "bare: one stack a step")
    rows = [[name, f"{min(found[name]) / STEPS * 1e6:.1f}", f"{above[name] / STEPS * 1e6:+.1f}"] for name in found]
    print_table("five losses a step, read every 50 steps", ["", "us a step", "above bare"], rows)


if __name__ == "__main__":
    main()
