from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg_engine.data.jpeg_rows import JpegRows

SAMPLINGS = [getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in (411, 420, 422, 440, 444)]


def picture(height: int, width: int, grey: bool = False) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(height * width)
    coarse = random.integers(0, 226, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    pixels = cv2.resize(coarse, (width, height)) + random.integers(0, 30, (height, width, 3), np.uint8)
    return pixels[..., 0] if grey else pixels


def encoded(pixels: npt.NDArray[np.uint8], *options: int) -> npt.NDArray[np.uint8]:
    return cv2.imencode(".jpg", pixels, options)[1].ravel()


@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 250),
    width=st.integers(1, 120),
    grey=st.booleans(),
    sampling=st.sampled_from(SAMPLINGS),
    quality=st.integers(5, 100),
    share=st.floats(0, 1),
    flags=st.sampled_from([cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE]),
)
def test_the_first_rows_are_those_of_the_whole(
    height: int, width: int, grey: bool, sampling: int, quality: int, share: float, flags: int
) -> None:
    options = cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling
    data = encoded(picture(height, width, grey), *options)
    found = JpegRows.of(data)
    assert found is not None
    assert found.size == (height, width)
    count = max(int(share * height), 1)
    rows = found.read(count, flags)
    assert rows is None or count + 64 <= height
    if rows is not None:  # it is, too, where a block takes a byte or so, and OpenCV looks ahead beyond the last one
        np.testing.assert_array_equal(rows[:count], cv2.imdecode(data, flags)[:count])


def test_nothing_is_said_of_a_file_that_is_read_in_part(capfd: pytest.CaptureFixture[str]) -> None:
    found = JpegRows.of(encoded(picture(300, 200)))
    assert found is not None
    assert found.read(100, cv2.IMREAD_COLOR) is not None
    assert capfd.readouterr() == ("", "")


def test_metadata_with_the_mark_of_an_end_do_not_end_the_file() -> None:
    file = io.BytesIO()
    Image.fromarray(picture(200, 100)).save(file, "JPEG", comment=b"\xff\xd9 and \xff\xda", optimize=True)
    data = np.frombuffer(file.getvalue() + b"behind the end", np.uint8)
    found = JpegRows.of(data)
    assert found is not None
    assert found.size == (200, 100)
    rows = found.read(50, cv2.IMREAD_COLOR)
    assert rows is not None
    np.testing.assert_array_equal(rows[:50], cv2.imdecode(data, cv2.IMREAD_COLOR)[:50])


@pytest.mark.parametrize("option", [cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL])
def test_other_kinds_of_jpeg_are_read_whole(option: int) -> None:
    assert JpegRows.of(encoded(picture(200, 100), option, 2)) is None


def test_what_is_cut_off_or_no_jpeg_is_read_whole() -> None:
    data = encoded(picture(60, 50))
    assert all(JpegRows.of(data[:count]) is None for count in range(data.size - 1))
    assert JpegRows.of(np.zeros(100, np.uint8)) is None
    assert JpegRows.of(cv2.imencode(".png", picture(60, 50))[1].ravel()) is None
