"""Parameters that a step does not use: named, with the option that helps; and accumulation with them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import Ranks, on_ranks
from runner.distributed.test_failures import as_script
from runner.distributed.test_signals import Dots
from seg_runner import Runner
from seg_runner.distributed.ddp import ReplicatedModel
from torch import nn


class Branches(nn.Module):
    """Leaves a part out in the steps that `leaves` names; steps are counted by forward passes."""

    def __init__(self, leaves: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.aside = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.leaves, self.passes = leaves, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out = self.body(image)
        if not self.leaves(self.passes):
            out = out + self.aside(image)
        self.passes += 1
        return out


def always(step: int) -> bool:
    return True


def never(step: int) -> bool:
    return False


def last_of_two(step: int) -> bool:
    return step % 2 == 1


def run(folder: Path, leaves: Any, find: bool = False) -> dict[str, Any]:
    net = Branches(leaves)
    strategy = {"type": "ddp", "find_unused_parameters": find}
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": Dots(16), "batch_size": 2, "num_workers": 0},
        train_cfg={"max_iters": 12},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        strategy=strategy,
    )
    runner.train()
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_parameters_that_are_not_used_are_named(tmp_path):
    with Ranks(2, tmp_path / "r", as_script, run, tmp_path / "w", always) as ranks:
        assert ranks.codes() == [1, 1]
        said = ranks.said(0) + ranks.said(1)
    assert "the loss of the last step did not depend on aside.weight, aside.bias (2 of 4 parameters)" in said
    assert "strategy=dict(type='ddp', find_unused_parameters=True)" in said


@pytest.mark.parametrize(("leaves", "told"), [(always, 0), (never, 1)])
def test_the_option_helps_and_says_where_it_is_not_needed(tmp_path, leaves, told):
    with Ranks(2, tmp_path / "r", run, tmp_path / "w", leaves, find=True) as ranks:
        one, other = ranks.results()
        said = ranks.said(0)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert said.count("in 10 backward passes every parameter was used") == told


class Window:
    """An optimizer wrapper whose window has two passes."""

    def __init__(self, net: nn.Module) -> None:
        self.optimizer, self.passes = torch.optim.SGD(net.parameters(), 0.1), 0

    def optim_context(self, model: Any) -> Any:
        return nullcontext() if self.passes % 2 else model.no_sync()

    def update_params(self, loss: torch.Tensor) -> None:
        (loss / 2).backward()
        self.passes += 1
        if self.passes % 2 == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()


class Sums(Branches):
    """Trains towards small outputs."""

    def train_step(self, data: torch.Tensor, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        loss = self(data).square().mean()
        optim_wrapper.update_params(loss)
        return {"loss": loss}


def accumulate(leaves: Any) -> dict[str, torch.Tensor]:
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = Sums(leaves)
    model = ReplicatedModel(net, find_unused_parameters=True) if world > 1 else net
    wrapper = Window(net) if world > 1 else Alone(net)
    for step in range(6):
        data = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step))
        model.train_step(data[rank::world], wrapper)
    return {name: value.clone() for name, value in net.state_dict().items()}


class Alone(Window):
    """The same without other ranks."""

    def optim_context(self, model: Any) -> Any:
        return nullcontext()


def test_a_window_whose_last_pass_leaves_a_part_out(tmp_path):
    """What an earlier pass has gathered on each rank is exchanged all the same (pytorch#69031)."""
    (alone,) = on_ranks(1, tmp_path / "r1", accumulate, last_of_two)
    one, other = on_ranks(2, tmp_path / "r2", accumulate, last_of_two)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(one, alone)
