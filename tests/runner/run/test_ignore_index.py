"""One label that does not count, for the loss, padding, data and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_runner import LogitsModel, Runner, SegDataPreProcessor
from seg_runner.evaluation.iou import IoUMetric
from seg_runner.run.ignore_index import align_ignore_index, ignore_index_of
from torch import nn
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]


class Told(list[Any]):
    """A data set that writes down which label it is to leave out."""

    metainfo = {"classes": ("soil", "crop")}
    label = 255

    def leave_out(self, label: int) -> str | None:
        self.label = label
        return None if label == 255 else f"label {label} it is"


def run_of(loss: Any = None, seg_pad_val: float = 255, **more: Any) -> Any:
    """What the checks look at, of a runner."""
    prepare = SegDataPreProcessor(size=(4, 4), seg_pad_val=seg_pad_val)
    model = LogitsModel(nn.Conv2d(3, 2, 1), loss=loss, data_preprocessor=prepare)
    loaders = {"train": SimpleNamespace(dataset=Told()), "val": None}
    facts = {"model": model, "loaders": loaders, "cfg": None, "val_loop": None}
    facts["logger"] = logging.getLogger("ignore_index")
    return SimpleNamespace(**facts | more)


def test_the_label_that_a_loss_leaves_out_is_found() -> None:
    assert ignore_index_of(LogitsModel(nn.Conv2d(3, 2, 1), ignore_index=7)) == 7
    assert ignore_index_of(LogitsModel(nn.Conv2d(3, 2, 1), loss=nn.CrossEntropyLoss())) == -100
    two = [nn.CrossEntropyLoss(ignore_index=3), nn.CrossEntropyLoss(ignore_index=4)]
    assert ignore_index_of(LogitsModel(nn.Conv2d(3, 2, 1), loss=two)) == 3
    heads = nn.ModuleList([nn.CrossEntropyLoss(ignore_index=1), nn.NLLLoss(ignore_index=2)])
    assert ignore_index_of(SimpleNamespace(decode_head=heads)) == 2
    assert ignore_index_of(LogitsModel(nn.Conv2d(3, 2, 1), loss=nn.MSELoss())) is None


@pytest.mark.parametrize("label", [0, 254, -100])
def test_all_that_pads_takes_the_label_of_the_loss(label: int, caplog: pytest.LogCaptureFixture) -> None:
    runner = run_of(nn.CrossEntropyLoss(ignore_index=label))
    with caplog.at_level(logging.INFO):
        align_ignore_index(runner)
    assert runner.model.data_preprocessor.seg_pad_val == label
    assert runner.loaders["train"].dataset.label == label
    assert f"added pixels get label {label}" in caplog.text
    assert f"train_dataloader: label {label} it is" in caplog.text
    assert ("label 0 is class 'soil' and does not count" in caplog.text) == (label == 0)


def test_the_usual_label_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        align_ignore_index(run_of())
    assert caplog.text == ""


def test_pixels_that_are_added_as_a_class_stay_so_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    runner = run_of(seg_pad_val=1)
    align_ignore_index(runner)
    assert runner.model.data_preprocessor.seg_pad_val == 1
    assert "added pixels count as class 'crop': data_preprocessor.seg_pad_val=1" in caplog.text


def test_the_usual_label_is_never_meant_as_a_class() -> None:
    runner = run_of(nn.CrossEntropyLoss(ignore_index=65535))
    runner.loaders["train"].dataset.metainfo = {"classes": tuple(map(str, range(300)))}
    align_ignore_index(runner)
    assert runner.model.data_preprocessor.seg_pad_val == 65535


def test_data_of_a_validation_leaves_out_what_its_metric_leaves_out() -> None:
    data, several = Told(), Told()
    alike, unlike = SimpleNamespace(metrics=[IoUMetric(9)] * 2), SimpleNamespace(metrics=[IoUMetric(9), IoUMetric(8)])
    one, two = SimpleNamespace(dataset=data), SimpleNamespace(dataset=several)
    sets = {"a": (one, alike), "b": (two, unlike), "c": ([], None)}
    align_ignore_index(run_of(val_loop=SimpleNamespace(sets=sets)))
    assert (data.label, several.label) == (9, 255)


def test_padding_keeps_a_label_that_a_byte_cannot_hold() -> None:
    from seg_runner import PixelData, SegDataSample

    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 2, 2, dtype=torch.uint8))
    prepare = SegDataPreProcessor(size=(2, 3), seg_pad_val=-100)
    batch = prepare({"inputs": [torch.zeros(3, 2, 2)], "data_samples": [sample]}, training=True)
    assert batch["data_samples"][0].gt_sem_seg.data[0].tolist() == [[0, 0, -100]] * 2


def test_a_run_unites_before_the_first_step(make_runner: MakeRunner, squares: Any) -> None:
    data = squares()
    labels: list[int] = []
    data.leave_out = labels.append
    make_runner(train_dataloader=DataLoader(data, batch_size=4), skip_checks=True).train()
    assert labels == [255]
