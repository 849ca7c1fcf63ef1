from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seg_engine.data.label_maps import check_range, check_size, read_labels, renumbered

VALUES = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def grey_png(bits: int, values: np.ndarray[Any, Any]) -> bytes:
    """A grey PNG of few bits, which Pillow does not write."""
    width = values.shape[1]
    rows = ["".join(f"{v:0{bits}b}" for v in row).ljust(-(-width * bits // 8) * 8, "0") for row in values]
    body = zlib.compress(b"".join(b"\0" + int(row, 2).to_bytes(len(row) // 8, "big") for row in rows))
    head = struct.pack(">IIBBBBB", width, len(values), bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(bits: int, kind: int, row: bytes, width: int, photometric: int = 1) -> bytes:
    """A TIFF of one line; `kind` is 1 for unsigned, 2 for signed, 3 for floating values."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 1, 279: len(row), 339: kind}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + row


def bmp(bits: int, row: bytes, palette: list[tuple[int, int, int]]) -> bytes:
    start = 54 + 4 * len(palette)
    sizes = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, bits, 0, 4, 0, 0, len(palette), 0)
    head = b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + sizes
    return head + b"".join(bytes([b, g, r, 0]) for r, g, b in palette) + row.ljust(4, b"\0")


def by_pillow(pixels: np.ndarray[Any, Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(out, kind, **options)
    return out.getvalue()


def with_palette(kind: str, pixels: np.ndarray[Any, Any] = VALUES) -> bytes:
    """Indices under colours that are not their numbers."""
    picture, out = Image.fromarray(pixels), io.BytesIO()
    picture = picture.convert("P")
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90, *[7] * 756])
    picture.save(out, kind)
    return out.getvalue()


def read(folder: Path, data: bytes, name: str = "a.png", **options: Any) -> np.ndarray[Any, Any]:
    (folder / name).write_bytes(data)
    return read_labels(folder / name, **options)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_a_palette_gives_its_indices_in_any_kind_of_file(tmp_path: Path, kind: str) -> None:
    found = read(tmp_path, with_palette(kind))
    assert found.dtype == np.uint8
    assert found.tolist() == VALUES.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_of_few_bits(tmp_path: Path, bits: int) -> None:
    values = VALUES % 2**bits
    out = io.BytesIO()
    picture = Image.fromarray(values).convert("P")
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, *range(39)][: 3 * 2**bits])
    picture.save(out, "PNG", bits=bits)
    assert out.getvalue()[24] == bits
    assert read(tmp_path, out.getvalue()).tolist() == values.tolist()


def test_an_interlaced_palette(tmp_path: Path) -> None:
    """Adam7, one pixel: only its first pass holds data (Pillow writes no interlaced files)."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 3, 0, 0, 1)
    body = chunk(b"IHDR", head) + chunk(b"PLTE", bytes(range(12))) + chunk(b"IDAT", zlib.compress(b"\0\3"))
    assert read(tmp_path, b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")).tolist() == [[3]]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_values_of_few_bits_are_as_stored(tmp_path: Path, bits: int, name: str) -> None:
    values = VALUES[:1] % 2**bits
    packed = int("".join(f"{v:0{bits}b}" for v in values[0]).ljust(16, "0"), 2).to_bytes(2, "big")
    data = grey_png(bits, values) if name == "a.png" else tiff(bits, 1, packed, 4)
    assert read(tmp_path, data, name).tolist() == values.tolist()


def test_one_bit_in_other_kinds_of_file(tmp_path: Path) -> None:
    truth = VALUES > 1
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert read(tmp_path, by_pillow(truth, kind)).tolist() == truth.astype(int).tolist(), kind


def test_bmp_of_4_bits_under_a_ramp_of_greys_or_colours(tmp_path: Path) -> None:
    row = bytes([0x01, 0x23])
    for step in (1, 17):
        assert read(tmp_path, bmp(4, row, [(i * step,) * 3 for i in range(16)])).tolist() == [[0, 1, 2, 3]]
    assert read(tmp_path, bmp(4, row, [(i, 0, 9) for i in range(16)])).tolist() == [[0, 1, 2, 3]]
    assert read(tmp_path, bmp(1, bytes([0b01100000]), [(255,) * 3, (0,) * 3])).tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("bits", "kind", "form"),
    [(8, 1, "B"), (16, 1, "H"), (16, 2, "h"), (32, 1, "I"), (32, 2, "i"), (32, 3, "f"), (64, 3, "d"), (64, 1, "Q")],
)
def test_whole_numbers_of_any_type(tmp_path: Path, bits: int, kind: int, form: str) -> None:
    found = read(tmp_path, tiff(bits, kind, struct.pack(f"<3{form}", 0, 7, 200), 3))
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 7, 200]]


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_a_tiff_whose_0_is_white_gives_what_is_stored(tmp_path: Path, bits: int, photometric: int) -> None:
    values = [value % 2**bits for value in (0, 1, 2, 3, 5, 9, 14, 15)]
    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(bits, "big")
    if bits > 8:
        row = np.array(values, f"<u{bits // 8}").tobytes()
    found = read(tmp_path, tiff(bits, 1, row, 8, photometric), "a.tif")
    assert found.dtype == np.uint8
    assert found.tolist() == [values]


@pytest.mark.parametrize("compression", [None, "group3", "group4", "tiff_ccitt", "tiff_lzw"])
def test_a_tiff_of_one_bit_shows_what_pillow_wrote(tmp_path: Path, compression: str | None) -> None:
    mask = VALUES > 1
    data = by_pillow(mask, "TIFF", compression=compression)
    assert read(tmp_path, data, "a.tif").tolist() == mask.astype(int).tolist()


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_a_fax_whose_0_is_white_gives_what_one_sees(tmp_path: Path, compression: str) -> None:
    data = by_pillow(VALUES > 1, "TIFF", compression=compression, tiffinfo={262: 0})
    with Image.open(io.BytesIO(data)) as picture:
        seen = np.asarray(picture).astype(int).tolist()
        assert picture.tag_v2[262] == 0
    assert read(tmp_path, data, "a.tif").tolist() == seen


def test_labels_above_255_keep_their_number(tmp_path: Path) -> None:
    assert read(tmp_path, by_pillow(np.array([[0, 300]], np.uint16), "PNG")).dtype == np.int16
    found = read(tmp_path, by_pillow(np.array([[0, 70000]], np.int32), "TIFF"))
    assert (found.dtype, found.tolist()) == (np.int32, [[0, 70000]])
    assert read(tmp_path, tiff(32, 2, struct.pack("<2i", -1, 3), 2)).tolist() == [[-1, 3]]


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_fractions_are_no_labels(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"a\.png: this label map holds .* \(1 values are no whole numbers\)"):
        read(tmp_path, by_pillow(np.array([[0, 1, value]], np.float32), "TIFF"))


def test_a_number_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="labels from 0 to 4294967295; at most 2147483647"):
        read(tmp_path, tiff(32, 1, struct.pack("<2I", 0, 2**32 - 1), 2))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_values_stored_as_colours(tmp_path: Path, mode: str) -> None:
    assert read(tmp_path, by_pillow(VALUES, "PNG", mode)).tolist() == VALUES.tolist()


def test_colours_and_transparency_are_errors(tmp_path: Path) -> None:
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0] = 9, 0, 0
    with pytest.raises(ValueError, match=r"holds colours \(2 different ones\)"):
        read(tmp_path, by_pillow(colours, "PNG"))
    clear = np.full((2, 2, 4), 255, np.uint8)
    clear[0, 0, 3] = 0
    with pytest.raises(ValueError, match="transparent parts"):
        read(tmp_path, by_pillow(clear, "PNG"))


def test_several_pages_are_an_error_and_previews_are_not(tmp_path: Path) -> None:
    first, small = Image.fromarray(VALUES), Image.fromarray(VALUES[:1, :2])
    for kind in ("TIFF", "GIF"):
        out = io.BytesIO()
        first.save(out, kind, save_all=True, append_images=[Image.fromarray(VALUES + 1)])
        with pytest.raises(ValueError, match="holds 2 pictures"):
            read(tmp_path, out.getvalue())
    out = io.BytesIO()
    first.save(out, "TIFF", save_all=True, append_images=[small])
    assert read(tmp_path, out.getvalue()).tolist() == VALUES.tolist()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_palette_file_that_is_cut_off(tmp_path: Path, kind: str, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 4, (40, 40)).astype(np.uint8)
    data = with_palette(kind, pixels)
    start = {"PNG": data.find(b"IDAT"), "GIF": 100, "BMP": 1078}[kind]
    with pytest.raises(ValueError, match=r"a\.png .*(cut off|not a picture)"):
        read(tmp_path, data[: start + int((len(data) - start) * share)])


def test_too_many_pixels_are_named(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 40000, 30000, 8, 3, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"PLTE", bytes(9)) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + body
    with pytest.raises(ValueError, match=r"a\.png declares more pixels than Pillow reads .*tiles"):
        read(tmp_path, data)


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("how", range(1, 9))
def test_exif_turns_a_label_map_where_images_are_turned(tmp_path: Path, how: int, mode: str) -> None:
    exif = Image.Exif()
    exif[274] = how
    data = by_pillow(np.array([[0, 1, 2], [3, 4, 5]], np.uint8), "PNG", mode, exif=exif)
    stored = read(tmp_path, data)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH  # OpenCV turns the grey one in the same way
    assert stored.tolist() == [[0, 1, 2], [3, 4, 5]]
    if mode == "L":
        assert read(tmp_path, data, turn=True).tolist() == cv2.imread(str(tmp_path / "a.png"), flags).tolist()
    assert read(tmp_path, data, turn=True).shape == ((3, 2) if how > 4 else (2, 3))


def test_a_size_that_exif_may_explain_is_said() -> None:
    record = {"seg_map_path": "a.png", "img_path": "a.jpg", "ori_shape": (4, 6)}
    with pytest.raises(ValueError, match=r"a\.png: this label map is 4 x 6 .*color_ignore_orientation"):
        check_size(np.zeros((6, 4), np.uint8), record)
    with pytest.raises(ValueError, match=r"is 6 x 4$"):
        check_size(np.zeros((5, 4), np.uint8), record)


def test_label_0_is_reduced_before_the_choice_of_classes() -> None:
    labels = np.array([[0, 1, 2, 3, 255]], np.uint8)
    assert renumbered(labels, False, {0: 255, 1: 0, 2: 1}).tolist() == [[255, 0, 1, 3, 255]]
    assert renumbered(labels, True, {0: 0, 1: 2, 2: 1}).tolist() == [[255, 0, 2, 1, 255]]
    assert renumbered(labels, True, {0: 255, 1: 0, 2: 255}).tolist() == [[255, 255, 0, 255, 255]]


@given(st.data())
def test_wide_labels_are_renumbered_like_bytes(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=20))
    chosen = data.draw(st.dictionaries(st.integers(0, 255), st.integers(0, 255)))
    reduce, ignore = data.draw(st.booleans()), data.draw(st.sampled_from([0, 254, 255]))
    narrow = renumbered(np.array([values], np.uint8), reduce, chosen, ignore)
    wide = renumbered(np.array([values], np.int32), reduce, chosen, ignore)
    assert narrow.dtype == np.uint8
    assert narrow.tolist() == wide.tolist()


def test_labels_beyond_a_byte_are_renumbered() -> None:
    labels = np.array([[0, 1, 300]], np.int16)
    assert renumbered(labels, True, None, 65535).tolist() == [[65535, 0, 299]]
    assert renumbered(np.array([[0, 9]], np.uint8), False, {9: -100}).tolist() == [[0, -100]]


def test_labels_outside_the_classes_are_named() -> None:
    with pytest.raises(ValueError, match=r"a: label 400 \(1 pixels\) is outside the 300 classes"):
        check_range(np.array([[0, 299, 400]], np.int16), 300, 65535, "a")
    with pytest.raises(ValueError, match="label -1 "):
        check_range(np.array([[-1, 0]], np.int16), 2, 255, "a")
    with pytest.raises(ValueError, match=r"A mask of 0 and 128\? Save it as 0 and 1"):
        check_range(np.array([[0, 128]], np.uint8), 2, 255, "a")
    check_range(np.array([[-1, 0]], np.int16), 2, -1, "a")


@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=6), st.integers(1, 256), st.sampled_from([255, 254, 7, 0, -1])
)
def test_labels_of_bytes_are_refused_as_those_of_more_bits(values: list[int], classes: int, ignore: int) -> None:
    found = []
    for dtype in (np.uint8, np.int16):
        try:
            check_range(np.array([values], dtype), classes, ignore, "a.png")
            found.append("")
        except ValueError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_labels_that_are_left_out_cost_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "calcHist", lambda *given: pytest.fail("all labels were counted"))
    check_range(np.array([[0, 18, 255]], np.uint8), 19, 255, "a.png")
