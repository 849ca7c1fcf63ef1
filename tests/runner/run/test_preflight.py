"""The checks before training: what they find, and that they leave everything as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import IoUMetric, Runner
from seg_runner.run.preflight import check_disk, check_writable, disk_needed
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]


def test_the_first_validation_batch_is_tried_before_training(make_runner: MakeRunner) -> None:
    class Bad:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            raise FileNotFoundError("gone.png")

    with pytest.raises(FileNotFoundError, match=r"gone.png") as caught:
        make_runner(val_dataloader=DataLoader(Bad())).train()
    assert any("skip_checks=True leaves it out" in note for note in caught.value.__notes__)


def test_an_optimizer_of_another_model_is_found_before_the_first_step(make_runner: MakeRunner) -> None:
    other = torch.nn.Conv2d(3, 3, 1)
    runner = make_runner(optim_wrapper=torch.optim.SGD(other.parameters(), 0.1))
    with pytest.raises(ValueError, match="holds no parameter of model"):
        runner.train()
    assert runner.iter == 0


def test_nothing_changes(make_runner: MakeRunner, squares: Any, trace: Any) -> None:
    states: list[Any] = []

    class Sees:
        def before_train(self, runner: Any) -> None:
            states.append((torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()))
            states.append([module.training for module in runner.model.modules()])

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
    net[1].eval()
    for skip in (True, False):
        random.seed(1)
        np.random.seed(1)
        metric = IoUMetric(num_classes=3)
        runner = make_runner(model=net, hooks=[Sees(), trace], skip_checks=skip, val_evaluator=metric)
        break_before_first_step(runner)
    assert states[0] == states[2]
    assert states[1] == states[3]
    assert "before_val_iter" not in trace.names()


def break_before_first_step(runner: Runner) -> None:
    class Stop:
        priority = "LOWEST"

        def before_train(self, runner: Any) -> None:
            raise InterruptedError

    runner.register_hook(Stop())
    with pytest.raises(InterruptedError):
        runner.train()


def test_loaders_with_workers_are_read_in_this_process(make_runner: MakeRunner, squares: Any) -> None:
    data = squares()
    make_runner(val_dataloader=DataLoader(data, batch_size=4, num_workers=2)).train()
    assert data.read == [0, 1, 2, 3]


def test_one_that_is_no_torch_loader_is_left_alone(make_runner: MakeRunner, squares: Any) -> None:
    class Loader:
        read = 0

        def __iter__(self) -> Any:
            self.read += 1
            return iter([(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long())])

    class Waits:
        save_best = "nothing"

        def before_run(self, runner: Any) -> None: ...

    loader = Loader()
    make_runner(val_dataloader=loader, train_cfg={"max_iters": 2}, hooks=[Waits()]).train()
    assert loader.read == 1


BATCH = (torch.zeros(2, 3, 6, 6), torch.zeros(2, 6, 6, dtype=torch.long))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], r"val_dataloader gives no batch: it is empty"),
        ({"city": [BATCH], "country": []}, r"val_dataloader of 'country' gives no batch: it is empty"),
        (iter([BATCH]), r"val_dataloader is an iterator, list_iterator, which gives its batches only once"),
        ([(BATCH[0], BATCH[1][:1])], r"a batch of 2 images has 1 masks: each image needs one"),
        (
            [BATCH[0][0]],
            r"images are expected as N x C x H x W, not of shape \(3, 6, 6\): one image alone is image\[None",
        ),
        ([3], r"a batch is expected as \(images, masks\)"),
    ],
)
def test_validation_data_without_a_use_are_found_before_the_first_step(
    make_runner: MakeRunner, given: Any, text: str
) -> None:
    runner = make_runner(val_dataloader=given)
    with pytest.raises((TypeError, ValueError), match=text):
        runner.train()
    assert runner.iter == 0


def test_a_list_of_batches_is_tried_and_stays_as_it_was(make_runner: MakeRunner) -> None:
    class Writes(torch.nn.Module):
        seen = 0

        def train_step(self, data: Any, optim_wrapper: Any) -> Any: ...

        def val_step(self, data: Any) -> list[Any]:
            self.seen += 1
            data["touched"] = True
            return []

    batch: dict[str, Any] = {}
    model = Writes()
    off = {"loss": None, "optim_wrapper": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)}
    with pytest.raises(ValueError, match="no sample was processed"):
        make_runner(model=model, val_dataloader=[batch], **off).train()
    assert (model.seen, batch) == (1, {})


def test_a_validation_that_measures_nothing_is_warned_about(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    make_runner(val_evaluator=[]).train()
    assert "validation measures nothing: give val_evaluator a metric" in capsys.readouterr().out


def test_a_model_with_other_classes_than_the_data_is_warned_about(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    make_runner(model=torch.nn.Conv2d(3, 5, 1)).train()
    assert "the model gives 5 classes, the validation data have 3 (dark, ...)" in capsys.readouterr().out
    make_runner(overwrite=True).train()
    assert "the model gives" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        check_writable(tmp_path / "file")
    assert any("cannot be written to" in note for note in caught.value.__notes__)
    check_writable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_too_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Linear(1000, 1000)
    runner = SimpleNamespace(model=net, optim_wrapper=None, hooks=[], work_dir=tmp_path)
    weights = 4 * (1000 * 1000 + 1000)
    assert disk_needed(runner) == 3 * weights
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5 * weights))
    with pytest.raises(OSError, match=r"two checkpoints need about 23 MB; .* has 19 MB free"):
        check_disk(runner)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=6 * weights))
    check_disk(runner)


def test_the_data_is_not_copied_and_streams_are_not_read(make_runner: MakeRunner, squares: Any) -> None:
    class Heavy(squares):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("the data set was copied")

    class Stream(torch.utils.data.IterableDataset[Any]):
        read = 0

        def __iter__(self) -> Any:
            Stream.read += 1
            return iter([(torch.zeros(3, 2, 2), torch.zeros(2, 2).long())])

    make_runner(val_dataloader=DataLoader(Heavy(), batch_size=4, shuffle=True)).train()
    stream = {"val_dataloader": DataLoader(Stream()), "train_cfg": {"max_iters": 2, "val_begin": 9}}
    make_runner(**stream, overwrite=True).train()
    assert Stream.read == 0
