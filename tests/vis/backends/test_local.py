"""LocalVisBackend: JSON lines, config, PNG files."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis import BaseVisBackend, LocalVisBackend, Visualizer


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_is_written_before_it_is_used(tmp_path: Path) -> None:
    LocalVisBackend(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_scalars_are_rows_with_a_step(tmp_path: Path) -> None:
    backend = LocalVisBackend(str(tmp_path))
    backend.add_scalar("loss", 0.5, step=1)
    backend.add_scalars({"loss": np.float32(0.25), "iter": 2, "epoch": 1}, step=2, file_path="run.json")
    backend.add_scalars({"loss": 0.1, "step": 7}, step=3)
    assert rows(tmp_path / "scalars.json") == [
        {"loss": 0.5, "step": 1},
        {"loss": 0.25, "iter": 2, "epoch": 1, "step": 2},
        {"loss": 0.1, "step": 7},
    ]
    assert rows(tmp_path / "run.json") == [{"loss": 0.25, "iter": 2, "epoch": 1, "step": 2}]


PLACES = ("step", "iter", "epoch")  # these say where a row belongs, and are refused where they cannot
VALUES = st.one_of(
    st.floats(), st.integers(-(2**60), 2**60), st.booleans(), st.text(), st.none(), st.lists(st.floats(width=32))
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text().filter(lambda name: name not in PLACES), VALUES))
def test_every_line_is_valid_json(tmp_path_factory: Any, row: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    LocalVisBackend(str(folder)).add_scalars(row)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads((folder / "scalars.json").read_text(encoding="utf-8"), parse_constant=refuse)
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert found[name] is None
        elif not isinstance(value, list):
            assert found[name] == value


def test_numpy_and_tensor_numbers_are_numbers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    backend = LocalVisBackend(str(tmp_path))
    backend.add_scalars({"a": np.int64(1), "b": np.array(2.5), "c": torch.tensor(0.5), "d": torch.ones(1), "e": [1, 2]})
    assert rows(tmp_path / "scalars.json") == [{"a": 1, "b": 2.5, "c": 0.5, "d": 1.0, "e": [1, 2], "step": 0}]


@pytest.mark.parametrize(
    ("left", "kept"), [('{"loss": 0.', []), ('{"loss": 2.0, "step": 1}', [{"loss": 2.0, "step": 1}]), ("", [])]
)
def test_a_broken_last_line_of_a_killed_run_is_mended(tmp_path: Path, left: str, kept: list[Any]) -> None:
    (tmp_path / "scalars.json").write_text('{"loss": 1.0, "step": 1}\n' + left, encoding="utf-8")
    LocalVisBackend(str(tmp_path)).add_scalar("loss", 0.5, 2)
    assert rows(tmp_path / "scalars.json") == [{"loss": 1.0, "step": 1}, *kept, {"loss": 0.5, "step": 2}]


def test_pictures_are_png_files_in_rgb(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    LocalVisBackend(str(tmp_path)).add_image("street", image, step=12)
    assert np.array_equal(cv2.imread(str(tmp_path / "vis_image/street_12.png"))[..., ::-1], image)


@pytest.mark.parametrize(
    ("name", "file"),
    [("val/a", "val/a_0.png"), ("../../etc/x", "etc/x_0.png"), ("/abs/b", "abs/b_0.png"), ("a b.jpg", "a b.jpg_0.png")],
)
def test_a_slash_makes_folders_and_nothing_leaves_them(tmp_path: Path, name: str, file: str) -> None:
    LocalVisBackend(str(tmp_path)).add_image(name, np.zeros((2, 2, 3), np.uint8))
    assert [str(p.relative_to(tmp_path / "vis_image")) for p in tmp_path.rglob("*.png")] == [file]


def test_the_config_is_text(tmp_path: Path) -> None:
    class Config:
        """A config that can write itself."""

        def dump(self) -> str:
            return "model = dict(type='Tiny')\n"

    backend = LocalVisBackend(str(tmp_path))
    backend.add_config({"max_iters": 5, "name": "x"})
    assert (tmp_path / "config.py").read_text() == "max_iters = 5\nname = 'x'\n"
    backend.add_config(Config())
    assert (tmp_path / "config.py").read_text() == "model = dict(type='Tiny')\n"


def test_names_of_files_can_be_chosen(tmp_path: Path) -> None:
    backend = LocalVisBackend(str(tmp_path), "pictures", "settings.py", "numbers.json")
    backend.add_config({"a": 1})
    backend.add_scalar("b", 2)
    backend.add_image("c", np.zeros((2, 2, 3), np.uint8))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"settings.py", "numbers.json", "pictures/c_0.png"}


def test_wrong_endings_and_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config_save_file must end in \.py"):
        LocalVisBackend(str(tmp_path), config_save_file="config.yaml")
    with pytest.raises(ValueError, match=r"scalar_save_file must end in \.json"):
        LocalVisBackend(str(tmp_path), scalar_save_file="scalars.txt")
    backend = LocalVisBackend(str(tmp_path))
    with pytest.raises(TypeError, match="must be uint8, got float64"):
        backend.add_image("x", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="a picture needs a name"):
        backend.add_image("//", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"differ from 'scalars\.json'"):
        backend.add_scalars({"a": 1}, file_path="scalars.json")


@pytest.mark.parametrize("name", ["a\x00b", "a\x1b[31m\n", "\u202ex", "\udce9", "y" * 300, "C:\\x\\y", "..\\..\\y"])
def test_names_are_made_safe(tmp_path: Path, name: str) -> None:
    LocalVisBackend(str(tmp_path)).add_image(f"val_{name}", np.zeros((2, 2, 3), np.uint8))
    (file,) = tmp_path.rglob("*.png")
    assert file.is_relative_to(tmp_path / "vis_image")
    assert file.name.isprintable()


@pytest.mark.skipif(os.name == "nt", reason="to make a link, Windows asks for special rights")
def test_links_in_the_folder_lead_nowhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "vis_image").symlink_to(outside)
    (inside / "scalars.json").symlink_to(outside / "numbers.json")
    backend = LocalVisBackend(str(inside))
    with pytest.raises(ValueError, match="outside"):
        backend.add_image("x", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="outside"):
        backend.add_scalar("loss", 1.0)
    with pytest.raises(ValueError, match="outside"):
        LocalVisBackend(str(inside), "../other").add_image("x", np.zeros((2, 2, 3), np.uint8))
    assert not list(outside.iterdir())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../x.json", "/tmp/x.json", "a/../../x.json"])
def test_no_file_may_lie_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"lies outside of save_dir"):
        LocalVisBackend(str(tmp_path), scalar_save_file=name)
    LocalVisBackend(str(tmp_path / "in")).add_scalars({"a": 1}, file_path=name)
    assert all((tmp_path / "in") in path.parents for path in tmp_path.rglob("x.json"))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=300) | st.from_regex(r"(\.\./|/|\\|[a-z:*]|\x1b|\x00)*", fullmatch=True))
def test_no_name_of_a_picture_leaves_the_folder(tmp_path_factory: Any, name: str) -> None:
    folder = tmp_path_factory.mktemp("names")
    backend = LocalVisBackend(str(folder / "in"))
    with contextlib.suppress(ValueError):  # nothing is left of such a name
        backend.add_image(name, np.zeros((2, 2, 3), np.uint8), 1)
    (written,) = [path for path in folder.rglob("*") if path.is_file()] or [folder / "in/vis_image/none"]
    assert folder / "in/vis_image" in written.parents
    assert all(character.isprintable() or character == " " or ord(character) > 127 for character in str(written))


@pytest.mark.parametrize("shape", [(4, 4, 5), (4, 4, 2), (0, 4, 3), (4, 0, 3), (4, 0), (4,), (1, 4, 4, 3), ()])
def test_a_picture_of_another_shape_is_refused_in_words(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be H x W x 3, got shape \("):
        LocalVisBackend(str(tmp_path)).add_image("x", np.zeros(shape, np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_without_contents_is_no_number(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    backend = LocalVisBackend(str(tmp_path))
    empty = torch.zeros((), device="meta")
    with pytest.raises(TypeError, match=r"add_scalar\(.*\) takes one number"):
        backend.add_scalar("loss", empty)
    with pytest.raises(TypeError, match="step must be a whole number"):
        backend.add_scalar("loss", 0.5, step=empty)
    backend.add_scalars({"loss": empty, "lr": torch.tensor([0.5])}, step=1)
    (row,) = rows(tmp_path / "scalars.json")
    assert (row["lr"], row["step"], type(row["loss"])) == (0.5, 1, str)


@pytest.mark.parametrize("row", [None, 0.5, [("loss", 0.5)], "loss"])
def test_a_record_that_is_no_dict_is_refused_in_words(tmp_path: Path, row: Any) -> None:
    for sender in (LocalVisBackend(str(tmp_path)), Visualizer(), BaseVisBackend()):
        with pytest.raises(TypeError, match="add_scalars takes a dict"):
            sender.add_scalars(row)
