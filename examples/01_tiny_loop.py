"""seg-hooks in a loop written by hand: average, best checkpoint, early stop, log, resume. Run it twice.

Learns to tell the inside of a circle from its outside on 32 x 32 pixels; takes a few seconds on a CPU.
"""

from __future__ import annotations

import torch
from seg_hooks import CheckpointHook, EarlyStoppingHook, EMAHook, LoggerHook, ParamSchedulerHook, TrainState
from torch import Tensor, nn

MAX_ITERS = 300


def make_batch(size: int = 8) -> tuple[Tensor, Tensor]:
    """Noisy pictures of one circle each, and which pixels lie in it."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    centre, radius = torch.rand(size, 2, 1, 1) * 16 + 8, torch.rand(size, 1, 1) * 6 + 4
    inside = (rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2 < radius**2
    return inside[:, None] + 0.5 * torch.randn(size, 1, 32, 32), inside.long()


def evaluate(net: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Mean IoU of the two classes, in percent."""
    net.eval()
    with torch.no_grad():
        guesses = [(net(images).argmax(1), labels) for images, labels in batches]
    shares = []
    for label in range(2):
        both = sum(int(((guess == label) & (labels == label)).sum()) for guess, labels in guesses)
        either = sum(int(((guess == label) | (labels == label)).sum()) for guess, labels in guesses)
        shares.append(100 * both / either)
    return {"mIoU": sum(shares) / 2, "IoU.circle": shares[1]}


def main() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 5, padding=2))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, MAX_ITERS, power=0.9)
    schedule.by_epoch = False  # ParamSchedulerHook steps it after each iteration
    train, held_out = [make_batch() for _ in range(20)], [make_batch() for _ in range(4)]

    state = TrainState(
        net,
        optimizer,
        "out_tiny_loop",
        MAX_ITERS,
        hooks=[
            EMAHook(begin_iter=50, momentum=0.02),
            LoggerHook(interval=50),
            ParamSchedulerHook(),
            CheckpointHook(interval=100, by_epoch=False, save_best="IoU.circle", max_keep_ckpts=1),
            EarlyStoppingHook("mIoU", patience=5, min_delta=0.01),
        ],
        schedulers=[schedule],
    )
    state.resume()
    with state:
        for images, labels in state.batches(train):
            loss = nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state.after_step(loss=loss)
            if state.every(50):
                state.validated(evaluate(net, held_out))
    print(f"finished {state.iter} steps; best files: {sorted(path.name for path in state.work_dir.glob('best_*'))}")


if __name__ == "__main__":
    main()
