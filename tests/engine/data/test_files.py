from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from seg_engine.data.files import files_below, images_in, orientation, read_picture
from seg_engine.data.loading import LoadImageFromFile
from seg_engine.data.pixels import as_read


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


# -- what is no sample, and links ----------------------------------------------------------------------------------


def test_hidden_files_and_folders_are_no_samples(tmp_path: Path) -> None:
    kept = write(tmp_path / ".cache" / "data" / "a.png")
    for name in (".ipynb_checkpoints/a.png", "._a.png", ".b.png", "__MACOSX/a.png", "deep/.git/a.png"):
        write(tmp_path / ".cache" / "data" / name)
    assert images_in(tmp_path / ".cache" / "data") == [kept]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = write(tmp_path / "elsewhere" / "x" / "a.png")
    data = tmp_path / "data"
    own = write(data / "real" / "b.png")
    (data / "folder").symlink_to(tmp_path / "elsewhere")
    (data / "file.png").symlink_to(real)
    (data / "real" / "loop").symlink_to(data)
    (data / "again").symlink_to(data / "real")
    (data / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert files_below(data) == sorted([own, data / "folder" / "x" / "a.png", data / "file.png", data / "gone.png"])


# -- files that are no plain picture: path, cause, remedy ------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"%PDF-1.7 ...", "PDF document; save the page as PNG"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing; save it as PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC picture; save it as PNG or JPEG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"II*\0 and no more", "a TIFF or a camera's raw file"),
        (b"just text", "no image"),
    ],
)
def test_what_a_file_is_instead_of_a_picture(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} .*{said}"):
        read_picture(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.bmp", "a.webp"])
def test_a_picture_that_is_cut_off_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    options = {"progressive": True} if name.startswith("progressive") else {}
    Image.fromarray(pixels).save(tmp_path / name, **options)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=rf"{name} .*cut off or damaged; copy it again"):
        read_picture(tmp_path / name)


def test_a_wrong_suffix_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg").rename(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("pixels", "name", "mode"),
    [
        (np.full((4, 5), 40000, np.uint16), "a.png", None),
        (np.full((4, 5, 4), 9, np.uint8), "a.png", None),
        (np.full((4, 5, 3), 9, np.uint8), "a.jpg", "CMYK"),
        (np.full((4, 5), 9, np.uint8), "a.gif", None),
    ],
)
def test_16_bits_alpha_cmyk_and_gif_are_read_as_colours(tmp_path: Path, pixels: Any, name: str, mode: Any) -> None:
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(tmp_path / name)
    found = read_picture(tmp_path / name)
    assert (found.shape, found.dtype) == ((4, 5, 3), np.uint8)


@pytest.mark.parametrize("name", ["a.gif", "a.tif"])
def test_of_several_pictures_in_a_file_the_first_is_used_and_said(tmp_path: Path, name: str) -> None:
    first, second = (Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (20, 90))
    first.save(tmp_path / name, save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match=f"{name} holds 2 pictures .*only the first"):
        assert read_picture(tmp_path / name).max() == 20


def test_too_many_pixels_name_the_switch(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    said = "declares more pixels .*OPENCV_IO_MAX_IMAGE_PIXELS"
    for width, height, text in ((40000, 30000, said), (2**21, 1, "declares 2097152 x 1 pixels"), (1, 2**21, "million")):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with pytest.raises(ValueError, match=rf"a\.png .*{text}"):
            read_picture(tmp_path / "a.png")


def test_the_orientation_of_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a.jpg", "a.png", "a.webp"):
        picture = Image.fromarray(np.zeros((4, 5, 3), np.uint8))
        picture.save(tmp_path / name, exif=exif)
        assert orientation(np.fromfile(tmp_path / name, np.uint8)) == 6
        picture.save(tmp_path / name)
        assert orientation(np.fromfile(tmp_path / name, np.uint8)) == 1


@pytest.mark.parametrize("color", ["color", "grayscale", "unchanged"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB"])
def test_a_picture_of_pillow_has_the_channels_of_its_file(tmp_path: Path, mode: str, color: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    picture = Image.fromarray(values).convert("L" if mode == "LA" else mode).convert(mode)
    picture.save(tmp_path / "a.png")
    reader = LoadImageFromFile(color_type=color)
    of_file = reader({"img_path": str(tmp_path / "a.png")})["img"]
    of_pillow = as_read(picture, reader)
    assert of_pillow.shape == of_file.shape
    np.testing.assert_allclose(of_pillow.astype(int), of_file.astype(int), atol=1)


def test_premultiplied_and_indexed_transparency_is_left_out() -> None:
    grey = Image.fromarray(np.full((20, 30), 7, np.uint8))
    for picture in (grey.convert("RGBA").convert("RGBa"), grey.convert("P").convert("PA")):
        assert as_read(picture, LoadImageFromFile()).tolist() == np.full((20, 30, 3), 7).tolist()


def transparent() -> Image.Image:
    """Colours whose channels differ, with alpha of every kind in it."""
    pixels = np.zeros((6, 9, 4), np.uint8)
    pixels[:, :4, :3], pixels[:, 4:, :3], pixels[..., 3] = (200, 50, 10), (20, 120, 240), 255
    pixels[0, :, 3], pixels[1, :, 3] = 1, 128
    return Image.fromarray(pixels)


@pytest.mark.parametrize("color", ["color", "grayscale", "unchanged", "color_ignore_orientation"])
@pytest.mark.parametrize("turn", [None, 6, 7])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.webp", {"lossless": True, "exact": True}),
        ("p.png", {"transparency": 0}),
        ("rgb.png", {"transparency": (200, 50, 10)}),
        ("rgb.jpg", {"quality": 95}),
        ("rgb.tif", {}),
        ("rgb.bmp", {}),
        ("p.bmp", {}),
        ("l.png", {}),
        ("l16.png", {}),
    ],
)
def test_an_opened_picture_is_what_its_file_is_read_as(
    tmp_path: Path, name: str, options: dict[str, Any], color: str, turn: int | None
) -> None:
    picture = transparent()
    mode = {"a": "RGBA", "p": "P", "rgb": "RGB", "l": "L", "l16": "L"}[name.split(".")[0]]
    picture = picture if mode == "RGBA" else picture.convert("RGB").convert(mode)
    if name == "l16.png":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    if turn is not None and not name.endswith("bmp"):
        options = {**options, "exif": Image.Exif()}
        options["exif"][274] = turn
    picture.save(tmp_path / name, **options)
    reader = LoadImageFromFile(color_type=color)
    of_file = reader({"img_path": str(tmp_path / name)})["img"]
    reference = cv2.imdecode(np.fromfile(tmp_path / name, np.uint8), reader.flags)
    assert reference is not None
    assert np.array_equal(of_file, reference)
    with Image.open(tmp_path / name) as opened:
        of_pillow = as_read(opened, reader)
    assert (of_pillow.shape, of_pillow.dtype) == (of_file.shape, of_file.dtype)
    np.testing.assert_allclose(of_pillow.astype(int), of_file.astype(int), atol=1)


def test_a_picture_that_was_turned_by_hand_is_not_turned_again(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    transparent().convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        turned = opened.transpose(Image.Transpose.ROTATE_270)
    assert as_read(turned, LoadImageFromFile()).shape == (9, 6, 3)
