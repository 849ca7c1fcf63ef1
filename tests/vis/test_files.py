"""Files that are whole or not there, and images in and out of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis.files import encode, read_bytes, read_image, write_image, write_whole

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
        with pytest.raises(ValueError, match=rf"x\.png is no image that OpenCV can read \({len(content)} bytes\)"):
            read_image(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "gone.png")


def test_raw_keeps_depth_and_channels(tmp_path: Path) -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 999
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert np.array_equal(read_image(tmp_path / "deep.png", raw=True), deep)
    assert read_image(tmp_path / "deep.png").shape == (3, 4, 3)


def test_addresses_need_fsspec(monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match="pip install fsspec"):
        read_bytes("s3://bucket/x.png")
