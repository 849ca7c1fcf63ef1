"""Data before the first step: what data sets say, what does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import LogitsModel, Runner, SegDataPreProcessor
from seg_runner.data.samplers import InfiniteSampler
from seg_runner.evaluation.iou import IoUMetric
from seg_runner.loop.train import IterBasedTrainLoop
from seg_runner.run.data_checks import check_lengths, check_sizes, report_data
from torch import nn
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]


class Reports(list[Any]):
    """A data set with something to say."""

    def data_report(self) -> list[tuple[int, str]]:
        return [(logging.WARNING, "4 images"), (logging.DEBUG, "quiet")]


def run_of(**more: Any) -> Any:
    """What the checks look at, of a runner."""
    loaders = {"train": SimpleNamespace(dataset=Reports()), "val": None}
    facts = {"loaders": loaders, "cfg": None, "val_loop": None, "logger": logging.getLogger("data_checks")}
    return SimpleNamespace(**facts | more)


def test_reports_of_data_sets_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    report_data(run_of(), "train", "val")
    assert [record.message for record in caplog.records] == ["train_dataloader: 4 images"]


@pytest.mark.parametrize("mode", ["val", "test"])
def test_an_evaluation_alone_reports_its_data_once(
    make_runner: MakeRunner, squares: Any, capfd: pytest.CaptureFixture[str], mode: str
) -> None:
    data = squares()
    data.data_report = lambda: [(logging.WARNING, "8 images; left out: 2 *.JPG")]
    own = {f"{mode}_dataloader": DataLoader(data, batch_size=4), f"{mode}_evaluator": IoUMetric(num_classes=3)}
    runner, quiet = make_runner(**own), make_runner(**own, skip_checks=True)
    for _ in range(2):
        getattr(runner, mode)()
    getattr(quiet, mode)()
    said = [line.rpartition(" - ")[2] for line in "".join(capfd.readouterr()).splitlines() if "left out" in line]
    assert said == [f"{mode}_dataloader: 8 images; left out: 2 *.JPG"]


def test_what_a_data_set_finds_wrong_ends_the_run_with_a_note() -> None:
    runner = run_of()

    def broken() -> Any:
        raise ValueError("label 9")

    runner.loaders["val"] = {"city": SimpleNamespace(dataset=SimpleNamespace(data_report=broken))}
    with pytest.raises(ValueError, match="label 9") as caught:
        report_data(runner, "train", "val")
    assert "val_dataloader of 'city' (skip_checks=True leaves it out)" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("end", "by_epoch", "said"), [(80, False, True), (40, False, False), (10**9, False, False), (9, True, False)]
)
def test_a_training_that_is_shorter_than_its_schedule(
    caplog: pytest.LogCaptureFixture, end: int, by_epoch: bool, said: bool
) -> None:
    schedules = [SimpleNamespace(end=5, by_epoch=False), SimpleNamespace(end=end, by_epoch=by_epoch)]
    loop = SimpleNamespace(max_iters=40, max_epochs=10)
    check_lengths(run_of(param_schedulers=schedules, train_loop=loop))
    assert ("train_cfg.max_iters=40 is shorter than the schedule" in caplog.text) == said


@pytest.mark.parametrize(
    ("crop_size", "said"), [((512, 512), True), ((192, 192), False), ([96, 96], False), (None, False), ("512", False)]
)
def test_a_crop_size_that_nothing_uses(caplog: pytest.LogCaptureFixture, crop_size: Any, said: bool) -> None:
    pipeline = [{"type": "RandomCrop", "crop_size": (192, 192)}]
    model = {"data_preprocessor": {"size": (96, 96)}}
    cfg = {"crop_size": crop_size, "train_dataloader": {"dataset": {"pipeline": pipeline}}, "model": model}
    check_sizes(run_of(cfg=cfg))
    assert ("is used by nothing: the parts have model.data_preprocessor.size=(96, 96)" in caplog.text) == said


def test_odd_labels_are_told_at_the_end_of_the_first_validation(caplog: pytest.LogCaptureFixture) -> None:
    metric = IoUMetric(num_classes=5)
    truth = torch.tensor([[2, 255, 255]])
    sample = {"gt_sem_seg": {"data": truth}, "pred_sem_seg": {"data": torch.zeros_like(truth)}}
    for _ in range(2):
        metric.process(None, [sample])
        metric.evaluate(1)
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [
        "classes 0 '0', 1 '1', 3 '3' and 1 more have no labelled pixel in this data set",
        "all labelled pixels are of one class, '2': is this the right folder?",
        "66.7 % of the pixels are left out (ignore_index): is that meant?",
    ]


# -- images of several sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["samples", "pairs", "dict"])
def test_images_of_several_sizes_are_predicted_as_one_by_one(form: str) -> None:
    from seg_runner import PixelData, SegDataSample

    torch.manual_seed(0)
    net = nn.Conv2d(3, 2, 3, padding=1)
    images = [torch.randn(3, 6, 8), torch.randn(3, 8, 6), torch.randn(3, 6, 8)]
    masks = [torch.randint(0, 2, image.shape[1:]) for image in images]
    samples = []
    for mask in masks:
        sample = SegDataSample(metainfo={"ori_shape": tuple(mask.shape)})
        sample.gt_sem_seg = PixelData(data=mask[None])
        samples.append(sample)
    model = LogitsModel(net, data_preprocessor=SegDataPreProcessor(size=(8, 8)) if form == "samples" else None)
    batches = {
        "samples": {"inputs": images, "data_samples": samples},
        "pairs": [images, masks],
        "dict": {"image": images, "mask": masks},
    }
    model.eval()
    found = model.val_step(batches[form])
    for image, one in zip(images, found, strict=True):
        assert np.array_equal(one.seg_logits.data.numpy(), net(image[None])[0].detach().numpy())
    each = [nn.functional.cross_entropy(net(i[None]), m[None]).item() for i, m in zip(images, masks, strict=True)]
    assert model.batch_losses(batches[form])["loss"].item() == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("loop", "told"),
    [
        ({"max_iters": 6, "val_begin": 7}, "val_begin=7 comes after the end of training (max_iters=6)"),
        ({"max_epochs": 1, "val_begin": 2}, "val_begin=2 comes after the end of training (max_epochs=1)"),
        ({"max_iters": 6, "val_begin": 6}, ""),
    ],
)
def test_a_validation_that_never_comes(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str], loop: dict[str, int], told: str
) -> None:
    make_runner(train_cfg=loop).train()
    said = capsys.readouterr().out
    assert told in said
    assert ("no validation is ever run" in said) == bool(told)


@pytest.mark.parametrize("waits", [False, True])
def test_a_schedule_in_epochs_where_iterations_count(
    make_runner: MakeRunner, caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    loop = IterBasedTrainLoop(make_runner(), [1], max_iters=40)
    schedule = SimpleNamespace(end=80, by_epoch=True, need_val_args=waits)
    check_lengths(run_of(param_schedulers=[schedule], train_loop=loop))
    told = "counts epochs (by_epoch=True), and this training counts iterations (train_cfg.max_iters=40)"
    assert (told in caplog.text) != waits
    assert ("max_epochs=1" in caplog.text) == waits


@pytest.mark.parametrize(("size", "left"), [(8, 4), (4, 0)])
@pytest.mark.parametrize("alone", [False, True])
def test_images_that_no_metric_sees(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str], size: int, left: int, alone: bool
) -> None:
    data = make_runner().arguments["val_dataloader"].dataset
    loader = DataLoader(torch.utils.data.Subset(data, range(12)), batch_size=size, drop_last=True)
    runner = make_runner(val_dataloader=loader)
    runner.val() if alone else runner.train()
    told = f"val_dataloader: drop_last=True leaves out {left} of 12 images"
    assert (told in capsys.readouterr().out) == bool(left)


@pytest.mark.parametrize("mode", ["val", "test"])
def test_an_endless_sampler_measures_nothing(make_runner: MakeRunner, mode: str) -> None:
    data = make_runner().arguments["val_dataloader"].dataset
    endless = {f"{mode}_dataloader": DataLoader(data, batch_size=4, sampler=InfiniteSampler(data))}
    runner = make_runner(**{f"{mode}_evaluator": IoUMetric(num_classes=3)}, **endless)
    with pytest.raises(ValueError, match=f"{mode}_dataloader.sampler is InfiniteSampler, which never ends"):
        getattr(runner, mode)()
