"""A head that joins the optimizer in the middle of a run: scheduled, trained, saved and resumed like all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import TwoConvolutions, config
from seg_runner import Runner
from torch import nn


class Growing(TwoConvolutions):
    """A second head takes part once it is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.wanted = nn.Conv2d(8, 3, 1).requires_grad_(False), False

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.backbone(image)
        return self.head(features) + (self.second(features) if self.wanted else 0)


class Joins:
    """Adds the head's group at an iteration, or before a resumed run loads its state."""

    def __init__(self, at: int | None) -> None:
        self.at = at

    def before_run(self, runner: Any) -> None:
        if self.at is None:
            self.join(runner)

    def before_train_iter(self, runner: Any) -> None:
        if runner.iter == self.at:
            self.join(runner)

    def join(self, runner: Any) -> None:
        net = next(module for module in runner.model.modules() if isinstance(module, Growing))
        net.wanted = True
        net.second.requires_grad_(True)
        runner.optim_wrapper.optimizer.add_param_group({"params": list(net.second.parameters()), "lr": 0.02})


def finished(folder: Path, by_epoch: bool, hook: Joins, **changes: Any) -> Runner:
    torch.manual_seed(0)
    cfg = config(folder, **changes)
    cfg["model"]["model"] = Growing()
    momentum = {"type": "StepMomentum", "step_size": 2, "gamma": 0.9, "by_epoch": by_epoch}
    cfg["param_scheduler"] = [*cfg["param_scheduler"], momentum]
    if by_epoch:
        cfg["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": 2, "val_interval": 1}
        cfg["train_dataloader"]["sampler"] = {"type": "DefaultSampler", "shuffle": True}
        cfg["param_scheduler"] = [{"type": "PolyLR", "power": 0.9, "begin": 0, "end": 4}, momentum]
    cfg["custom_hooks"] = [*cfg["custom_hooks"], hook]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize("by_epoch", [False, True])
def test_a_run_in_which_a_group_joins_is_resumed_exactly(by_epoch: bool, tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole", by_epoch, Joins(at=2))
    saved = tmp_path / "whole" / "iter_3.pth"
    resumed = finished(tmp_path / "resumed", by_epoch, Joins(at=None), resume=True, load_from=str(saved))
    groups = [runner.optim_wrapper.optimizer.param_groups for runner in (whole, resumed)]
    assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]
    assert [group["betas"] for group in groups[0]] == [group["betas"] for group in groups[1]]
    assert groups[0][-1]["lr"] < 0.02
    weights = [runner.model.state_dict() for runner in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "not trained" not in next(whole.log_dir.glob("*.log")).read_text()
