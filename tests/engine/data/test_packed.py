"""Names of many files in one piece of memory, and one look into each folder."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from seg_engine.data.datasets import BaseSegDataset
from seg_engine.data.packed import FileRecords, Texts
from seg_engine.data.present import absent, all_there

NAMES = ["a", "", "b/café", "x\udcffy", "ab" * 300]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def data(root: Path, **options: Any) -> BaseSegDataset:
    prefix = {"img_path": "images", "seg_map_path": "labels"}
    return BaseSegDataset(data_root=root, data_prefix=prefix, metainfo={"classes": ["x", "y"]}, **options)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    names = [f"{number % 3}/frame_{number:03d}" for number in range(300)]
    write(tmp_path / "images", *(f"{name}.jpg" for name in names))
    write(tmp_path / "labels", *(f"{name}.png" for name in names))
    (tmp_path / "all.txt").write_text("\n".join(names))
    return tmp_path


def test_texts_are_a_sequence_like_a_list() -> None:
    texts = Texts(NAMES)
    assert list(texts) == NAMES
    assert [texts[place] for place in range(-5, 5)] == NAMES * 2
    assert texts[1:4:2] == NAMES[1:4:2]
    assert len(texts) == 5
    assert list(texts.between("(", ")").take([4, 0])) == [f"({NAMES[4]})", "(a)"]
    assert list(pickle.loads(pickle.dumps(texts))) == NAMES
    with pytest.raises(IndexError):
        texts[5]
    assert list(Texts([])) == []


def test_a_hundred_thousand_names_are_two_objects_and_no_list() -> None:
    count = 100_000
    texts = Texts(f"{number:08d}" for number in range(count))
    before = sys.getsizeof([]) + sum(sys.getsizeof(f"{number:08d}") for number in range(10)) * (count // 10)
    assert len(pickle.dumps(texts)) < before / 3
    assert list(texts)[-1] == texts[-1] == "00099999"
    assert texts.between("a", "b")._bytes is texts._bytes


def test_records_are_made_when_asked_for() -> None:
    names = Texts(["a", "b", "c"])
    records = FileRecords(names.between("i/", ".jpg"), names.between("l/", ".png"))
    assert records[-1] == {"img_path": "i/c.jpg", "seg_map_path": "l/c.png"}
    assert [record["img_path"] for record in records.take([2, 0])] == ["i/c.jpg", "i/a.jpg"]
    assert [record["img_path"] for record in records[1:]] == ["i/b.jpg", "i/c.jpg"]
    assert FileRecords(names, None)[0] == {"img_path": "a"}


@pytest.mark.parametrize("options", [{}, {"ann_file": "all.txt"}, {"ann_file": "all.txt", "indices": -7}])
def test_a_start_asks_for_folders_and_not_for_files(
    many: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    asked: list[Any] = []
    for name in ("exists", "isfile"):
        own = getattr(os.path, name)
        monkeypatch.setattr(os.path, name, lambda path, own=own: (asked.append(path), own(path))[1])
    scans = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (scans.append(path), scan(path))[1])
    found = data(many, **options)
    assert len(asked) < 10  # of 300 images and 300 label maps
    assert len(scans) <= 10
    assert isinstance(found.records, FileRecords)
    assert len(pickle.dumps(found)) < 60_000
    last = found.get_data_info(len(found) - 1)
    assert Path(last["img_path"]).is_file()
    assert Path(last["seg_map_path"]).is_file()


def test_few_names_of_a_large_folder_do_not_need_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *(f"{number}.png" for number in range(100)))
    monkeypatch.setattr("seg_engine.data.present.MOST_OTHERS", 3)
    seen = []
    scan = os.scandir

    class Counted:
        def __init__(self, path: str) -> None:
            self.entries = scan(path)

        def __enter__(self) -> Any:
            return (seen.append(entry) or entry for entry in self.entries)

        def __exit__(self, *error: object) -> None:
            self.entries.close()

    monkeypatch.setattr(os, "scandir", Counted)
    assert absent(Texts(["7.png", "8.png"], f"{tmp_path}/")) == []
    assert len(seen) == 6


def test_what_no_folder_shows_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b/c.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.png").mkdir()
    names = Texts(["a", "link", "folder", "b/c", "dead", "b/d", "none/e"], f"{tmp_path}/", ".png")
    assert absent(names) == [f"{tmp_path}/{name}.png" for name in ("dead", "b/d", "none/e")]
    assert absent(names, os.path.isfile)[0] == f"{tmp_path}/folder.png"
    assert all_there(names.take([0, 3]))
    assert not all_there(names)


def test_missing_label_maps_are_counted_as_before(many: Path) -> None:
    (many / "labels/0/frame_003.png").unlink()
    (many / "labels/2/frame_299.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 300 images have no label file, the first one is .*frame_003"):
        data(many)


def test_a_subclass_gets_a_list_of_records_that_it_may_change(many: Path) -> None:
    class Own(BaseSegDataset):
        def load_data_list(self) -> list[dict[str, Any]]:
            records = super().load_data_list()
            for record in records:
                record["camera"] = "front"
            return records[:5]

    found = Own(data_root=many, data_prefix={"img_path": "images", "seg_map_path": "labels"})
    assert (len(found), found.get_data_info(4)["camera"]) == (5, "front")


def test_names_of_one_form_share_their_memory(many: Path) -> None:
    for line in ("0/frame_000\n1/frame_001", "0/frame_000.jpg\n1/frame_001.jpg"):
        (many / "some.txt").write_text(line)
        records = data(many, ann_file="some.txt").records
        assert isinstance(records, FileRecords)
        assert records.labels is not None
        assert records.images._bytes is records.labels._bytes
        assert records[1]["img_path"] == str(many / "images/1/frame_001.jpg")
        assert records[1]["seg_map_path"] == str(many / "labels/1/frame_001.png")
