"""A small run for the tests of the core: a network with random weights, data that lie there, a quiet Runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, Runner
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset[Any]):
    """Images whose class is what is bright in them; counts how often each was read."""

    METAINFO = {"classes": ("dark", "bright", "very bright")}

    def __init__(self, count: int = 12, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(0, 3, (count, 6, 6), generator=generator)
        noise = torch.randn(count, 3, 6, 6, generator=generator)
        self.items = [(mask + 0.3 * one, mask) for mask, one in zip(masks, noise, strict=True)]
        self.read: list[int] = []
        self.metainfo = dict(self.METAINFO)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.read.append(index)
        return self.items[index]


class Trace:
    """A hook that writes down every point it passes, with the counters as they are there."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def names(self) -> list[str]:
        return [name for name, _, _ in self.seen]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _tracing(point: str) -> Callable[..., None]:
    def method(self: Trace, runner: Any, **keywords: Any) -> None:
        self.seen.append((point, runner.iter, runner.epoch))

    return method


def _all_points() -> list[str]:
    from seg_runner.hooks.table import POINTS

    return list(POINTS)


for _point in _all_points():
    setattr(Trace, _point, _tracing(_point))


def network(seed: int = 0) -> torch.nn.Module:
    """Two layers with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1))


@pytest.fixture
def squares() -> type[Squares]:
    """The data set."""
    return Squares


@pytest.fixture
def trace() -> Trace:
    """A hook that writes down the points."""
    return Trace()


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[..., Runner]:
    """A Runner from plain objects; every argument can be replaced, `None` leaves a part out."""

    def make(**changed: Any) -> Runner:
        net = changed.pop("model", None) or network()
        parameters = list(net.parameters())
        given: dict[str, Any] = {
            "loss": torch.nn.CrossEntropyLoss(ignore_index=255),
            "train_dataloader": DataLoader(Squares(), batch_size=4, shuffle=True),
            "optim_wrapper": torch.optim.SGD(parameters, lr=0.1, momentum=0.9) if parameters else None,
            "train_cfg": {"max_iters": 6, "val_interval": 3},
            "val_dataloader": DataLoader(Squares(seed=1), batch_size=4),
            "val_evaluator": IoUMetric(num_classes=3),
            "work_dir": tmp_path / "out",
            "randomness": {"seed": 0},
        }
        given.update(changed)
        return Runner(model=net, **{key: value for key, value in given.items() if value is not None})

    return make
