"""The batch operation on the device changes colours as the transform of the pipeline does, given the same numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner.model.photometric import Draws, distorted

from seg_engine.data.colour import PhotoMetricDistortion


@pytest.mark.parametrize("coins", list(itertools.product((0, 1), repeat=5)))
def test_the_same_numbers_make_the_same_colours(monkeypatch: pytest.MonkeyPatch, coins: tuple[int, ...]) -> None:
    change, contrast, first, saturate, turn = coins
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    order = [change, first, *([contrast] if first else []), saturate, turn, *([] if first else [contrast])]
    asked = iter(order)
    monkeypatch.setattr("seg_engine.data.colour._coin", lambda: bool(next(asked)))
    factors = {(-32, 32): 11.5, (0.5, 1.5): 1.25, (0.5, 1.4): 0.75}
    monkeypatch.setattr(np.random, "uniform", lambda low, high: factors[low, high])
    monkeypatch.setattr(np.random, "randint", lambda *given: 7)
    record: dict[str, Any] = {"img": image}
    wanted = PhotoMetricDistortion(saturation_range=(0.5, 1.4))(record)["img"].astype(int)
    numbers = [11.5 * change, 1.25 if contrast else 1, first, 0.75 if saturate else 1, saturate, 7 * turn, turn]
    draws = Draws(*torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1, 1))
    found = distorted(torch.from_numpy(image.transpose(2, 0, 1).copy())[None], draws, bgr=True)
    off = np.abs(found[0].permute(1, 2, 0).numpy() - wanted)
    if not (saturate or turn):
        assert off.max() == 0
    assert off.max() <= 12  # where OpenCV rounds the hue the other way, by one of its 180 steps
    both = saturate and turn  # twice by way of HSV: what the first way rounds differently, the second one spreads
    assert (off > 1).mean() < (0.2 if both else 0.02)
    assert off.mean() < (0.7 if both else 0.3)
