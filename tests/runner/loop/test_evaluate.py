"""Validation and test: whose random numbers a model and the workers get that draw them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

MakeRunner = Callable[..., Runner]


class Draws(nn.Module):
    """Draws when it predicts, as SegNeXt's head draws its bases; and when it is made, as every model does."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []
        self.inner = nn.Conv2d(3, 3, 1)

    def test_step(self, batch: Any) -> list[Any]:
        self.drawn.append(float(torch.rand(())))
        return [{"seen": float(each)} for each in batch]

    val_step = test_step


class Noise(Dataset[Any]):
    """Draws each sample."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(())


class Sums:
    """A metric: all that it got."""

    prefix = None
    dataset_meta = None

    def __init__(self) -> None:
        self.seen: list[float] = []

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.seen += [sample["seen"] for sample in data_samples]

    def evaluate(self, size: int) -> dict[str, float]:
        seen, self.seen = self.seen, []
        return {f"value_{place}": value for place, value in enumerate(seen)}


def evaluated(make_runner: MakeRunner, stream: str, workers: int = 0, mode: str = "test", times: int = 1) -> list[Any]:
    """Return metrics and what the model drew, of evaluations of a run that trains nothing."""
    loader = {"dataset": {"type": Noise}, "batch_size": 2, "num_workers": workers}
    training = ("train_dataloader", "train_cfg", "optim_wrapper", "loss")
    nothing = dict.fromkeys((*training, "val_dataloader", "val_evaluator"))
    parts = {f"{mode}_dataloader": loader, f"{mode}_cfg": {}, f"{mode}_evaluator": Sums()}
    torch.manual_seed(99)  # what was drawn before the run does not count
    given = {**nothing, **parts, "randomness": {"seed": 5, "stream": stream}, "model": Draws()}
    runner = make_runner(**given, cfg={"model": {}})
    found = []
    for _ in range(times):
        runner.model.drawn.clear()
        found.append((getattr(runner, mode)(), list(runner.model.drawn)))
    return found


@pytest.mark.parametrize("mode", ["test", "val"])
@pytest.mark.parametrize("workers", [0, 2])
def test_metrics_without_training_do_not_depend_on_the_stream(make_runner: MakeRunner, workers: int, mode: str) -> None:
    sample, mmengine = (evaluated(make_runner, stream, workers, mode) for stream in ("sample", "mmengine"))
    assert sample == mmengine
    assert len(set(sample[0][0].values())) == 4
    if workers:
        torch.manual_seed(5)  # that of the first worker: the seed of the run
        assert sample[0][0]["value_0"] == float(torch.rand(()))


def test_the_first_pass_goes_on_from_the_seed_of_the_run(make_runner: MakeRunner) -> None:
    metrics, drawn = evaluated(make_runner, "sample")[0]
    torch.manual_seed(5)
    DataLoader(Noise(), batch_size=2)._get_iterator()  # draws the seed of its workers
    expected = []
    for _ in range(2):
        expected += [float(torch.rand(())), float(torch.rand(()))]
        expected.append(float(torch.rand(())))
    assert [*metrics.values()] == [expected[0], expected[1], expected[3], expected[4]]
    assert drawn == [expected[2], expected[5]]


def test_a_second_pass_is_equal_to_the_first(make_runner: MakeRunner) -> None:
    one, two = evaluated(make_runner, "sample", times=2)
    assert one == two
