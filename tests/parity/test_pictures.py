"""`legacy_blend=True` against MMSegmentation's own visualizer, bit for bit, with the same OpenCV."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from seg_vis import SegLocalVisualizer, get_classes, get_palette

for package in ("mmengine", "mmcv", "mmseg"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402

CASES = [
    ("cityscapes", (128, 256), 0.8),
    ("ade20k", (400, 333), 0.5),
    ("voc", (31, 57), 0.3),
    ("cityscapes", (600, 900), 0.7),
]


@pytest.fixture(scope="module")
def reference() -> Any:
    """The reference's visualizer; the fork's imports without stand-ins."""
    if importlib.util.find_spec("torchvision") is not None:
        import_mmseg()
    return pytest.importorskip("mmseg.visualization").SegLocalVisualizer


def sample(truth: np.ndarray, guess: np.ndarray) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    made = SegDataSample()
    made.gt_sem_seg = PixelData(data=torch.from_numpy(truth)[None])
    made.pred_sem_seg = PixelData(data=torch.from_numpy(guess)[None])
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize(("data_set", "size", "alpha"), CASES)
def test_the_picture_is_the_references(
    reference: Any, data_set: str, size: tuple[int, int], alpha: float, names: bool
) -> None:
    rng = np.random.default_rng(0)
    classes, palette = get_classes(data_set), get_palette(data_set).tolist()
    coarse = rng.integers(0, len(classes), (5, 7))
    truth = coarse[np.arange(size[0]) * 5 // size[0]][:, np.arange(size[1]) * 7 // size[1]]
    truth[:9, :9] = 255
    image, both = rng.integers(0, 256, (*size, 3), dtype=np.uint8), sample(truth, np.roll(truth, 9, 1))
    theirs, ours = reference(alpha=alpha), SegLocalVisualizer(alpha=alpha, legacy_blend=True)
    for visualizer in (theirs, ours):
        visualizer.set_dataset_meta(classes=classes, palette=palette, dataset_name=data_set)
    drawn: list[np.ndarray] = []
    theirs.add_image = lambda name, picture, step=0: drawn.append(picture)
    theirs.add_datasample("street", image, both, with_labels=names)
    ours.add_datasample("street", image, both, with_labels=names)
    assert np.array_equal(ours.get_image(), drawn[0])
