from __future__ import annotations

from pathlib import Path

import pytest

from seg_engine.data.listing import found_in, named_by, read_list
from seg_engine.data.packed import Texts


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_names_lose_their_suffix_and_are_sorted(tmp_path: Path) -> None:
    files(tmp_path, "b/x_img.png", "a_img.png", "a.png", ".hidden_img.png", ".ipynb_checkpoints/a-checkpoint_img.png")
    found = found_in(tmp_path, ["_img.png"], None)
    assert list(found.names) == ["a", "b/x"]
    assert list(found.images) == [str(tmp_path / "a_img.png"), str(tmp_path / "b/x_img.png")]


def test_several_suffixes_and_what_is_left_out(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "b.JPG", "c.jpeg", "d.JPEG", "e.png", "notes.txt", "Thumbs.db")
    assert found_in(tmp_path, [".jpg"], None).left_out == {".JPEG": 1, ".JPG": 1, ".jpeg": 1, ".png": 1}
    found = found_in(tmp_path, [".jpg", ".JPG", ".jpeg"], None)
    assert list(found.names) == ["a", "b", "c"]
    assert found.left_out == {".JPEG": 1, ".png": 1}


def test_label_maps_in_the_same_folder_are_not_left_out(tmp_path: Path) -> None:
    files(tmp_path, "a_img.png", "a_seg.png", "b.png")
    assert found_in(tmp_path, ["_img.png"], (tmp_path, "_seg.png")).left_out == {".png": 1}


@pytest.mark.parametrize(
    "text", [b"a\n\nsub/b.png\r\n  c \n", "\ufeffa\nsub/b.png\nc".encode(), "a\nsub/b.png\nc\n".encode("utf-16")]
)
def test_lists_are_read_as_people_write_them(tmp_path: Path, text: bytes) -> None:
    files(tmp_path / "images", "a.png", "sub/b.png", "c.png")
    (tmp_path / "list.txt").write_bytes(text)
    lines = read_list(tmp_path / "list.txt")
    found = named_by(lines, tmp_path / "images", [".png"], tmp_path / "list.txt")
    assert list(found.names) == ["a", "sub/b", "c"]
    assert found.images[1] == str(tmp_path / "images/sub/b.png")


@pytest.mark.parametrize("text", ["café\n".encode("latin-1"), "a\nb\n".encode("utf-16-le")])
def test_another_encoding_is_said_with_path_and_remedy(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(ValueError, match=r"list\.txt.* UTF-8"):
        read_list(tmp_path / "list.txt")


def test_absolute_names(tmp_path: Path) -> None:
    files(tmp_path, "images/sub/a.png", "other/b.png", "third/b.png")
    source, folder = tmp_path / "list.txt", tmp_path / "images"
    lines = [str(tmp_path / "images/sub/a"), str(tmp_path / "other/b.png")]
    found = named_by(Texts(lines), folder, [".png"], source)
    assert list(found.names) == ["sub/a", "b"]
    assert list(found.images) == [str(tmp_path / "images/sub/a.png"), str(tmp_path / "other/b.png")]
    with pytest.raises(ValueError, match="label maps cannot be told apart"):
        named_by(Texts([*lines, str(tmp_path / "third/b.png")]), folder, [".png"], source)


def test_listed_images_that_are_missing_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    files(tmp_path, "a.png")
    with pytest.raises(FileNotFoundError, match=r"4 of 5 images of .*list\.txt are not there: 'b', 'c', 'd', \.\.\.; "):
        named_by(Texts(["a", "b", "c", "d", "e"]), tmp_path, [".png"], tmp_path / "list.txt")
    with pytest.raises(FileNotFoundError, match="one name per line"):
        named_by(Texts(["a.png labels/a.png"]), tmp_path, [".png"], tmp_path / "list.txt")


def test_links_that_lead_nowhere_are_told_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert len(found_in(tmp_path, [".jpg"], None).images) == 2
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images of .* lead nowhere, the first one is .*c\.jpg: mend"):
        found_in(tmp_path, [".jpg"], None)
