"""A hook of your own: any object with a method named after a point; no base class, no registry. Needs seg-engine."""

from __future__ import annotations

from typing import Any

import torch
from seg_runner import IoUMetric, Runner
from torch.utils.data import DataLoader, TensorDataset


class LossAlarm:
    """Says when the loss jumps; its state goes into checkpoints because it has `state_dict`."""

    priority = "LOW"

    def __init__(self, factor: float = 2.0) -> None:
        self.factor, self.usual, self.alarms = factor, 0.0, 0

    def after_train_iter(self, runner: Any, outputs: dict[str, torch.Tensor]) -> None:
        """Points are called with keywords; a hook names the ones that it wants."""
        if (runner.iter + 1) % 5 == 0:  # reading a tensor waits for the device: not at every step
            loss = float(outputs["loss"])
            if self.usual and loss > self.factor * self.usual:
                self.alarms += 1
                runner.logger.warning("loss %.3f at iteration %d, %.3f before", loss, runner.iter + 1, self.usual)
            self.usual = loss

    def after_run(self, runner: Any) -> None:
        """Once, at the end."""
        runner.logger.info("LossAlarm: %d alarms", self.alarms)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"usual": self.usual, "alarms": self.alarms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """On resuming."""
        self.usual, self.alarms = state["usual"], state["alarms"]


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 16, 16, generator=generator)
    loader = DataLoader(TensorDataset(images, (images.mean(1) > 0).long()), batch_size=4, shuffle=True)
    net = torch.nn.Conv2d(3, 2, 1)
    runner = Runner(
        model=net,
        loss=torch.nn.CrossEntropyLoss(ignore_index=255),
        train_dataloader=loader,
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.5),
        val_dataloader=loader,
        val_evaluator=IoUMetric(num_classes=2),
        train_cfg={"max_iters": 40, "val_interval": 20},
        hooks=[LossAlarm()],
        work_dir="out",
        overwrite=True,  # run this file as often as you like; resume=True goes on instead
    )
    print(runner.points)
    runner.train()


if __name__ == "__main__":
    main()
