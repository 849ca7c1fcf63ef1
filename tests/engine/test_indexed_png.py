from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_engine.indexed_png import read_indices, unfiltered


def filtered(rows: npt.NDArray[np.uint8], kinds: list[int]) -> bytes:
    """The five filters, straight from the specification's table."""
    out = io.BytesIO()
    for y, kind in enumerate(kinds):
        out.write(bytes([kind]))
        for x in range(rows.shape[1]):
            a = int(rows[y, x - 1]) if x else 0
            b = int(rows[y - 1, x]) if y else 0
            c = int(rows[y - 1, x - 1]) if x and y else 0
            p = a + b - c
            nearest = min((abs(p - v), i, v) for i, v in enumerate((a, b, c)))[2]
            out.write(bytes([(int(rows[y, x]) - (0, a, b, (a + b) // 2, nearest)[kind]) % 256]))
    return out.getvalue()


def png(width: int, height: int, bits: int, raw: bytes, colour: int = 3, interlaced: int = 0) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    body = zlib.compress(raw)
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]
    data = [
        chunk(b"IHDR", head),
        chunk(b"PLTE", bytes(768)),
        *(chunk(b"IDAT", part) for part in parts),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(data)


@given(st.data())
def test_every_filter_is_undone(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))
    values = data.draw(st.lists(st.integers(0, 255), min_size=height * width, max_size=height * width))
    rows = np.array(values, np.uint8).reshape(height, width)
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    table = np.frombuffer(filtered(rows, kinds), np.uint8).reshape(height, -1)
    assert np.array_equal(unfiltered(table[:, 0], table[:, 1:]), rows)


def test_a_file_with_a_palette_gives_its_indices(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 3, 8, filtered(rows, [1, 4, 3])))
    assert np.array_equal(read_indices(path), rows)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_several_indices_a_byte(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(5, 1, bits, b"\0" + bytes([0b10110001, 0b01000000, 0b11000000][: -(-5 * bits // 8)])))
    expected = {1: [1, 0, 1, 1, 0], 2: [2, 3, 0, 1, 1], 4: [11, 1, 4, 0, 12]}[bits]
    assert read_indices(path).tolist() == [expected]


def test_other_files_are_not_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"JFIF")
    assert read_indices(path) is None
    path.write_bytes(png(1, 1, 8, b"\0\0\0\0", colour=2))
    assert read_indices(path) is None
    path.write_bytes(png(1, 1, 8, b"\0\0", interlaced=1))
    assert read_indices(path) is None
