"""Checkpoints that TrainState and NanGuard read: in time and memory of the file's own size."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks.files import pointed_at
from seg_hooks.hooks.checkpoint_files import publish
from seg_hooks.hooks.nan_replay import REPLAY, last_step
from seg_hooks.own_loop.find_checkpoint import read_whole
from seg_hooks.read_checkpoint import load_bounded


def folded() -> list[Any]:
    value: Any = [1, 1]
    for _ in range(40):
        value = [value, value]
    return value


def content(**more: Any) -> dict[str, Any]:
    return {"meta": {"iter": 3}, "state_dict": {}, "message_hub": {}, **more}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"message_hub": folded()}, "contain one another"),
        ({"state_dict": {"w": torch.zeros(1).expand(2**40)}}, "declare tensors"),
        ({"meta": {"iter": 10**30}}, "meta.iter"),
        ({"meta": {"iter": -1}}, "meta.iter"),
        ({"meta": {"iter": True}}, "meta.iter"),
        ({"meta": {"iter": float("nan")}}, "meta.iter"),
        ({"meta": ["iter"]}, "meta.iter"),
    ],
)
def test_a_file_that_declares_too_much_is_no_checkpoint(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    torch.save(content(**more), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=words):
        read_whole(tmp_path / "x.pth")


def test_a_tensor_beyond_its_memory_is_not_made(tmp_path: Path) -> None:
    torch.save(content(state_dict={"w": torch.arange(77)}), tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text = next(name for name in parts if name.endswith("data.pkl"))
    assert parts[text].count(b"K\x4d\x85") == 1
    parts[text] = parts[text].replace(b"K\x4d\x85", b"J\xff\xff\xff\x7f\x85")  # 77 numbers become two thousand million
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        read_whole(tmp_path / "y.pth")


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps("a" * 50_000_000, protocol=2))
        archive.writestr("x/version", "3")
    for read in (read_whole, load_bounded):
        with pytest.raises(ValueError, match="unpack to 50,000"):
            read(tmp_path / "x.pth")


def test_what_is_read_needs_its_file_no_more(tmp_path: Path) -> None:
    weights = OrderedDict(a=torch.arange(5.0), b=torch.zeros(2, 3).t())
    weights._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    shared = [1, torch.ones(1)]
    torch.save(content(state_dict=weights, extra=(shared, shared)), tmp_path / "x.pth")
    found = read_whole(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes(bytes(9000))
    assert found["state_dict"]["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["state_dict"]["b"].shape == (3, 2)
    assert found["state_dict"]._metadata == {"": {"version": 2}}
    assert found["extra"][0] is found["extra"][1]


@pytest.mark.parametrize("text", [b"x" * 10_000_000, b"a\0b", b"\xff\xfe"])
def test_a_pointer_holds_a_path(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "last_checkpoint").write_bytes(text)
    with pytest.raises(ValueError):
        pointed_at(tmp_path / "last_checkpoint")


def test_a_pointer_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last_checkpoint")
    with pytest.raises(OSError, match="not a file"):
        pointed_at(tmp_path / "last_checkpoint")


def test_publishing_refuses_a_file_that_declares_too_much(tmp_path: Path) -> None:
    torch.save(content(message_hub=folded()), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="contain one another"):
        publish(tmp_path / "x.pth", ["meta"], logging.getLogger("test"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_replay_refuses_a_bundle_that_declares_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"iter": 3, "batch": folded()}, tmp_path / "bundle.pt")
    monkeypatch.setenv(REPLAY, str(tmp_path / "bundle.pt"))
    with pytest.raises(ValueError, match=r"not a bundle\.pt .* contain one another"):
        last_step()


def test_publishing_writes_tied_weights_once(tmp_path: Path) -> None:
    weight = torch.rand(100, 100)
    torch.save(content(state_dict={"a": weight, "b": weight.detach()}), tmp_path / "x.pth")
    published = publish(tmp_path / "x.pth", ["state_dict"], logging.getLogger("test"))
    assert published is not None
    assert published.stat().st_size < 60_000  # one is 40,000 bytes
    state = torch.load(published, weights_only=True)["state_dict"]
    assert torch.equal(state["a"], weight)
    assert torch.equal(state["b"], weight)
