"""Inference as pure functions: windows, padding, flips, sizes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import LogitsModel, SegDataSample
from seg_runner.model.inference import (
    best_class,
    infer,
    labels_of,
    read_test_cfg,
    resize,
    restore,
    slide,
    write_prediction,
)


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


def by_hand(net: Any, image: torch.Tensor, crop: tuple[int, int], stride: tuple[int, int], align: bool) -> torch.Tensor:
    """The mean of the logits of all windows over each pixel, pixel by pixel."""
    height, width = image.shape[-2:]
    tops, lefts = (
        sorted({max(min(start, side - size), 0) for start in range(0, max(side - size, 0) + step, step)})
        for side, size, step in zip((height, width), crop, stride, strict=True)
    )
    seen: dict[tuple[int, int], list[torch.Tensor]] = {}
    for top in tops:
        for left in lefts:
            part = image[:, :, top : top + crop[0], left : left + crop[1]]
            scores = F.interpolate(net(part), part.shape[-2:], mode="bilinear", align_corners=align)
            for y in range(part.shape[-2]):
                for x in range(part.shape[-1]):
                    seen.setdefault((top + y, left + x), []).append(scores[0, :, y, x])
    rows = [[torch.stack(seen[y, x]).mean(0) for x in range(width)] for y in range(height)]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)[None]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (5, 20), (20, 7), (8, 10), (9, 10), (9, 11), (19, 23), (1, 1)])
@pytest.mark.parametrize("stride", [(8, 10), (3, 7), (5, 1)])
def test_windows_are_what_one_gets_by_hand(size: tuple[int, int], stride: tuple[int, int], align: bool) -> None:
    net = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)
    image, crop = torch.rand(1, 3, *size), (8, 10)
    cfg = read_test_cfg({"mode": "slide", "crop_size": crop, "stride": stride})
    with torch.no_grad():
        found = infer(net, image, cfg, align_corners=align)
        assert torch.allclose(found, by_hand(net, image, crop, stride, align), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_16_bits_are_added_up_in_32(dtype: torch.dtype) -> None:
    image = torch.ones(1, 1, 4, 9)
    found = slide(lambda part: (part * 30000).to(dtype), image, (4, 4), (1, 1))
    assert found.dtype is torch.float32
    assert torch.equal(found, (image * 30000).to(dtype).float())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_several_sizes_in_windows_with_mixed_precision(channels: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, channels, 3, padding=1).eval()
    sizes = [(5, 9), (9, 5), (8, 8), (9, 17), (4, 4)]
    images = [torch.rand(3, *size) for size in sizes]
    model = LogitsModel(net, test_cfg={"mode": "slide", "crop_size": (8, 8), "stride": (5, 3)})
    batch = {"inputs": images, "data_samples": [SegDataSample(metainfo={"ori_shape": size}) for size in sizes]}
    with torch.autocast("cpu", torch.bfloat16):
        found = model.test_step(batch)
    with torch.no_grad():
        for image, sample in zip(images, found, strict=True):
            logits = by_hand(net, image[None], (8, 8), (5, 3), align=False)[0]
            expected = logits.sigmoid() if channels == 1 else logits
            assert sample.seg_logits.data.dtype is torch.float32
            assert torch.allclose(sample.seg_logits.data, expected, atol=0.02)


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
        ({"mode": "slide", "crop_size": (4, 4), "stride": (1, 1), "windows": 0}, "test_cfg.windows"),
    ],
)
def test_mistakes_in_test_cfg(cfg: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_test_cfg(cfg)


def test_gaps_between_windows_are_reported_and_an_error_where_an_image_has_them() -> None:
    with pytest.warns(UserWarning, match="stride .* is larger than crop_size"):
        cfg = read_test_cfg({"mode": "slide", "crop_size": (4, 4), "stride": (6, 4)})
    small = torch.rand(1, 2, 4, 9)
    assert torch.equal(infer(lambda part: part, small, cfg), small)
    near = torch.rand(1, 2, 8, 9)  # the last window is moved inside: nothing is left out
    assert torch.equal(infer(lambda part: part, near, cfg), near)
    with pytest.raises(ValueError, match="windows of 4 pixels that begin 6 apart leave out pixels of a side of 10"):
        infer(lambda part: part, torch.rand(1, 2, 10, 9), cfg)
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


@pytest.mark.parametrize("shape", [(2, 19, 40, 1000), (1, 64, 99, 300), (2, 2, 1, 40000), (3, 1, 5, 7), (2, 5, 0, 4)])
@pytest.mark.parametrize("form", ["with NaN", "cut out", "channels last"])
def test_the_best_class_of_many_pixels(shape: tuple[int, ...], form: str) -> None:
    logits = torch.randn(shape).mul(3).round()  # of whole numbers many are equal
    if form == "with NaN":
        logits.view(-1)[5:500:7] = math.nan
    if form == "cut out":
        logits = logits[..., :-1]
    if form == "channels last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    assert torch.equal(best_class(logits, 1), logits.argmax(1))
    assert torch.equal(best_class(logits, 1, keepdim=True), logits.argmax(1, keepdim=True))


def test_the_best_class_inside_of_a_compiled_function() -> None:
    logits = torch.randn(2, 5, 128, 128)
    compiled = torch.compile(lambda values: best_class(values, 1), backend="eager", fullgraph=True)
    assert torch.equal(compiled(logits), logits.argmax(1))


def peak_of(function: Any) -> int:
    """The most bytes of tensors that a call holds at a time, beside those that were there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        result = function()
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    del result
    return max(itertools.accumulate(one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())))


def test_the_best_class_needs_no_memory_of_the_size_of_the_logits() -> None:
    """The labels, and what belongs to a strip of rows."""
    logits = torch.randn(19, 512, 1024)
    labels = 8 * 512 * 1024
    assert labels <= peak_of(lambda: best_class(logits, 0)) < 1.2 * labels


def test_windows_need_no_more_memory_than_by_hand() -> None:
    """The sum of all windows, the logits of one, and counts: no second tensor of the size of the image."""
    image, classes, crop = torch.rand(1, 1, 96, 160), 40, 32
    of_all, of_one = 4 * classes * 96 * 160, 4 * classes * crop * crop

    def slid() -> torch.Tensor:
        return slide(lambda part: part.expand(-1, classes, -1, -1).clone(), image, (crop, crop), (24, 24))

    with torch.no_grad():
        assert of_all < peak_of(slid) <= of_all + of_one + 4 * image.numel()


def test_labels_of_resized_logits_are_found_in_the_memory_of_the_smaller_ones() -> None:
    net = torch.nn.Conv2d(3, 30, 1)
    model = LogitsModel(net).eval()
    batch = {"inputs": [torch.rand(3, 64, 64)], "data_samples": [SegDataSample(metainfo={"ori_shape": (96, 96)})]}
    logits, image, labels = 4 * 30 * (64 * 64 + 96 * 96), 4 * 3 * 64 * 64, 8 * 96 * 96
    peak = peak_of(lambda: model.test_step(batch))
    assert logits <= peak < logits + image + labels


@pytest.mark.parametrize("at_once", [2, 3, 100])
def test_several_windows_at_a_time(at_once: int) -> None:
    """Fewer calls, the same windows in the same order, and so the same sums."""
    images, calls = torch.rand(2, 3, 20, 23), []

    def forward(parts: torch.Tensor) -> torch.Tensor:
        calls.append(len(parts))
        return parts * 3 + parts.flip(1)

    one = slide(forward, images, (8, 10), (5, 6))
    count, calls = len(calls), []
    cfg = read_test_cfg({"mode": "slide", "crop_size": (8, 10), "stride": (5, 6), "windows": at_once})
    assert torch.equal(infer(forward, images, cfg), one)
    full, rest = divmod(count, at_once)
    assert calls == [2 * at_once] * full + [2 * rest] * bool(rest)


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, 1.0, math.inf, -math.inf, math.nan]), min_size=24, max_size=24),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    dim=st.integers(0, 2),
)
def test_the_best_class_is_that_of_argmax(values: list[float], dtype: torch.dtype, dim: int) -> None:
    logits = torch.tensor(values, dtype=dtype).reshape(2, 3, 4)
    assert torch.equal(best_class(logits, dim), logits.argmax(dim))
    assert torch.equal(best_class(logits, dim, keepdim=True), logits.argmax(dim, keepdim=True))
