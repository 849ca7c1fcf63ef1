"""Pixels that are made when they are asked for are those of the plain order: read all, resize all, crop."""

from __future__ import annotations

import copy
import io
import pickle
from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg_engine.data.colour import PhotoMetricDistortion
from seg_engine.data.geometry import RandomCrop, RandomFlip
from seg_engine.data.loading import COLOUR_FLAGS, LoadAnnotations, LoadImageFromFile, PackSegInputs
from seg_engine.data.pipeline import Compose
from seg_engine.data.resizing import RandomChoiceResize, RandomResize, Resize
from seg_engine.data.views import View

sides = st.integers(1, 90)
LABELS = (np.uint8, np.int16, np.int32)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Numpy's generator as it was before."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def drawn(shape: tuple[int, ...], dtype: Any, number: int = 0) -> npt.NDArray[Any]:
    random = np.random.default_rng(number)
    few = np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize == 1
    pixels: npt.NDArray[Any] = random.integers(0, 256 if few else 3000, shape).astype(dtype)
    return pixels + random.random(shape, np.float32) if dtype is np.float32 else pixels


def one_by_one(transforms: list[Any], record: dict[str, Any]) -> Any:
    """The plain order: each transform called by itself, which gives pixels."""
    for transform in transforms:
        record = transform(record)
    return record


def assert_equal(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype
            np.testing.assert_array_equal(value, other[key])
        else:
            assert value == other[key], key


@settings(deadline=None, max_examples=300)
@given(
    size=st.tuples(sides, sides),
    channels=st.sampled_from([None, 1, 2, 3, 4, 5, 8]),
    kinds=st.tuples(st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]), st.sampled_from(LABELS)),
    target=st.tuples(st.integers(1, 160), st.integers(1, 160)),
    crop=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    number=st.integers(0, 2**31),
)
def test_a_chain_gives_the_same_record_as_its_transforms_one_by_one(
    size: tuple[int, int],
    channels: int | None,
    kinds: tuple[Any, Any],
    target: tuple[int, int],
    crop: tuple[int, int],
    number: int,
) -> None:
    record = {
        "img": drawn(size if channels is None else (*size, channels), kinds[0], number),
        "gt_seg_map": drawn(size, kinds[1], number) % 7,
        "seg_fields": ["gt_seg_map"],
        "ignore_index": 3,
    }
    for resize in (Resize(scale=target), RandomResize(target, (0.5, 2.0), keep_ratio=True), RandomChoiceResize([50])):
        transforms = [resize, RandomCrop(crop, cat_max_ratio=0.75), RandomFlip(0.5)]
        results = []
        for run in (Compose(transforms), lambda record: one_by_one(transforms, record)):  # noqa: B023
            np.random.seed(number % 2**31)
            results.append(run(copy.deepcopy(record)))
        assert_equal(*results)


@settings(deadline=None, max_examples=200)
@given(
    size=st.tuples(sides, sides),
    targets=st.lists(st.tuples(sides, sides), min_size=1, max_size=2),
    corners=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), min_size=1, max_size=2),
    how=st.sampled_from([cv2.INTER_LINEAR, cv2.INTER_NEAREST]),
)
def test_a_view_that_is_resized_and_cut_more_than_once(
    size: tuple[int, int], targets: list[tuple[int, int]], corners: list[tuple[int, int]], how: int
) -> None:
    pixels = drawn(size, np.uint8)
    view = View.of(pixels)
    for target in targets:
        pixels, view = cv2.resize(pixels, target, interpolation=how), view.resized(target, how)
        for top, left in corners:
            window = slice(min(top, pixels.shape[0] - 1), top + 9), slice(min(left, pixels.shape[1] - 1), left + 9)
            pixels, view = np.ascontiguousarray(pixels[window]), view[window]
            assert view.shape == pixels.shape
    np.testing.assert_array_equal(view.pixels, pixels)


def test_only_the_corner_up_to_the_window_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = cv2.resize

    def resize(*given: Any, **options: Any) -> Any:
        made.append(real(*given, **options).size)
        return real(*given, **options)

    monkeypatch.setattr(cv2, "resize", resize)
    view = View.of(drawn((100, 200, 3), np.uint8)).resized((400, 200), cv2.INTER_LINEAR)
    assert made == []
    assert view[slice(0, 20), slice(10, 30)].pixels.shape == (20, 20, 3)
    assert made[0] <= 3 * 24 * 36  # two pixels of the file more, and each becomes two


def test_transforms_of_others_and_subclasses_get_pixels() -> None:
    class Own(RandomCrop):
        def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
            record["img"] += 1
            return super().__call__(record)

    def other(record: dict[str, Any]) -> dict[str, Any]:
        kept = pickle.loads(pickle.dumps(copy.deepcopy({**record})))
        assert isinstance(kept["img"], np.ndarray)
        assert isinstance(kept["gt_seg_map"], np.ndarray)
        return {**kept, "img": 255 - kept["img"]}

    record: dict[str, Any] = {"img": drawn((40, 50, 3), np.uint8), "gt_seg_map": drawn((40, 50), np.uint8)}
    record |= {"seg_fields": ["gt_seg_map"]}
    transforms = [Resize(scale=(70, 60)), other, RandomCrop(30), Own(20), Resize(scale=(33, 35))]
    results = []
    for run in (Compose(transforms), lambda record: one_by_one(transforms, record)):
        np.random.seed(1)
        results.append(run(copy.deepcopy(record)))
    assert_equal(*results)
    assert isinstance(results[0]["img"], np.ndarray)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    image = cv2.resize(drawn((25, 30, 3), np.uint8), (240, 200))
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(drawn((8, 9), np.uint8) % 4, (240, 200), interpolation=0))
    paths = {"img_path": str(tmp_path / "a.jpg"), "seg_map_path": str(tmp_path / "a.png")}
    return {**paths, "classes": ("a", "b", "c", "d")}


def training() -> list[Any]:
    crop = [RandomResize((240, 200), (0.5, 2.0), keep_ratio=True), RandomCrop(64, cat_max_ratio=0.75)]
    return [LoadImageFromFile(), LoadAnnotations(), *crop, RandomFlip(0.5), PhotoMetricDistortion(), PackSegInputs()]


def test_a_training_sample_is_that_of_the_plain_order(files: dict[str, Any]) -> None:
    for number in range(30):
        results = []
        for run in (Compose(training()), lambda record: one_by_one(training(), record)):
            np.random.seed(number)
            results.append(run(dict(files)))
        one, other = results
        assert one["inputs"].equal(other["inputs"])
        assert one["data_samples"].gt_sem_seg.data.equal(other["data_samples"].gt_sem_seg.data)
        assert one["data_samples"].metainfo == other["data_samples"].metainfo


def test_a_jpeg_is_read_as_far_as_the_window_goes(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    real = cv2.imdecode

    def imdecode(*given: Any) -> Any:
        rows.append(real(*given).shape[0])
        return real(*given)

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    chain = Compose([LoadImageFromFile(), Resize(scale=(240, 200)), RandomCrop((40, 40))])
    for number in range(5):
        rows.clear()
        np.random.seed(number)
        top = np.random.randint(0, 161)
        np.random.seed(number)
        chain(dict(files))
        assert rows == [top + 40 + 32 if top + 40 + 64 <= 200 else 200]


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("options", [{"color_type": name} for name in COLOUR_FLAGS] + [{"to_float32": True}])
def test_however_a_jpeg_is_read_a_crop_of_it_is_the_same(
    files: dict[str, Any], orientation: int, options: dict[str, Any]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(files["img_path"]) as picture:
        picture.save(files["img_path"], exif=exif, quality=90)
    transforms = [LoadImageFromFile(**options), Resize(scale_factor=1.3), RandomCrop((50, 40))]
    results = []
    for run in (Compose(transforms), lambda record: one_by_one(transforms, record)):
        np.random.seed(2)
        results.append(run(dict(files)))
    assert_equal(*results)


def test_a_file_that_is_cut_off_is_named_where_it_is_loaded(files: dict[str, Any]) -> None:
    path = Path(files["img_path"])
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"a\.jpg") as caught:
        Compose(training())(dict(files))
    assert "LoadImageFromFile" in caught.value.__notes__[0]


def test_a_wrong_label_is_named_with_its_file(files: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a\.png: label 3"):
        Compose(training())(dict(files, classes=("a", "b", "c")))


def test_pixels_that_a_transform_keeps_stay_as_they_are_where_the_size_fits_already() -> None:
    kept = np.zeros((40, 40, 3), np.uint8)

    def load(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "img": kept}

    def brighten(record: dict[str, Any]) -> dict[str, Any]:
        record["img"] += 1
        return record

    chain = Compose([load, Resize(scale=(40, 40)), RandomCrop(crop_size=20), brighten])
    assert [chain({})["img"].max() for _ in range(3)] == [1, 1, 1]
    assert not kept.any()


def test_a_record_may_be_another_mapping_than_a_dict(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), drawn((90, 90, 3), np.uint8))
    record = Compose([LoadImageFromFile(), lambda record: record])(UserDict(img_path=str(tmp_path / "a.jpg")))
    assert isinstance(record["img"], np.ndarray)


@pytest.mark.parametrize("turn", [3, 6])
def test_a_jpeg_whose_turn_is_told_after_a_large_colour_profile_is_turned(tmp_path: Path, turn: int) -> None:
    path, exif, made = tmp_path / "a.jpg", Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Image.fromarray(drawn((300, 300, 3), np.uint8)).save(made, "jpeg", exif=exif, icc_profile=bytes(70000))
    data = made.getvalue()
    begin = data.index(b"\xff\xe1")  # Pillow writes it first
    end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
    tables = data.index(b"\xff\xdb", end)
    path.write_bytes(data[:begin] + data[end:tables] + data[begin:end] + data[tables:])
    chain = [LoadImageFromFile(), RandomCrop(crop_size=50)]
    np.random.seed(1)
    plain = one_by_one(chain, {"img_path": str(path)})
    np.random.seed(1)
    assert_equal(Compose(chain)({"img_path": str(path)}), plain)
