"""Equal seeds give the colours of MMSegmentation, to the pixel, and leave the generator where it does."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

for package in ("mmengine", "mmcv", "mmseg"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: ./run parity", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402
from seg_engine.data.colour import PhotoMetricDistortion  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of MMSegmentation and its libraries

STRONG = {
    "brightness_delta": 100,
    "contrast_range": (0.1, 3.0),
    "saturation_range": (0.0, 4.0),
    "hue_delta": 90,
}


@pytest.mark.parametrize("options", [{}, STRONG], ids=["usual", "strong"])
def test_equal_seeds_give_equal_colours(options: dict[str, Any]) -> None:
    import_mmseg()
    from mmseg.datasets import transforms

    theirs, ours = transforms.PhotoMetricDistortion(**options), PhotoMetricDistortion(**options)
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for seed in range(200):  # all ways through the coins
        found = []
        for transform in (theirs, ours):
            np.random.seed(seed)
            found.append((transform({"img": image.copy()})["img"], np.random.random()))
        (wanted, after), (got, ours_after) = found
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted), seed
        assert ours_after == after
