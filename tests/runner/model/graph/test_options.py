"""What `compile=dict(mode='graph')` takes, and the runs that it refuses before they begin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner.model.compilation import check_compile
from seg_runner.model.graph.options import GraphOptions, check_capture
from torch import nn


class Wrapper:
    accumulative_counts = 1
    scaler: Any = None

    def __init__(self, kind: type[torch.optim.Optimizer] = torch.optim.AdamW) -> None:
        self.optimizer = kind(nn.Linear(1, 1).parameters())  # type: ignore[call-arg]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's imports
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "graph", "warm_up": 0}, r"compile\.warm_up"),
        ({"mode": "graph", "graphs": "2"}, r"compile\.graphs"),
        ({"mode": "graph", "stand_in": "yes"}, r"compile\.stand_in"),
        ({"mode": "graph", "warmup": 1}, "warmup"),
        ({"warm_up": 1}, "warm_up"),
        ({"mode": "grph"}, "Beside torch's modes there is 'graph'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        check_compile(options)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_options_of_both_are_taken() -> None:
    check_compile({"mode": "graph", "warm_up": 5, "backend": "eager"})


@pytest.mark.parametrize(
    ("changed", "device", "ranks", "says"),
    [
        ({}, "cpu", 1, "cpu has no graphs"),
        ({}, "cuda", 2, "this run has 2"),
        ({"optimizer": None}, "cuda", 1, "Wrapper has several or none"),
        ({"accumulative_counts": 2}, "cuda", 1, "leave accumulative_counts out"),
        ({"scaler": object()}, "cuda", 1, "dtype='bfloat16'"),
        ({"optimizer": Wrapper(torch.optim.LBFGS).optimizer}, "cuda", 1, "LBFGS"),
        ({"optimizer": Wrapper(torch.optim.Adagrad).optimizer}, "cuda", 1, ""),
        ({"optimizer": Wrapper(torch.optim.Adafactor).optimizer}, "cuda", 1, "Adafactor reads its learning rate"),
    ],
)
def test_runs_that_cannot_be_captured(changed: dict[str, Any], device: str, ranks: int, says: str) -> None:
    wrapper = Wrapper()
    vars(wrapper).update(changed)
    if not says:
        check_capture(GraphOptions(), wrapper, torch.device(device), ranks)
        return
    with pytest.raises(ValueError, match=says):
        check_capture(GraphOptions(), wrapper, torch.device(device), ranks)


def test_the_stand_in_needs_an_optimizer_that_is_fused_on_a_cpu() -> None:
    check_capture(GraphOptions(stand_in=True), Wrapper(), torch.device("cpu"), 1)
    with pytest.raises(ValueError, match="one of torch's that knows fused"):
        check_capture(GraphOptions(stand_in=True), Wrapper(torch.optim.RMSprop), torch.device("cpu"), 1)
