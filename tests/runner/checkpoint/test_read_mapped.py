from __future__ import annotations

import os
import pickle
from collections import Counter, OrderedDict
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_runner import CheckpointError, read_checkpoint
from seg_runner.checkpoint.read_mapped import _Mapped, read_mapped
from seg_runner.checkpoint.write import write_checkpoint, write_plain
from seg_runner.trees import tensors_of

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


NEWER = hasattr(torch.serialization, "set_crc32_options")  # 2.6: torch's reader knows bytes and sets


def everything() -> dict:
    """All that `to_plain` lets into a file, and what share memory."""
    base = torch.arange(60.0)
    return {
        "meta": {"iter": 3, "bytes": b"\xff\x00a", "big": 2**70, "name": "ü", "none": None, "on": True, "z": 1j},
        "plain": [(1, 2.5), {1, 2}, float("inf"), torch.Size([1, 2]), torch.device("cpu"), torch.bfloat16],
        "steps": Counter([1, 1, 2]),
        "model": torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict(),
        "tensors": OrderedDict(a=base, part=base[6:26].view(4, 5).t(), none=torch.zeros(0, 3), one=torch.tensor(2.0)),
    }


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.stride() == other.stride() and not other.requires_grad
        return alike and torch.equal(one, other)
    if isinstance(one, dict):
        return type(one) is type(other) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and one == other


def test_it_builds_what_torch_builds(tmp_path):
    write_checkpoint(tmp_path / "x.pth", everything())
    found, expected = read_mapped(tmp_path / "x.pth"), torch.load(tmp_path / "x.pth", weights_only=NEWER)
    assert same(found, expected)
    assert found["model"]._metadata == expected["model"]._metadata
    assert found["tensors"]["part"].untyped_storage().data_ptr() == found["tensors"]["a"].data_ptr()
    assert type(found["steps"]) is Counter


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4), st.integers(0, 3))
def test_any_dtype_and_shape(dtype, shape, more):
    import tempfile

    value = torch.randint(0, 2, (more, *shape)).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pth"
        write_checkpoint(path, {"a": value, "b": value.transpose(0, -1)})
        found = read_mapped(path)
        assert same(torch.load(path, weights_only=True), found)
        assert torch.equal(found["a"], value)


def test_the_checkpoint_of_a_run_needs_nothing_else(make_runner, tmp_path):
    runner = make_runner()
    runner.train()
    runner.save_checkpoint(tmp_path / "x.pth")
    assert same(read_mapped(tmp_path / "x.pth"), torch.load(tmp_path / "x.pth", weights_only=True))


def test_the_file_stays_as_it_is_and_may_go(tmp_path):
    write_checkpoint(tmp_path / "x.pth", everything())
    before = (tmp_path / "x.pth").read_bytes()
    found = read_checkpoint(tmp_path / "x.pth")
    for tensor in tensors_of(found):
        tensor.zero_()
    assert (tmp_path / "x.pth").read_bytes() == before
    (tmp_path / "x.pth").unlink()
    assert found["tensors"]["a"].sum() == 0


@pytest.mark.parametrize("value", [torch.eye(3).to_sparse(), *([torch.ones(2).to(torch.uint16)] if NEWER else [])])
def test_what_it_does_not_build_torch_reads(tmp_path, value):
    write_checkpoint(tmp_path / "x.pth", {"x": value})
    with pytest.raises(pickle.UnpicklingError):
        read_mapped(tmp_path / "x.pth")
    assert torch.equal(read_checkpoint(tmp_path / "x.pth")["x"].to_dense(), value.to_dense())


class Call:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


MARK = Path("/tmp/seg-runner-mapped")
HOSTILE = {
    "a command": Call(os.system, (f"touch {MARK}",)),
    "a type": Call(type, ("X", (), {})),
    "a function of torch": Call(torch.hub.load, ("x", "y")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_with_a_right_checksum_runs_nothing(tmp_path, name):
    MARK.unlink(missing_ok=True)
    path = tmp_path / "x.pth"
    write_plain(path, {"meta": {"iter": 1}, "x": HOSTILE[name]})
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not MARK.exists()


HAND_WRITTEN = [
    b"cos\nsystem\n(S'true'\ntR.",
    b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'__defaults__'\n(I1\ntstb.",
    b"ccollections\nCounter\n(N}S'update'\nI1\nstb.",
    b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    b"(S'storage'\nctorch\nFloatStorage\nS'9'\nS'cpu'\nI1\ntQ.",
    b"S'a'\nQ.",
    b"ctorch\nload\n(S'x'\ntR.",
]


@pytest.mark.parametrize("data", HAND_WRITTEN)
def test_hand_written_pickles_are_refused_and_change_nothing(data):
    update = Counter.update
    try:
        found = _Mapped(data, torch.UntypedStorage(8), {}).load()
    except Exception:
        found = None
    assert found is None or isinstance(found, partial)  # a stand-in that only this pickle has seen
    assert Counter.update is update
    assert read_mapped_tensor()


def read_mapped_tensor() -> bool:
    """Whether the builders still work."""
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI2\ntQ"
    pickled = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n(I2\nt(I1\ntI00\nNtR."
    found = _Mapped(pickled, torch.ones(2).untyped_storage(), {"data/0": (0, 8)}).load()
    return torch.equal(found, torch.ones(2))


def test_tensors_beyond_their_record_are_refused(tmp_path):
    """`set_` knows how long the mapped part is."""
    path, weight = tmp_path / "x.pth", torch.arange(64.0)
    write_plain(path, {"w": weight})
    data = path.read_bytes()
    longer = data.replace(b"K@\x85", b"K\xff\x85")
    assert longer != data
    path.write_bytes(longer)
    with pytest.raises(RuntimeError, match="storage"):
        read_mapped(path)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
