"""torch.compile: names stay, and a model says what is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from seg_runner import LogitsModel
from seg_runner.model.compilation import compile_model
from seg_runner.model.prepare import use_channels_last
from torch import nn


def test_compiling_keeps_the_names_in_checkpoints() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    compile_model(model, {"backend": "eager"})
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert model(torch.zeros(1, 2)).shape == (1, 2)


def test_a_model_says_itself_what_is_compiled() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        @property
        def compile_target(self) -> nn.Module:
            return self.inner

    model = Outer()
    compile_model(model, {"backend": "eager"})
    assert model.inner._compiled_call_impl is not None
    assert model._compiled_call_impl is None


@pytest.fixture
def counters() -> Iterator[Any]:
    """Torch's counts of what it has compiled, from nothing."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


class Own(nn.Module):
    """A network of a class of its own, as most are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(images)
        return out


@pytest.mark.parametrize("kind", [Own, lambda: Own().layers], ids=["own class", "Sequential"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_nothing_is_compiled_after_the_first_validation(counters: Any, channels_last: bool, kind: Any) -> None:
    net = kind()
    keys = list(net.state_dict())
    model = LogitsModel(net, loss=nn.CrossEntropyLoss(ignore_index=255), test_cfg={"mode": "whole"})
    if channels_last:
        use_channels_last(model)
    compile_model(model, {"backend": "aot_eager", "fullgraph": True})

    def train(steps: int) -> None:
        model.train()
        for _ in range(steps):
            losses = model.batch_losses((torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))))
            losses["loss"].backward()

    def validate() -> None:
        model.eval()
        for size in (9, 12, 16, 20):
            model.val_step((torch.randn(1, 3, size, size + 1), None))

    train(3)
    validate()
    compiled = counters["stats"]["unique_graphs"]
    for _ in range(3):
        train(2)
        validate()
    assert counters["stats"]["unique_graphs"] == compiled  # training, and validation at one size and at any
    assert 2 <= compiled <= 3
    assert not counters["graph_break"]
    assert list(model.state_dict()) == keys


def test_without_a_compiler_the_run_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"no compiler is here .*Install one, such as g\+\+"):
        compile_model(nn.Linear(1, 1), True)
