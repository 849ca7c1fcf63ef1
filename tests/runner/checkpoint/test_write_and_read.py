from __future__ import annotations

import errno
import io
import os
import pickle
import re
import stat
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from seg_runner import CheckpointError, read_checkpoint
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.checkpoint.write import SMALL, CheckpointWriteError, _Body, write_checkpoint, write_or_explain
from seg_runner.files import AT_ONCE, Background

ALWAYS_CRC = not hasattr(torch.serialization, "set_crc32_options")  # before 2.6 torch's own checksums stay in the file


def small() -> dict:
    generator = torch.Generator().manual_seed(0)
    weights = OrderedDict(a=torch.randn(5, 3, generator=generator), b=torch.arange(4), h=torch.ones(2).bfloat16())
    return {"meta": {"iter": 3, "epoch": 1, "note": "ü"}, "state_dict": weights, "optimizer": {"lr": 0.1}}


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    return one == other


@pytest.fixture
def file(tmp_path) -> Path:
    write_checkpoint(tmp_path / "iter_3.pth", small())
    return tmp_path / "iter_3.pth"


def test_what_is_written_is_read(file):
    assert equal(read_checkpoint(file), small())
    assert [path.name for path in file.parent.iterdir()] == ["iter_3.pth"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o400


def test_plain_torch_reads_it_without_an_allow_list(file):
    assert not [kind for kind in torch.serialization.get_safe_globals() if "seg_runner" in str(kind)]
    for options in ({}, {"mmap": True}):
        assert equal(torch.load(file, weights_only=True, **options), small())
    assert equal(torch.load(io.BytesIO(file.read_bytes()), weights_only=True), small())
    comment = b'{"epoch": 1, "iter": 3, "complete": true, "finite": true}seg-runner xxh3-128 '
    assert zipfile.ZipFile(file).comment[:-32] == comment
    assert read_place(file) == {"epoch": 1, "iter": 3, "complete": True, "finite": True}


@pytest.mark.skipif(ALWAYS_CRC, reason="torch has the option from 2.6 on")
def test_the_crc_option_of_torch_is_put_back(file):
    assert torch.serialization.get_crc32_options() is True


def test_every_single_bit_is_covered(file):
    whole = file.read_bytes()
    for bit in range(0, len(whole) * 8, 61):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        try:
            found = read_checkpoint(file)
        except CheckpointError:
            continue
        assert equal(found, small())


UNCHECKED = """
import resource, sys, warnings
from pathlib import Path
from seg_runner import CheckpointError, read_checkpoint

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # a flipped length asks for any amount of memory
file = Path(sys.argv[1])
whole, refused = file.read_bytes(), 0
for bit in range(0, whole.index(b"data/0") * 8, 11):  # the first records are the pickle and its zip header
    data = bytearray(whole)
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)
    try:
        read_checkpoint(file, verify=False)
    except CheckpointError:
        refused += 1
print("refused", refused)
"""


def test_a_damaged_file_that_is_read_unchecked_is_an_error_of_ours(file):
    done = subprocess.run([sys.executable, "-c", UNCHECKED, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.removeprefix("refused")) > 50


@settings(max_examples=60, deadline=None)
@example(0.0005)  # one to three bytes are left
@given(st.floats(0, 1))
def test_every_cut_is_noticed(share):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "iter_1.pth"
        write_checkpoint(path, small())
        size = int(path.stat().st_size * share)
        os.truncate(path, min(size, path.stat().st_size - 1))
        try:
            found = read_checkpoint(path)
        except CheckpointError as error:
            words = str(error)
            assert re.search(r"empty|whole|damaged", words)
        else:
            assert ALWAYS_CRC  # only our checksum is cut off, and torch's own ones say that the rest is whole
            assert equal(found, small())


def test_no_file_and_a_file_of_another_kind(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "iter_1.pth")
    (tmp_path / "list.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        read_checkpoint(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.pth"):
        read_checkpoint(tmp_path / "text.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="contains a list"):
        read_checkpoint(tmp_path / "list.pth")


def test_files_of_plain_torch_are_checked_by_their_crc(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"a": torch.arange(1000.0)}, path)
    assert torch.equal(read_checkpoint(path)["a"], torch.arange(1000.0))
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(500.0).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="CRC32"):
        read_checkpoint(path)
    assert "a" in read_checkpoint(path, verify=False)


def test_the_format_before_zip_is_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "old.pth")["a"], torch.ones(2))


def test_tensors_read_are_private(file):
    found = read_checkpoint(file)
    found["state_dict"]["a"].zero_()
    assert equal(read_checkpoint(file), small())


def test_a_file_is_replaced_in_one_step(file):
    held = read_checkpoint(file)
    write_checkpoint(file, {"meta": {"iter": 4}})
    assert equal(held, small())
    assert read_checkpoint(file)["meta"]["iter"] == 4


def test_bytes_are_synced_before_the_name_is_theirs_and_the_folder_after(tmp_path, monkeypatch):
    """Else a crash of the machine may leave a final name without its bytes, or none."""
    seen, fsync, replace = [], os.fsync, os.replace

    def synced(handle):
        here = os.fstat(handle)
        name = next(path for path in [tmp_path, *tmp_path.iterdir()] if os.path.samestat(path.stat(), here)).name
        seen.append(("synced", name.removesuffix(".tmp")[:12], here.st_size if name.endswith(".tmp") else None))
        fsync(handle)

    def renamed(source, target):
        seen.append(("renamed", Path(source).name[:12], Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_checkpoint(tmp_path / "iter_7.pth", small())
    size = (tmp_path / "iter_7.pth").stat().st_size
    folder = ("synced", tmp_path.name[:12], None)
    assert seen == [("synced", ".iter_7.pth.", size), ("renamed", ".iter_7.pth.", "iter_7.pth"), folder]


def test_an_error_while_writing_leaves_the_old_file(file, tmp_path):
    def full(stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointWriteError, match=r"the disk is full.*untouched") as caught:
        write_or_explain(file, full)
    assert caught.value.errno == errno.ENOSPC
    assert equal(read_checkpoint(file), small())
    assert [path.name for path in tmp_path.iterdir()] == ["iter_3.pth"]


def test_no_call_writes_more_than_a_megabyte(tmp_path, monkeypatch):
    """The page cache is slow with more: it looks for one large page."""
    sizes, own = [], os.writev
    monkeypatch.setattr(os, "writev", lambda file, views: sizes.append(sum(map(len, views))) or own(file, views))
    write_checkpoint(tmp_path / "a.pth", {"a": torch.zeros(2_000_000), "b": [torch.zeros(1000)] * 30})
    assert sum(sizes) == (tmp_path / "a.pth").stat().st_size
    assert 2**19 < max(sizes) <= 2**20
    assert len(sizes) < 20


def test_a_small_file_needs_no_thread_and_few_calls_of_the_system(file, monkeypatch):
    """A thread costs more than all the rest of a small save."""
    begun, calls = [], []
    monkeypatch.setattr(Background, "_begin", lambda self: begun.append(self.name))
    for name in ("mkdir", "unlink"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name, **k: (calls.append(name), real(*a, **k))[1])
    write_checkpoint(file, small())
    assert begun == calls == []
    verify_checkpoint(file)


def test_small_tensors_are_written_as_they_come(file, monkeypatch):
    """They are gathered, but not the whole file of them."""
    gathered, taken = [], _Body._gather
    monkeypatch.setattr(_Body, "_gather", lambda self, piece: (gathered.append(len(piece)), taken(self, piece))[1])
    payload = {"meta": {"iter": 1}, "state_dict": {str(number): torch.full((400,), number) for number in range(2000)}}
    write_checkpoint(file, payload)
    assert max(gathered) < AT_ONCE + SMALL
    assert sum(gathered) > 2000 * 400 * 8
    found = read_checkpoint(file)
    assert all(torch.equal(found["state_dict"][key], value) for key, value in payload["state_dict"].items())


def test_a_file_is_whole_where_no_thread_can_be_had(tmp_path, monkeypatch):
    """The interpreter is ending, or the user may have no more."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    payload = {"a": torch.arange(20_000_000)}
    write_checkpoint(tmp_path / "with.pth", payload)
    monkeypatch.setattr(threading.Thread, "start", refused)
    write_checkpoint(tmp_path / "without.pth", payload)
    assert (tmp_path / "with.pth").read_bytes() == (tmp_path / "without.pth").read_bytes()
    assert equal(read_checkpoint(tmp_path / "without.pth"), payload)


def test_the_limit_of_file_sizes_is_met_inside_torch(tmp_path):
    """RLIMIT_FSIZE makes the write inside `torch.save` fail, as a quota does."""
    code = f"""
import resource, signal, torch
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.checkpoint.write import CheckpointWriteError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_checkpoint({str(tmp_path / "iter_1.pth")!r}, {{"a": torch.zeros(1_000_000)}})
except CheckpointWriteError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "the disk is full" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_seen_before_anything_is_written(tmp_path):
    huge = torch.empty(1).expand(2**50).as_strided((1,), (1,))
    with pytest.raises(CheckpointWriteError, match="MB are needed"):
        write_or_explain(tmp_path / "x", lambda file: None, expected=2**60)
    assert huge.numel() == 1


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/seg-runner-was-here",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_runs_nothing(tmp_path, zipped):
    mark = Path("/tmp/seg-runner-was-here")
    mark.unlink(missing_ok=True)
    path = tmp_path / "evil.pth"
    torch.save({"meta": {"iter": 1}, "x": Evil()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        read_checkpoint(path)
    assert not mark.exists()


def test_unsafe_takes_an_explicit_flag(tmp_path):
    path = tmp_path / "objects.pth"
    torch.save({"x": pickle.PickleError("plain object")}, path)
    with pytest.raises(CheckpointError, match="unsafe=True"):
        read_checkpoint(path)
    assert isinstance(read_checkpoint(path, unsafe=True)["x"], pickle.PickleError)


def test_verify_alone(file):
    verify_checkpoint(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError):
        verify_checkpoint(file)


def test_a_folder_that_cannot_be_written(tmp_path):
    """As an ordinary user: root may write everywhere."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    code = f"""
import os, torch
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.checkpoint.write import CheckpointWriteError
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    write_checkpoint({str(folder / "iter_1.pth")!r}, {{"a": torch.zeros(1)}})
except CheckpointWriteError as error:
    print(error.strerror)
"""
    for parent in folder.parents:
        if parent.owner() == "root" and os.geteuid() == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    folder.chmod(0o700)
    assert "Permission denied" in done.stdout, done.stderr
    assert list(folder.iterdir()) == []


def test_a_file_of_another_kind_is_told_by_what_it_is(tmp_path):
    others = {
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": r"a picture \(PNG\)",
        b"\xff\xd8\xff\xe0\0\x10JFIF": r"a picture \(JPEG\)",
        b"II*\0\x08\0\0\0": r"a picture \(TIFF\)",
        b"BM\x46\0\0\0\0\0\0\0\x36": r"a picture \(BMP\)",
        b"RIFF\x24\0\0\0WEBPVP8 ": r"a picture \(WebP\)",
        b"model = dict(type='Segmentor')\n": "a text",
        "gr\u00fc\u00df".encode() * 4096: "a text",
        b"<!DOCTYPE html><html>": "a web page",
        b"version https://git-lfs.github.com/spec/v1\n": "a pointer of Git LFS",
        b"%PDF-1.7\n\xff\xfe": "a PDF document",
        b"\x1f\x8b\x08\x00": "an archive packed by gzip",
        b"\x93NUMPY\x01\0": "an array of numpy",
        b"\x10\0\0\0\0\0\0\0" + b'{"a":{}}        ': "a file of safetensors",
    }
    for data, words in others.items():
        (tmp_path / "x.pth").write_bytes(data)
        with pytest.raises(CheckpointError, match=f"is not a checkpoint, but {words}.*Give a file that a training"):
            read_checkpoint(tmp_path / "x.pth")
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    with pytest.raises(CheckpointError, match="but arrays of numpy"):
        read_checkpoint(tmp_path / "x.npz")


@pytest.mark.parametrize("data", [b"\x80\x02h\x65.", b"\x80\x02U\x01aQ.", bytes(range(255, 0, -1)), b"\x80\x04K"])
def test_bytes_that_are_nothing_are_told_without_the_readers_words_alone(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.pth is not a whole checkpoint: it was cut off or damaged, or"):
        read_checkpoint(tmp_path / "x.pth")
