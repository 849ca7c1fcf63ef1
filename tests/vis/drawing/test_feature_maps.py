"""Feature maps and depth maps as pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from seg_vis import Visualizer, feature_map
from seg_vis.drawing.feature_maps import depth_map


def jet(codes: np.ndarray) -> np.ndarray:
    return cv2.applyColorMap(codes, cv2.COLORMAP_JET)[..., ::-1]


FEATURES = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)


def codes_of(plane: np.ndarray) -> np.ndarray:
    return ((plane - plane.min()) / (plane.max() - plane.min()) * 255).astype(np.uint8)


def test_the_mean_of_the_channels() -> None:
    assert np.array_equal(feature_map(FEATURES), jet(codes_of(FEATURES.mean(axis=0))))


def test_the_strongest_channel() -> None:
    strongest = FEATURES[FEATURES.sum(axis=(1, 2)).argmax()]
    assert np.array_equal(feature_map(FEATURES, channel_reduction="select_max"), jet(codes_of(strongest)))


def test_a_grid_of_the_strongest_channels() -> None:
    sheet = feature_map(FEATURES, channel_reduction=None, topk=5, arrangement=(2, 3))
    order = np.argsort(-FEATURES.sum(axis=(1, 2)))
    assert sheet.shape == (16, 30, 3)
    assert np.array_equal(sheet[8:, :10], jet(codes_of(FEATURES[order[3]])))
    assert (sheet[8:, 20:] == 255).all()
    with pytest.raises(ValueError, match="no room for 6 channels"):
        feature_map(FEATURES, channel_reduction=None, topk=20, arrangement=(1, 3))


def test_one_or_three_channels_as_they_are() -> None:
    assert np.array_equal(feature_map(FEATURES[:1], channel_reduction=None, topk=0), jet(codes_of(FEATURES[0])))
    three = feature_map(FEATURES[:3], channel_reduction=None, topk=-1)
    assert np.array_equal(three, codes_of(FEATURES[:3].transpose(1, 2, 0)))
    with pytest.raises(ValueError, match="1 or 3 channels, got 6"):
        feature_map(FEATURES, channel_reduction=None, topk=0)


def test_over_an_image_in_its_size() -> None:
    image = np.full((16, 20, 3), 50, np.uint8)
    assert feature_map(FEATURES, image).shape == (16, 20, 3)
    flat = feature_map(np.ones((2, 4, 5)), image, alpha=0.5)
    assert flat[0, 0].tolist() == [25, 25, 89]
    assert Visualizer.draw_featmap(FEATURES, resize_shape=(3, 4)).shape == (3, 4, 3)


def test_resizing_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    plane = torch.nn.functional.interpolate(
        torch.from_numpy(FEATURES[None, :1]), (16, 30), mode="bilinear", align_corners=False
    )[0]
    own = feature_map(torch.from_numpy(FEATURES[:1]), resize_shape=(16, 30))
    assert (np.abs(own.astype(int) - feature_map(plane)).max(axis=2) > 8).mean() < 0.01


def test_bad_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="C x H x W"):
        feature_map(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="NaN"):
        feature_map(np.full((1, 2, 2), np.nan))
    with pytest.raises(ValueError, match="channel_reduction must be"):
        feature_map(FEATURES, channel_reduction="mean")


def test_depth_is_stretched_into_the_images_size() -> None:
    depth = np.linspace(0, 80, 60).reshape(6, 10)
    assert depth_map(depth, (12, 20)).shape == (12, 20, 3)
    assert np.array_equal(depth_map(depth[None], (6, 10)), jet(codes_of(depth.astype(np.float32))))
    assert depth_map(np.ones((1, 2, 2)), (2, 2)).shape == (2, 2, 3)
