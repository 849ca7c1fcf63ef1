"""Files that are whole or not there, and images in and out of them."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis.files import (
    append_whole,
    clean_leftovers,
    encode,
    lock,
    read_bytes,
    read_image,
    write_aside,
    write_image,
    write_whole,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_pictures_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sub/folder/x{suffix}"
    write_image(path, IMAGE)
    assert suffix == ".webp" or np.array_equal(read_image(path), IMAGE)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failure_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.bin"
    write_whole(path, b"old")

    def fail(source: str, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", source)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=f"cannot be written: No space left on device: '{path}'"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ValueError, match=r"cannot write a picture as '\.xyz'"):
        encode(IMAGE, ".xyz")


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    for content in (b"", b"text"):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(ValueError, match=rf"x\.png is not an image that OpenCV can read \({len(content)} bytes\)"):
            read_image(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "gone.png")


def test_raw_keeps_depth_and_channels(tmp_path: Path) -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 999
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert np.array_equal(read_image(tmp_path / "deep.png", raw=True), deep)
    assert read_image(tmp_path / "deep.png").shape == (3, 4, 3)


def test_addresses_need_fsspec(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match="pip install fsspec"):
        read_bytes("s3://bucket/x.png")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one file is closed by the collector
def test_an_interrupt_at_any_line_leaves_no_temporary_file(tmp_path: Path) -> None:
    """KeyboardInterrupt before each line in turn, as a signal may bring it."""

    def run(stop: int) -> bool:
        left = stop

        def trace(frame: Any, event: str, argument: object) -> Any:
            nonlocal left
            if "seg_vis" not in frame.f_code.co_filename or frame.f_code.co_name not in ("write_aside", "lock"):
                return None
            if event == "line" and (left := left - 1) == 0:
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            write_aside(tmp_path / "x.bin", b"new")
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    stops = 0
    while run(stops + 1):
        stops += 1
        assert {path.name for path in tmp_path.iterdir()} <= {"x.bin"}
    assert stops > 5


def test_a_file_that_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / ".x.png.0123456789ab.part"
    with path.open("wb") as file:
        lock(file)
        clean_leftovers(tmp_path)
        assert path.exists()
    clean_leftovers(tmp_path)
    assert not path.exists()


def test_bytes_are_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    path, real = tmp_path / "a/rows", os.write
    append_whole(path, b"one\n")

    def half(handle: int, data: Any) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, bytes(data)[:2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="cannot be written: No space left on device"):
            append_whole(path, b"two\n")
    append_whole(path, b"three\n", sync=True)
    assert path.read_bytes() == b"one\nthree\n"
