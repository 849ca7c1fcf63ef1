"""What cannot be read is named: by the sample, in every loop, with and without workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, Runner, TrainBatches
from seg_runner.data.named_dataset import NamedDataset
from seg_runner.data.private_loader import NamedLoader
from seg_runner.data.workers import shut_down
from seg_runner.process.randomness import Randomness
from torch.utils.data import DataLoader, Dataset


class Broken(Dataset[Any]):
    """Sample 5 cannot be read, or takes its process with it."""

    def __init__(self, bad: int | None = 5, *, deadly: bool = False) -> None:
        self.bad, self.deadly = bad, deadly
        self.img_paths = [f"photo_{index}.png" for index in range(8)]

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index == self.bad and self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.bad:
            raise OSError("broken data stream")
        return torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.long)


class Together(Broken):
    """Reads a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


def runner(val: DataLoader[Any], work_dir: Path, **changes: Any) -> Runner:
    net = torch.nn.Conv2d(3, 2, 1)
    return Runner(
        model=net,
        loss=torch.nn.CrossEntropyLoss(),
        train_dataloader=DataLoader(Broken(None), batch_size=4),
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_cfg={"max_iters": 2, "val_interval": 1},
        val_dataloader=val,
        val_evaluator=IoUMetric(num_classes=2),
        work_dir=work_dir,
        **changes,
    )


def told(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("mode", ["train", "val"])
def test_validation_names_the_sample(mode: str, workers: int, tmp_path: Path) -> None:
    made = runner(DataLoader(Broken(), batch_size=2, num_workers=workers), tmp_path, skip_checks=True)
    with pytest.raises(OSError, match="broken data stream") as caught:
        getattr(made, mode)()
    assert "sample 5 of Broken (photo_5.png)" in told(caught.value)
    assert "while reading val batch 2" in told(caught.value)


def test_the_check_before_training_names_the_sample(tmp_path: Path) -> None:
    made = runner(DataLoader(Broken(1), batch_size=2), tmp_path)
    with pytest.raises(OSError, match="broken data stream") as caught:
        made.train()
    assert "sample 1 of Broken (photo_1.png)" in told(caught.value)
    assert "skip_checks=True" in told(caught.value)


def test_the_stream_of_the_reference_names_the_sample_too(tmp_path: Path) -> None:
    net = torch.nn.Conv2d(3, 2, 1)
    made = Runner(
        model=net,
        loss=torch.nn.CrossEntropyLoss(),
        train_dataloader=DataLoader(Broken(), batch_size=4),
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_cfg={"max_iters": 3},
        randomness={"stream": "mmengine"},
        work_dir=tmp_path,
    )
    with pytest.raises(OSError, match="broken data stream") as caught:
        made.train()
    assert "sample 5 of Broken (photo_5.png)" in told(caught.value)


def test_a_worker_that_dies_in_validation_is_named_with_what_it_read(tmp_path: Path) -> None:
    made = runner(DataLoader(Broken(deadly=True), batch_size=2, num_workers=1), tmp_path, skip_checks=True)
    with pytest.raises(RuntimeError, match=r"died while reading sample 5 of Broken \(photo_5.png\)\. Was it killed"):
        made.val()


@pytest.mark.parametrize("stream", ["sample", "mmengine"])
def test_a_death_does_not_strike_in_the_middle_of_a_step(stream: str, tmp_path: Path) -> None:
    class Slow:
        """Its step is under way when the worker, which reads ahead, dies."""

        steps = 0

        def before_train_iter(self, runner: Any) -> None:
            time.sleep(1.5)
            self.steps += 1

    net, slow = torch.nn.Conv2d(3, 2, 1), Slow()
    made = Runner(
        model=net,
        loss=torch.nn.CrossEntropyLoss(),
        train_dataloader=DataLoader(Broken(deadly=True), batch_size=1, num_workers=1),
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_cfg={"max_iters": 8},
        hooks=[slow],
        randomness={"stream": stream},
        work_dir=tmp_path,
    )
    with pytest.raises(RuntimeError, match=r"died while reading sample 5 of Broken \(photo_5.png\)") as caught:
        made.train()
    assert slow.steps >= 1
    assert f"while reading the batch of training iteration {slow.steps}" in told(caught.value)
    assert "in hook" not in told(caught.value)


def test_batches_read_at_once_name_their_samples() -> None:
    with pytest.raises(OSError, match="broken data stream") as caught:
        list(NamedLoader(DataLoader(Together(), batch_size=4)))
    assert "one of sample 4 of Together (photo_4.png), sample 5" in told(caught.value)


def test_a_named_loader_gives_the_loaders_batches_and_leaves_it_alone() -> None:
    data = torch.arange(12)
    for loader in (
        DataLoader(data, batch_size=5),  # type: ignore[arg-type]
        DataLoader(data, batch_size=None),  # type: ignore[arg-type]
        DataLoader(data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)),  # type: ignore[arg-type]
        [torch.tensor([1, 2])],
    ):
        generator = getattr(loader, "generator", None)
        state = None if generator is None else generator.get_state()
        expected = [batch.tolist() for batch in loader]
        if generator is not None:
            generator.set_state(state)
        assert [batch.tolist() for batch in NamedLoader(loader)] == expected
        assert getattr(loader, "dataset", data) is data


def test_persistent_workers_live_on_and_can_be_shut_down() -> None:
    named = NamedLoader(DataLoader(Broken(None), batch_size=4, num_workers=1, persistent_workers=True))
    first = iter(named)
    assert len(list(first)) == 2
    second = iter(named)
    assert len(list(second)) == 2
    pids = [[worker.pid for worker in each.batches._workers] for each in (first, second)]
    assert pids[0] == pids[1]
    shut_down(second)
    assert not any(worker.is_alive() for worker in second.batches._workers)


def test_attributes_show_through_and_errors_gain_one_note() -> None:
    assert NamedDataset(Broken()).img_paths[1] == "photo_1.png"
    with pytest.raises(AttributeError):
        NamedDataset(Broken()).colour
    with pytest.raises(OSError, match="broken data stream") as caught:
        NamedDataset(NamedDataset(Broken()))[5]
    (note,) = caught.value.__notes__
    assert note.splitlines()[0] == "while reading sample 5 of Broken (photo_5.png)"


class OddMask(Dataset):
    """One mask has another size."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.zeros(3, 6, 6), torch.zeros(5 if index == 5 else 6, 6)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_cannot_be_put_together_are_named(workers):
    batches = TrainBatches(DataLoader(OddMask(), batch_size=4, num_workers=workers), Randomness(seed=0))
    next(batches)
    with pytest.raises(RuntimeError, match=r"equal size|not resizable") as caught:
        next(batches)
    batches.close()
    named = ", ".join(f"sample {index} of OddMask" for index in range(4, 8))
    assert f"while putting together {named}: do all of them have the same size and parts?" in "\n".join(
        caught.value.__notes__
    )
