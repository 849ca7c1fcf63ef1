"""Whole runs on data as people have it: many classes, other ignored labels, photos of several sizes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_registry import Config

from seg_engine.launch import make_runner

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]


def write(root: Path, maps: Sequence[np.ndarray[Any, Any]]) -> None:
    """Black images with these label maps."""
    for index, labels in enumerate(maps):
        for kind, pixels in (("images", np.zeros((*labels.shape, 3), np.uint8)), ("labels", labels)):
            (root / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / kind / f"{index}.png"), pixels)


def config(root: Path, classes: int, ignore: int, **more: Any) -> Config:
    """A run of two steps and a validation."""
    prefix = {"img_path": "images", "seg_map_path": "labels"}
    names = tuple(f"c{index}" for index in range(classes))
    dataset = {"type": "BaseSegDataset", "data_root": str(root), "data_prefix": prefix, "img_suffix": ".png"}
    dataset |= {"metainfo": {"classes": names}, "pipeline": LOAD}
    prepare = {"type": "SegDataPreProcessor", "size": (12, 12), "seg_pad_val": 255}
    network = {"type": "torch.nn.Conv2d", "in_channels": 3, "out_channels": classes, "kernel_size": 1}
    head = {"ignore_index": ignore}
    model = {"type": "Segmentor", "data_preprocessor": prepare, "network": network, "decode_head": head}
    loader = {"batch_size": 2, "num_workers": 0, "dataset": dataset}
    return Config(
        {
            "model": model,
            "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler", "shuffle": False}},
            "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
            "val_evaluator": {"type": "IoUMetric", "ignore_index": ignore},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 2, "val_interval": 2},
            "val_cfg": {"type": "ValLoop"},
            "work_dir": str(root / "work"),
            "default_hooks": {"logger": {"type": "LoggerHook", "interval": 1}, "checkpoint": None},
            "log_processor": {"by_epoch": False},
        }
        | more
    )


def test_more_than_255_classes_work_from_file_to_metric(tmp_path: Path) -> None:
    labels = np.arange(144, dtype=np.uint16).reshape(12, 12) + 150
    labels[0, 0] = 65535
    write(tmp_path, [labels, labels])
    runner = make_runner(config(tmp_path, 300, 65535))
    runner.train()
    assert np.isfinite(runner.message_hub.get_scalar("train/loss").current())
    assert runner.val()["mAcc"] >= 0


@pytest.mark.parametrize("ignore", [0, 254])
def test_the_ignored_label_of_the_head_is_that_of_all_padding(
    tmp_path: Path, ignore: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels 255 of the files and added pixels would be outside the three classes for this loss."""
    small = np.array([[1, 2, 255], [2, 1, 255]], np.uint8)
    write(tmp_path, [small, small])
    cfg = config(tmp_path, 3, ignore, val_dataloader=None, val_evaluator=None, val_cfg=None)
    with caplog.at_level(logging.INFO):
        runner = make_runner(cfg)
        runner.train()
    assert runner.model.data_preprocessor.seg_pad_val == ignore
    assert np.isfinite(runner.message_hub.get_scalar("train/loss").current())


def test_photos_of_several_sizes_are_validated_in_one_batch(tmp_path: Path) -> None:
    wide = np.zeros((6, 8), np.uint8)
    wide[:, 4:] = 1
    write(tmp_path, [wide, wide.T.copy(), wide])
    runner = make_runner(config(tmp_path, 2, 255))
    runner.train()
    several = runner.val()
    alone = config(tmp_path, 2, 255)
    alone.val_dataloader.batch_size = 1
    again = make_runner(alone)
    again.train()
    assert again.val() == several


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pipeline": [LOAD[0], LOAD[2]]}, "no 'gt_sem_seg'.*LoadAnnotations, before PackSegInputs"),
        ({"pipeline": LOAD[:2]}, "PackSegInputs at the end of a pipeline"),
        ({"pipeline": []}, "is the pipeline of the data set missing"),
    ],
)
def test_what_a_pipeline_lacks_is_told(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write(tmp_path, [np.zeros((12, 12), np.uint8)])
    cfg = config(tmp_path, 2, 255)
    cfg.train_dataloader.dataset.update(change)
    with pytest.raises((AttributeError, TypeError), match=words):
        make_runner(cfg).train()


def test_a_list_of_data_sets_is_told_to_be_joined(tmp_path: Path) -> None:
    write(tmp_path, [np.zeros((12, 12), np.uint8)])
    cfg = config(tmp_path, 2, 255)
    cfg.train_dataloader.dataset = [cfg.train_dataloader.dataset] * 2
    with pytest.raises(TypeError, match=r"dataset is a list of 2 data sets: write dict.type='ConcatDataset'"):
        make_runner(cfg).train()
