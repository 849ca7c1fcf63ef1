"""What the tests of seg-hooks share: a tiny model, and runs of it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import TrainState
from torch import nn


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))


def make_loader(batches: int = 10) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 4, generator=generator) for _ in range(batches)]


@pytest.fixture
def net() -> nn.Module:
    return make_net()


@pytest.fixture
def loader() -> list[torch.Tensor]:
    return make_loader()


@pytest.fixture
def make_state(tmp_path: Path) -> Callable[..., TrainState]:
    """A TrainState on a fresh tiny model, in one work directory per test."""

    def make(
        hooks: Iterable[Any] = (), max_iters: int = 10, model: nn.Module | None = None, **options: Any
    ) -> TrainState:
        model = make_net() if model is None else model
        optimizer = options.pop("optimizer", None) or torch.optim.AdamW(model.parameters(), 1e-2)
        work_dir = options.pop("work_dir", tmp_path / "out")
        return TrainState(model, optimizer, work_dir, max_iters, hooks=list(hooks), **options)

    return make


@pytest.fixture
def train() -> Callable[..., None]:
    """Train a TrainState to its end, or break after `stop` steps; `metrics` gives those of each validation."""

    def run(
        state: TrainState,
        every: int = 0,
        metrics: Callable[[TrainState], dict[str, Any]] | None = None,
        stop: int | None = None,
        on_step: Callable[[TrainState], None] | None = None,
    ) -> None:
        with state:
            for batch in state.batches(make_loader()):
                loss = state.model(batch).square().mean()
                loss.backward()
                state.optimizer.step()
                state.optimizer.zero_grad()
                state.after_step(loss=loss)
                if on_step is not None:
                    on_step(state)
                if every and metrics is not None and state.every(every):
                    state.validated(metrics(state))
                if state.iter == stop:
                    raise KeyboardInterrupt

    return run
