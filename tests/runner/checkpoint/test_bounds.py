"""Files that declare more than they can hold are refused, in time and memory of their own size."""

from __future__ import annotations

import io
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from seg_runner import CheckpointError, read_checkpoint
from seg_runner.checkpoint.bounds import ExcessiveError, check_pickle
from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.find import find_resumable
from seg_runner.checkpoint.write import MARK, TRAILER
from seg_runner.checks import count_of
from torch._utils import _rebuild_tensor_v2

READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
from seg_runner import read_checkpoint
try:
    read_checkpoint(sys.argv[1], verify=False)
except ValueError as error:
    print(type(error).__name__, error)
"""


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class Storage:
    def __init__(self, elements: int) -> None:
        self.pid = ("storage", torch.FloatStorage, "0", "cpu", elements)


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, Storage) else None


def tensor(elements: int, size: Any, stride: Any, offset: int = 0) -> Call:
    return Call(_rebuild_tensor_v2, Storage(elements), offset, size, stride, False, OrderedDict())


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"meta": {"iter": 1}, "state_dict": {}, **value})
    return file.getvalue()


def folded(levels: int = 40) -> list[Any]:
    """Lists that share one another: 2 ** levels of them, unfolded."""
    value: Any = [1, 1]
    for _ in range(levels):
        value = [value, value]
    return value


def folded_tuple(levels: int) -> tuple[Any, ...]:
    value: Any = (1, 1)
    for _ in range(levels):
        value = (value, value)
    return value


def key_of_tuples(levels: int) -> bytes:
    """A dict whose key is a tuple of tuples; pickled by hand, for hashing it would take for ever here, too."""
    text = pickle.dumps(folded_tuple(levels), protocol=2)
    return text[:2] + b"}" + text[2:-1] + b"K\x01s."


DEEP = b"\x80\x02}X\x01\x00\x00\x00d" + b"(" * 50_000 + b"l" * 50_000 + b"s."
HOSTILE: dict[str, Any] = {
    "lists that share": pickled({"message_hub": folded()}),
    "lists that share in a weight's place": pickled({"state_dict": {"w": folded()}}),
    "dicts that share": pickled({"hooks": [[[{"x": 1}] * 1000] * 1000] * 1000}),
    "a large tensor": pickled({"state_dict": {"w": tensor(4, (2**31,), (1,))}}),
    "a large storage": pickled({"state_dict": {"w": tensor(2**40, (2**40,), (1,))}}),
    "a far offset": pickled({"state_dict": {"w": tensor(4, (1,), (1,), 2**31)}}),
    "wide strides": pickled({"state_dict": {"w": tensor(4, (2,), (2**31,))}}),
    "one number as many": pickled({"state_dict": {"w": tensor(4, (2**40,), (0,))}}),
    "many times one number as many": pickled(
        {"state_dict": {f"w{i}": tensor(4, (2**22,), (0,)) for i in range(100)}},
    ),
    "a negative size": pickled({"state_dict": {"w": tensor(4, (-5,), (1,))}}),
    "a bytearray of a size": pickled({"b": Call(bytearray, 2**36)}),
    "an array of a size": pickled({"b": Call(torch.Tensor, 2**36)}),
    "deep values": DEEP,
    "a tuple as a key": key_of_tuples(40),
    "not ended": pickled({})[:-1],
    "no pickle": b"",
}


def write(path: Path, text: bytes, *, compressed: bool = False, ours: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in (("data.pkl", text), ("version", b"3\n"), ("byteorder", b"little"), ("data/0", bytes(16))):
            archive.writestr(f"x/{name}", content)
    if ours:  # anybody can end a file like that
        data, place = bytearray(path.read_bytes()), b'{"iter": 1, "complete": true}'
        data[-2:] = (len(place) + TRAILER).to_bytes(2, "little")
        data += place + MARK
        path.write_bytes(data + xxhash.xxh3_128(data).hexdigest().encode())
    return path


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_declares_too_much_is_an_error_in_words(tmp_path: Path, name: str, ours: bool) -> None:
    path = write(tmp_path / "iter_1.pth", HOSTILE[name], ours=ours)
    with pytest.raises(CheckpointError, match=r"iter_1\.pth"):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20  # kilobytes


@pytest.mark.parametrize("ours", [False, True])
def test_a_number_that_a_value_is_kept_under_costs_nothing(tmp_path: Path, ours: bool) -> None:
    """The unpickler in C would make room for half a billion values."""
    path = write(tmp_path / "x.pth", b"\x80\x02}r\xff\xff\xff\x1f.", ours=ours)
    found = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    assert found.stdout == ""  # an empty checkpoint


@pytest.mark.parametrize("verify", [False, True])
def test_a_compressed_file_is_not_unpacked(tmp_path: Path, verify: bool) -> None:
    path = write(tmp_path / "x.pth", pickled({"text": "a" * 50_000_000}), compressed=True)
    assert path.stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="unpack to 50,000"):
        read_checkpoint(path, verify=verify)
    assert find_resumable(tmp_path) is None


def test_a_zip_whose_parts_lie_over_one_another_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", pickled({}))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: at + 20] + (2**30).to_bytes(4, "little") * 2 + data[at + 28 :])
    with pytest.raises(CheckpointError, match="larger than its"):
        read_checkpoint(path)


def test_what_is_honest_is_read(tmp_path: Path) -> None:
    shared = [1.5] * 5000
    content = {
        "meta": {"iter": 3},
        "state_dict": OrderedDict(a=torch.ones(3, 4).t(), b=torch.zeros(1).expand(7)),
        "betas": [(0.9, 0.99)] * 50,
        "keys": {(1, (2, 3)): 1, None: 2},
        "lists": [shared] * 50,
        "set": {1, 2},
    }
    content["state_dict"]._metadata = {"": {"version": 2}}
    for zipped in (True, False):
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        found = read_checkpoint(tmp_path / "x.pth")
        assert torch.equal(found["state_dict"]["a"], content["state_dict"]["a"])
        assert found["state_dict"]["b"].tolist() == [0] * 7
        assert found["state_dict"]._metadata == {"": {"version": 2}}
        assert {key: found[key] for key in ("betas", "keys", "lists", "set", "meta")} == {
            key: content[key] for key in ("betas", "keys", "lists", "set", "meta")
        }


def test_a_copy_of_shared_lists_is_made_once() -> None:
    value = folded()
    value.append(torch.ones(1))
    copy = own(value)
    assert copy[0] is copy[1]
    assert copy[2] is not value[2]


@pytest.mark.parametrize(
    "text",
    [
        b"\x80\x02(t\x94h\x00.",
        b"\x80\x02K\x01\x85q\x05h\x05\x86.",
        b"\x80\x02K\x01\x85N0q\x05.",
        b"\x80\x02K\x01\x85(eq\x05h\x05.",
        b"\x80\x02K\x01\x85Nbr\x05\x00\x00\x00j\x05\x00\x00\x00.",
        b"\x80\x02p99999\n.",
        b"\x80\x02cos\nsystem",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
    ],
)
def test_the_fast_reader_takes_only_what_torch_writes(text: bytes) -> None:
    with pytest.raises(ExcessiveError):
        check_pickle(text)


@pytest.mark.parametrize("value", [-1, 10**30, True, None, "5", 1.5, float("nan"), float("inf"), [1], torch.ones(1)])
def test_what_is_no_count(value: Any) -> None:
    assert count_of(value) is None


@pytest.mark.parametrize("key", ["iter", "epoch", "generation"])
@pytest.mark.parametrize("value", [10**30, -3, float("nan"), "7", [2]])
def test_a_count_that_no_run_has_is_not_resumed_from(tmp_path: Path, caplog: Any, key: str, value: Any) -> None:
    torch.save({"meta": {"iter": 5}, "state_dict": {}, "optimizer": {}}, tmp_path / "good.pth")
    torch.save({"meta": {"iter": 9, key: value}, "state_dict": {}, "optimizer": {}}, tmp_path / "bad.pth")
    assert find_resumable(tmp_path) == tmp_path / "good.pth"
    assert f"{key}={value!r}" in caplog.text


@pytest.mark.parametrize("content", [b"x" * 10_000_000, b"\xff\xfe", b"a\0b", b"", b"/dev/zero", b"..", b"\n" * 9999])
def test_a_pointer_of_any_content_points_nowhere(tmp_path: Path, content: bytes) -> None:
    torch.save({"meta": {"iter": 5}, "state_dict": {}, "optimizer": {}}, tmp_path / "good.pth")
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert find_resumable(tmp_path) == tmp_path / "good.pth"


def test_a_pointer_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last_checkpoint")
    assert find_resumable(tmp_path) is None


@pytest.mark.parametrize("value", [10**30, -1, "9", float("nan")])
def test_a_runner_does_not_believe_it(make_runner: Any, tmp_path: Path, value: Any) -> None:
    runner = make_runner()
    runner.train()
    runner.save_checkpoint(tmp_path / "x.pth")
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    content["meta"]["iter"] = value
    torch.save(content, tmp_path / "y.pth")
    with pytest.raises(ValueError, match=r"meta\.iter of this checkpoint is .* no run can have"):
        make_runner(work_dir=tmp_path / "other", resume=str(tmp_path / "y.pth")).train()
