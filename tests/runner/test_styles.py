"""One journey per loop and data style: train, validate, save; cut in two and resumed, it is the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, PixelData, Runner, SegDataPreProcessor, SegDataSample
from seg_runner.data.samples import pseudo_collate
from torch.utils.data import DataLoader, Dataset

MakeRunner = Callable[..., Runner]


def as_tuple(image: torch.Tensor, mask: torch.Tensor) -> Any:
    return image, mask


def as_dict(image: torch.Tensor, mask: torch.Tensor) -> Any:
    return {"image": image, "mask": mask}


def as_samples(image: torch.Tensor, mask: torch.Tensor) -> Any:
    meta = {"ori_shape": (6, 6), "img_shape": (6, 6), "img_path": "a.png"}
    sample = SegDataSample(gt_sem_seg=PixelData(data=mask[None]), metainfo=meta)
    return {"inputs": (image * 40 + 100).clamp(0, 255).to(torch.uint8), "data_samples": sample}


class Styled(Dataset[Any]):
    """The squares in one of the styles, with a random shift from torch's generator."""

    def __init__(self, data: Any, style: Callable[..., Any]) -> None:
        self.data, self.style = data, style

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.data[index]
        return self.style(image + 0.1 * torch.randn(1), mask)


STYLES: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "tuples": (as_tuple, {}, False),
    "dicts": (as_dict, {}, False),
    "samples": (as_samples, {"collate_fn": pseudo_collate}, True),
}
LOOPS: dict[str, Callable[[int], dict[str, Any]]] = {
    "iterations": lambda steps: {"max_iters": steps, "val_interval": 3},
    "epochs": lambda steps: {"max_epochs": steps // 3},
}


@pytest.fixture
def style_runner(make_runner: MakeRunner, squares: Any, tmp_path: Path) -> Callable[..., Runner]:
    def make(style: str, folder: str, **changed: Any) -> Runner:
        shape, options, samples = STYLES[style]
        norm = SegDataPreProcessor(mean=[100.0] * 3, std=[40.0] * 3, size=(6, 6)) if samples else None
        loaders = [DataLoader(Styled(squares(seed=s), shape), batch_size=4, shuffle=not s, **options) for s in (0, 1)]
        return make_runner(
            train_dataloader=loaders[0],
            val_dataloader=loaders[1],
            val_evaluator=IoUMetric(num_classes=3),
            data_preprocessor=norm,
            work_dir=tmp_path / folder,
            **changed,
        )

    return make


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("loop", LOOPS)
def test_train_validate_cut_and_resume(loop: str, style: str, style_runner: Callable[..., Runner]) -> None:
    whole = style_runner(style, "whole", train_cfg=LOOPS[loop](12))
    whole.train()
    style_runner(style, "cut", train_cfg=LOOPS[loop](6)).train()
    cut = style_runner(style, "cut", train_cfg=LOOPS[loop](12), resume=True, randomness=None)
    cut.train()
    assert cut.iter == whole.iter == 12
    for one, two in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert cut.val() == whole.val()


@pytest.mark.parametrize("style", STYLES)
def test_it_learns(style: str, style_runner: Callable[..., Runner]) -> None:
    runner = style_runner(style, "learns", train_cfg={"max_iters": 150, "val_interval": 150})
    runner.train()
    assert runner.val()["mIoU"] > 60
