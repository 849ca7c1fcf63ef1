"""Metrics that hooks and schedulers wait for are looked for before the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import Runner
from seg_runner.run.monitored_metrics import monitored_keys
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]


class Waits:
    """A hook that waits for a metric."""

    def __init__(self, **wanted: Any) -> None:
        self.__dict__.update(wanted)

    def before_run(self, runner: Any) -> None: ...


def test_a_metric_that_never_comes_is_found_before_the_first_step(make_runner: MakeRunner, squares: Any) -> None:
    data = squares()
    runner = make_runner(hooks=[Waits(save_best="mIou")], train_dataloader=DataLoader(data, batch_size=4))
    with pytest.raises(KeyError, match=r"save_best='mIou'.* Did you mean 'mIoU'\?.*Validation gives: aAcc, mAcc, mIoU"):
        runner.train()
    assert runner.iter == 0
    assert data.read == []


def test_names_that_hooks_wait_for() -> None:
    hooks = [
        Waits(save_best=["mIoU", "a/b"]),
        Waits(monitor="val_loss"),
        Waits(save_best="auto"),
        Waits(save_best=None),
    ]
    assert set(monitored_keys(hooks)) == {"mIoU", "a/b", "val_loss"}


@pytest.mark.parametrize("wanted", ["0.5*mIoU + 0.5*mAcc", "(mIoU - mAcc) / 2", "mIoU/2", "mIoU/mAcc", "aAcc"])
def test_formulae_of_metrics_that_come_are_no_mistakes(make_runner: MakeRunner, wanted: str) -> None:
    make_runner(hooks=[Waits(save_best=wanted)]).train()


def test_a_scheduler_that_waits_for_no_known_metric_is_found_before_the_first_step(make_runner: MakeRunner) -> None:
    net = torch.nn.Conv2d(3, 3, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    plateau: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    given = {"model": net, "optim_wrapper": optimizer, "param_scheduler": plateau}
    with pytest.raises(KeyError, match=r"does not know which metric.*`monitor` to one of aAcc, mAcc, mIoU"):
        make_runner(**given).train()
    plateau.monitor = "mIoU"
    runner = make_runner(**given)
    runner.train()
    assert runner.iter == 6


def test_a_formula_with_a_metric_that_never_comes(make_runner: MakeRunner) -> None:
    runner = make_runner(hooks=[Waits(save_best="0.5*mIoU + 0.5*mAc")])
    with pytest.raises(
        KeyError, match=r"save_best='0.5\*mIoU \+ 0.5\*mAc'.*Did you mean 'mAcc'\? Write save_best='mAcc'"
    ):
        runner.train()


def test_a_metric_that_never_comes_is_told_with_its_line(make_runner: MakeRunner, tmp_path: Path) -> None:
    class Lines(dict[str, Any]):
        def origin(self, key: str) -> str:
            return f"train.py:7 {key}"

    hooks = [{"type": Waits, "save_best": "mIuO"}]
    runner = make_runner(cfg=Lines(work_dir=str(tmp_path)), custom_hooks=hooks, default_hooks={"checkpoint": None})
    where = r"\(save_best='mIuO'\) \(train.py:7 custom_hooks.0.type\) waits .* Write save_best='mIoU'"
    with pytest.raises(KeyError, match=where):
        runner.train()
