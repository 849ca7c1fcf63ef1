"""Addresses and stores: what is listed, read and written there, and what is said where that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from seg_runner.remote.address import RemoteError, Store, as_path, scheme_of, shown

pytest.importorskip("fsspec")


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    """A store in this process, with a folder of the test's own."""
    return Store(f"memory://tests/{request.node.name}")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["a/b", "/a b", "C:/a", "C:\\a", "run.v2:x", ""])
def test_paths_are_no_addresses(text):
    assert scheme_of(text) == ""
    assert as_path(text) == text


def test_a_password_is_not_shown():
    assert shown("ftp://me:se:cr@et@host/a") == "ftp://me:***@host/a"
    with pytest.raises(RemoteError, match=r"ftp://me:\*\*\*@127.0.0.1:9/a cannot be opened") as raised:
        Store("ftp://me:secret@127.0.0.1:9/a", {"timeout": 2}).entries()
    assert "secret" not in str(raised.value)


def test_what_is_brought_there_is_listed_and_comes_back(store, tmp_path):
    entry = store.bring(write(tmp_path / "x", "twelve bytes"), "in/a/folder.txt")
    assert store.entries() == {"in/a/folder.txt": entry}
    assert entry.size == 12
    store.fetch("in/a/folder.txt", tmp_path / "back" / "y")
    assert (tmp_path / "back" / "y").read_text() == "twelve bytes"
    assert store.read("in/a/folder.txt", 7) == b"bytes"


def test_a_file_that_is_written_again_is_another_version(store, tmp_path):
    first = store.bring(write(tmp_path / "x", "one"), "x")
    second = store.bring(write(tmp_path / "x", "two"), "x")
    assert first != second
    assert store.read("x") == b"two"


def test_no_temporary_file_is_left(store, tmp_path):
    store.bring(write(tmp_path / "x", "one"), "x")
    store.write("y", b"2")
    with pytest.raises(FileNotFoundError):
        store.bring(tmp_path / "none", "z")
    assert sorted(store.entries()) == ["x", "y"]


def test_what_is_not_there_is_told_as_that(store, tmp_path):
    assert store.entries() == {}
    store.remove("x")
    with pytest.raises(FileNotFoundError):
        store.read("x")
    with pytest.raises(FileNotFoundError):
        store.fetch("x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_protocol_that_there_is_none_of():
    with pytest.raises(RemoteError, match=r"no protocol is called 's33'. Did you mean 's3'"):
        Store("s33://bucket/a").entries()


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RemoteError, match="s3://bucket/a needs a package that is not installed: pip install s3fs"):
        Store("s3://bucket/a").entries()


def test_without_fsspec_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(RemoteError, match="pip install fsspec"):
        Store("memory://a").entries()
