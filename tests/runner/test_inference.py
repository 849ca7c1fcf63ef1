"""Inference as pure functions: windows, padding, flips, sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import SegDataSample
from seg_runner.inference import infer, labels_of, read_test_cfg, resize, restore, slide, write_prediction


def test_whole_images_at_their_own_size() -> None:
    images = torch.rand(2, 3, 8, 12)
    logits = infer(lambda batch: F.avg_pool2d(batch, 4), images, read_test_cfg(None))
    assert logits.shape == images.shape
    assert infer(lambda batch: batch, images, read_test_cfg({"mode": "whole"})) is images


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.data())
def test_windows_cover_every_pixel_and_averages_are_right(h: int, w: int, ch: int, cw: int, data: Any) -> None:
    stride = (data.draw(st.integers(1, ch)), data.draw(st.integers(1, cw)))
    image = torch.rand(1, 2, h, w)
    sizes = set()

    def forward(part: torch.Tensor) -> torch.Tensor:
        sizes.add(tuple(part.shape[-2:]))
        return part * 3

    assert torch.allclose(slide(forward, image, (ch, cw), stride), image * 3, atol=1e-5)
    assert sizes == {(min(h, ch), min(w, cw))}


def test_overlaps_are_averaged_on_logits() -> None:
    calls = iter([1.0, 3.0])
    image = torch.zeros(1, 3, 2, 6)
    logits = slide(lambda part: torch.full((1, 1, *part.shape[-2:]), next(calls)), image, (2, 4), (2, 2))
    assert logits[0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_logits_of_windows_may_be_smaller() -> None:
    logits = slide(lambda part: F.avg_pool2d(part, 2), torch.ones(2, 3, 6, 6), (4, 4), (2, 2))
    assert logits.shape == (2, 3, 6, 6)
    assert torch.allclose(logits, torch.ones_like(logits))


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        ({"mode": "tiles"}, "'tiles'"),
        ({"mode": "slide", "stride": (1, 1)}, "crop_size"),
        ({"mode": "slide", "crop_size": (4, 4)}, "stride"),
        ({"mode": "slide", "crop_size": (4, 0), "stride": (1, 1)}, "positive"),
        ({"mode": "slide", "crop_size": (4,), "stride": (1, 1)}, "two positive"),
    ],
)
def test_mistakes_in_test_cfg(cfg: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_test_cfg(cfg)


def test_gaps_between_windows_are_reported() -> None:
    with pytest.warns(UserWarning, match="no prediction"):
        read_test_cfg({"mode": "slide", "crop_size": (4, 4), "stride": (5, 4)})
    assert read_test_cfg({"mode": "slide", "crop_size": 4, "stride": 2})["crop_size"] == (4, 4)


@pytest.mark.parametrize(("direction", "axes"), [("horizontal", [2]), ("vertical", [1]), ("diagonal", [1, 2])])
def test_padding_goes_and_flips_are_undone(direction: str, axes: list[int]) -> None:
    logits = torch.rand(2, 4, 6)
    seen = F.pad(torch.flip(logits, axes), (1, 2, 3, 0))
    facts = {"padding_size": (1, 2, 3, 0), "flip": True, "flip_direction": direction, "ori_shape": (4, 6)}
    assert torch.equal(restore(seen, facts), logits)


def test_padding_of_testing_comes_before_that_of_training() -> None:
    facts = {"padding_size": (0, 3, 0, 3), "img_padding_size": (0, 1, 0, 0)}
    assert restore(torch.zeros(1, 4, 6), facts).shape == (1, 4, 5)


def test_back_to_the_original_size() -> None:
    logits = torch.rand(2, 4, 6)
    assert restore(logits, {"ori_shape": (8, 12)}).shape == (2, 8, 12)
    assert restore(logits, {"ori_shape": (8, 12, 3)}, size=(5, 5)).shape == (2, 5, 5)
    assert torch.equal(
        restore(logits, {"ori_shape": (8, 12)}, align_corners=True), resize(logits[None], (8, 12), True)[0]
    )


def test_an_unknown_flip_is_named() -> None:
    with pytest.raises(ValueError, match="'sideways'"):
        restore(torch.zeros(1, 2, 2), {"flip": True, "flip_direction": "sideways"})


def test_labels() -> None:
    assert labels_of(torch.tensor([[[0.1, 2.0]], [[0.2, 1.0]]])).tolist() == [[[1, 0]]]
    assert labels_of(torch.tensor([[[-1.0, 0.1]]])).tolist() == [[[0, 1]]]
    assert labels_of(torch.tensor([[[-1.0, 0.1]]]), threshold=0.9).tolist() == [[[0, 0]]]


def test_what_is_written_into_a_sample() -> None:
    sample = write_prediction(SegDataSample(), torch.tensor([[[-10.0, 10.0]]]))
    assert sample.seg_logits.data.tolist() == [[[pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4)]]]
    assert sample.pred_sem_seg.data.tolist() == [[[0, 1]]]
