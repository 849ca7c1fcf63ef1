from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_engine.data.colour import PhotoMetricDistortion
from seg_engine.data.geometry import Pad, RandomCrop, RandomFlip, RandomRotate
from seg_engine.data.pipeline import Compose
from seg_engine.data.resizing import RandomChoiceResize, RandomResize, Resize, fitted


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Numpy's generator as it was before."""
    state = np.random.get_state()
    np.random.seed(0)
    yield
    np.random.set_state(state)


def record(height: int = 20, width: int = 30) -> dict[str, Any]:
    """Every pixel's label is its colour, so that a picture and labels that part are noticed."""
    labels = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    return {"img": np.repeat(labels[..., None], 3, 2), "gt_seg_map": labels, "seg_fields": ["gt_seg_map"]}


def agree(result: dict[str, Any]) -> bool:
    return bool(np.array_equal(result["img"][..., 0], result["gt_seg_map"]))


def test_resize_to_a_size_and_by_a_factor() -> None:
    result = Resize(scale=(60, 10))(record())
    assert result["img"].shape == (10, 60, 3)
    assert result["gt_seg_map"].shape == (10, 60)
    assert result["scale_factor"] == (2.0, 0.5)
    assert Resize(scale_factor=2.0)(record())["img"].shape == (40, 60, 3)
    assert Resize(scale_factor=(1.0, 0.5))(record())["img"].shape == (10, 30, 3)


def test_resize_keeps_the_shape_if_asked() -> None:
    assert Resize(scale=(90, 45), keep_ratio=True)(record())["img"].shape == (45, 68, 3)


def test_resize_needs_one_of_two() -> None:
    for options in ({}, {"scale": (1, 1), "scale_factor": 2.0}):
        with pytest.raises(ValueError, match="one of them"):
            Resize(**options)


@given(st.tuples(st.integers(8, 400), st.integers(8, 400)), st.tuples(st.integers(8, 400), st.integers(8, 400)))
def test_a_fitted_picture_has_room_and_touches_a_side(size: tuple[int, int], scale: tuple[int, int]) -> None:
    width, height = fitted(size, scale)
    assert max(width, height) <= max(scale)
    assert min(width, height) <= min(scale)
    assert max(width, height) == max(scale) or min(width, height) == min(scale)


def test_labels_are_never_mixed_by_resizing() -> None:
    pair = {**record(), "gt_seg_map": np.array([[0, 255]] * 2, np.uint8).repeat(10, 0).repeat(15, 1)}
    assert set(np.unique(Resize(scale=(77, 41))(pair)["gt_seg_map"])) == {0, 255}


def test_random_resize_stays_within_its_range() -> None:
    sizes = {RandomResize(scale=(40, 20), ratio_range=(0.5, 2.0))(record())["img"].shape[:2] for _ in range(60)}
    assert len(sizes) > 20
    assert all(10 <= height <= 40 and 20 <= width <= 80 for height, width in sizes)
    between = {RandomResize(scale=[(20, 10), (40, 12)])(record())["img"].shape[:2] for _ in range(60)}
    assert all(10 <= height <= 12 and 20 <= width <= 40 for height, width in between)
    with pytest.raises(ValueError, match="ratio_range"):
        RandomResize(scale=(40, 20))


def test_random_crop_cuts_image_and_labels_alike() -> None:
    places = set()
    for _ in range(40):
        result = RandomCrop(crop_size=(8, 12))(record())
        assert result["img"].shape == (8, 12, 3)
        assert result["img_shape"] == (8, 12)
        assert agree(result)
        places.add(int(result["gt_seg_map"][0, 0]))
    assert len(places) > 10


def test_a_smaller_image_stays_whole() -> None:
    assert RandomCrop(crop_size=64)(record())["img"].shape == (20, 30, 3)


def test_random_crop_avoids_one_class_alone() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[:, 20:] = 1
    labels[:4] = 255
    pair = {**record(40, 40), "gt_seg_map": labels}
    crop = RandomCrop(crop_size=(16, 16), cat_max_ratio=0.95)
    mixed = [len(np.unique(crop({**pair})["gt_seg_map"])) > 1 for _ in range(60)]
    assert sum(mixed) > 55
    assert not crop.mixed(np.full((2, 2), 255, np.uint8))


def test_random_flip_mirrors_image_and_labels() -> None:
    flipped = [RandomFlip(prob=0.5)(record()) for _ in range(200)]
    share = sum(result["flip"] for result in flipped) / 200
    assert 0.35 < share < 0.65
    assert all(agree(result) for result in flipped)
    assert {result["flip_direction"] for result in flipped} == {None, "horizontal"}


@pytest.mark.parametrize(("direction", "axes"), [("horizontal", (1,)), ("vertical", (0,)), ("diagonal", (0, 1))])
def test_each_direction(direction: str, axes: tuple[int, ...]) -> None:
    result = RandomFlip(prob=1.0, direction=direction)(record())
    assert np.array_equal(result["gt_seg_map"], np.flip(record()["gt_seg_map"], axes))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 9)])
@pytest.mark.parametrize(("direction", "axes"), [("horizontal", (1,)), ("vertical", (0,)), ("diagonal", (0, 1))])
def test_arrays_of_every_kind_are_mirrored(
    kind: type, shape: tuple[int, ...], direction: str, axes: tuple[int, ...]
) -> None:
    pixels = np.random.randint(0, 2, shape).astype(kind)
    found = RandomFlip(prob=1.0, direction=direction)({"img": pixels[:, ::-1][:, ::-1]})["img"]
    assert np.array_equal(found, np.flip(pixels, axes))
    assert (found.dtype, found.shape) == (pixels.dtype, pixels.shape)


def test_several_directions_have_their_probabilities() -> None:
    flip = RandomFlip(prob=[0.2, 0.8], direction=["horizontal", "vertical"])
    found = [flip(record())["flip_direction"] for _ in range(200)]
    assert 100 < found.count("vertical") < 190
    assert None not in found
    with pytest.raises(ValueError, match="direction='sideways'"):
        RandomFlip(direction="sideways")
    with pytest.raises(ValueError, match="prob"):
        RandomFlip(prob=[0.9, 0.9], direction=["horizontal", "vertical"])


def test_photometric_distortion_changes_colours_only() -> None:
    before = record()
    seen = set()
    for _ in range(30):
        result = PhotoMetricDistortion()({**before})
        assert result["img"].dtype == np.uint8
        assert result["gt_seg_map"] is before["gt_seg_map"]
        seen.add(result["img"].tobytes())
    assert len(seen) > 15


@given(seed=st.integers(0, 10_000), strong=st.booleans(), floats=st.booleans())
def test_a_table_gives_the_pixels_of_the_plain_formulae(seed: int, strong: bool, floats: bool) -> None:
    options: dict[str, Any] = {
        "brightness_delta": 100 if strong else 32,
        "contrast_range": (0.1, 3.0) if strong else (0.5, 1.5),
        "saturation_range": (0.0, 4.0) if strong else (0.5, 1.5),
        "hue_delta": 90 if strong else 18,
    }
    image: Any = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    image = image.astype(np.float32) + 0.25 if floats else image
    np.random.seed(seed)
    found = PhotoMetricDistortion(**options)({"img": image})["img"]
    np.random.seed(seed)
    assert np.array_equal(found, distorted(image, **options))


def distorted(
    image: Any, brightness_delta: float, contrast_range: Any, saturation_range: Any, hue_delta: int
) -> npt.NDArray[np.uint8]:
    """The four changes pixel by pixel, in the order and with the draws of the transform."""

    def as_bytes(values: Any) -> Any:
        return np.clip(values, 0, 255).astype(np.uint8)

    def in_hsv(values: Any, change: Any) -> Any:
        hsv: Any = cv2.cvtColor(as_bytes(values), cv2.COLOR_BGR2HSV).astype(np.float32)
        change(hsv)
        return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR).astype(np.float32)

    def saturate(hsv: Any) -> None:
        hsv[..., 1] = np.clip(hsv[..., 1] * np.random.uniform(*saturation_range), 0, 255)

    def turn(hsv: Any) -> None:
        hsv[..., 0] = (hsv[..., 0] + np.random.randint(-hue_delta, hue_delta)) % 180

    pixels: Any = image.astype(np.float32)
    if np.random.randint(2):
        pixels = as_bytes(pixels + np.random.uniform(-brightness_delta, brightness_delta)).astype(np.float32)
    contrast_first = np.random.randint(2)
    if contrast_first and np.random.randint(2):
        pixels = as_bytes(pixels * np.random.uniform(*contrast_range)).astype(np.float32)
    for change in (saturate, turn):
        if np.random.randint(2):
            pixels = in_hsv(pixels, change)
    if not contrast_first and np.random.randint(2):
        pixels = pixels * np.random.uniform(*contrast_range)
    return as_bytes(pixels)


def test_the_same_seed_gives_the_same_sample() -> None:
    chain = Compose([RandomResize((30, 20), (0.5, 2.0)), RandomCrop(8), RandomFlip(0.5), PhotoMetricDistortion()])
    np.random.seed(7)
    one = chain(record())
    np.random.seed(7)
    two = chain(record())
    assert np.array_equal(one["img"], two["img"])
    assert np.array_equal(one["gt_seg_map"], two["gt_seg_map"])


def test_a_chain_takes_dicts_and_functions_and_says_where_it_broke() -> None:
    def fail(result: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no")

    chain = Compose([{"type": "RandomFlip", "prob": 1.0}, fail])
    with pytest.raises(ValueError, match="no") as caught:
        chain({**record(), "img_path": "a.png"})
    assert caught.value.__notes__ == ["in transform fail of a.png"]
    with pytest.raises(TypeError, match="a dict with a type"):
        Compose([3])


def test_one_of_several_sizes() -> None:
    sizes = {RandomChoiceResize([(10, 10), (20, 30)])(record())["img"].shape[:2] for _ in range(30)}
    assert sizes == {(10, 10), (30, 20)}
    assert RandomChoiceResize([40])(record())["img"].shape[:2] == (40, 60)
    assert RandomChoiceResize([40], max_size=45)(record())["img"].shape[:2] == (30, 45)
    with pytest.raises(ValueError, match="empty"):
        RandomChoiceResize([])


def test_pad_reaches_a_size_or_a_multiple() -> None:
    result = Pad(size=(40, 24), pad_val={"img": 7, "seg": 255})(record())
    assert result["img"].shape == (24, 40, 3)
    assert result["pad_shape"] == (24, 40)
    assert (result["img"][20:] == 7).all()
    assert (result["gt_seg_map"][:, 30:] == 255).all()
    assert np.array_equal(result["gt_seg_map"][:20, :30], record()["gt_seg_map"])
    assert Pad(size_divisor=16)(record())["img"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match="one of them"):
        Pad()


def test_rotation_turns_image_and_labels_alike() -> None:
    result = RandomRotate(prob=1.0, degree=(180, 180))(record())
    assert np.array_equal(result["gt_seg_map"], record()["gt_seg_map"][::-1, ::-1])
    assert agree(result)
    corner = RandomRotate(prob=1.0, degree=(45, 45))(record())
    assert corner["gt_seg_map"][0, 0] == 255
    assert np.array_equal(RandomRotate(prob=0.0, degree=30)(record())["img"], record()["img"])
    with pytest.raises(ValueError, match=r"prob must be .* not 2"):
        RandomRotate(prob=2, degree=1)


@pytest.mark.parametrize("keep_ratio", [False, True])
def test_a_drawn_size_keeps_a_pixel(keep_ratio: bool) -> None:
    record = {"img": np.zeros((9, 90, 3), np.uint8)}
    resize = RandomResize(scale=(8, 8), ratio_range=(0.001, 0.01), keep_ratio=keep_ratio)
    assert resize(record)["img"].shape == (1, 1, 3)


@pytest.mark.parametrize("size", [(5, 7), (5, 20), (20, 7), (8, 10), (9, 11)])
@pytest.mark.parametrize("label", [255, 0, 7, -1, 2**31 - 1])
def test_a_crop_takes_what_is_there_whatever_the_labels(size: tuple[int, int], label: int) -> None:
    labels = np.full(size, label, np.int32 if not 0 <= label < 256 else np.uint8)
    record = {"img": np.zeros((*size, 3), np.uint8), "gt_seg_map": labels, "seg_fields": ["gt_seg_map"]}
    made = RandomCrop((8, 10), cat_max_ratio=0.75)(record)
    assert made["img"].shape[:2] == made["gt_seg_map"].shape == (min(size[0], 8), min(size[1], 10))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(-1, 6), st.sampled_from([255, 3, -1]))
def test_a_crop_of_bytes_is_judged_as_one_of_more_bits(values: list[int], own: int, left_out: int) -> None:
    crop = RandomCrop(4, cat_max_ratio=0.5, ignore_index=own)
    assert crop.mixed(np.array([values], np.uint8), left_out) == crop.mixed(np.array([values], np.int16), left_out)
