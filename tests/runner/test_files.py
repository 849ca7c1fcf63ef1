from __future__ import annotations

import os
import sys
import threading

import pytest
from seg_runner import files
from seg_runner.files import AT_ONCE, Background, _RawWriter, clean_leftovers, write_whole


@pytest.mark.parametrize("system", ["with writev", "without"])
def test_many_pieces_are_written_in_order(tmp_path, system, monkeypatch):
    """More of them, and more bytes, than one call takes."""
    if system == "without":
        monkeypatch.delattr(os, "writev")
    pieces = [bytes([number % 251]) * (number * 37 % 5000) for number in range(1500)]
    pieces[700:700] = [b"z" * (3 * AT_ONCE + 5), b"", b"y" * AT_ONCE]
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", buffering=0) as into, Background("test") as background:
            _RawWriter(into, background).writelines(pieces)

    with open(reader, "rb") as out:
        thread = threading.Thread(target=write)
        thread.start()
        assert out.read() == b"".join(pieces)
        thread.join()
    write_whole(tmp_path / "x", lambda file: file.writelines(pieces))
    assert (tmp_path / "x").read_bytes() == b"".join(pieces)


@pytest.mark.skipif(sys.platform != "linux", reason="sync_file_range is Linux's")
def test_the_disk_begins_while_a_file_is_written(tmp_path, monkeypatch):
    begun, own = [], files._libc

    def watched(name: str):
        function = own(name)
        return lambda *args: begun.append((name, *(value.value for value in args[1:3]))) or function(*args)

    monkeypatch.setattr(files, "_libc", lambda name: watched(name) if name == "sync_file_range" else own(name))
    write_whole(tmp_path / "x", lambda file: file.write(bytes(70 * 2**20)))
    assert begun == [("sync_file_range", 0, 2**25), ("sync_file_range", 2**25, 2**25)]


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    dead = tmp_path / ".iter_5.pth.0123456789ab.tmp"
    dead.write_bytes(b"half")
    (tmp_path / ".mine.tmp").write_text("not ours")
    seen = []

    def write(stream):
        stream.write(b"x")
        seen.extend(clean_leftovers(tmp_path))

    write_whole(tmp_path / "iter_6.pth", write)
    assert seen == [dead.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "iter_6.pth"]
