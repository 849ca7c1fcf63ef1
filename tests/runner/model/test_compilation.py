"""torch.compile: names stay, and a model says what is compiled."""

from __future__ import annotations

import torch
from seg_runner.model.compilation import compile_model
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
