from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_engine.files import images_in, read_picture


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 5, 3), np.uint8))
    return path


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.png")
    odd = plain.rename(tmp_path / "страна ü 路.png")
    assert read_picture(odd).shape == (4, 5, 3)


def test_a_missing_file_says_how_far_the_path_goes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no/such/a\.png.*exists up to {tmp_path}"):
        read_picture(tmp_path / "no" / "such" / "a.png")


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(write(tmp_path / "b.png").read_bytes()[:20] if content is None else content)
    with pytest.raises(ValueError, match=r"a\.png .* not a picture"):
        read_picture(path)


def test_a_folder_gives_its_images_and_those_below_in_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / name) for name in ("b.png", "deep/a.jpg")]
    (tmp_path / "notes.txt").write_text("")
    assert images_in(tmp_path) == sorted(paths)
    assert images_in(paths[0]) == [paths[0]]


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no image"):
        images_in(tmp_path)
    with pytest.raises(FileNotFoundError, match="no image or folder"):
        images_in(tmp_path / "none")
