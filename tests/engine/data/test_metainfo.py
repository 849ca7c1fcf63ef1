"""What a data set says about itself: names and colours in their order, or an error in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from seg_engine.data.datasets import BaseSegDataset, CityscapesDataset
from seg_engine.data.files import declared_size
from seg_engine.data.loading import LoadAnnotations, LoadImageFromFile

THREE = ("wall", "building", "sky")


def made(**metainfo: Any) -> dict[str, Any]:
    return BaseSegDataset(lazy_init=True, metainfo=metainfo).metainfo


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter])
def test_names_come_in_their_order(kind: Any) -> None:
    assert made(classes=kind(list(THREE)))["classes"] == THREE


@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys, lambda names: [names], lambda names: 19])
def test_what_has_no_order_or_no_names_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"metainfo\['classes'\].*a list of names is expected"):
        made(classes=kind(THREE))


def test_the_names_of_a_class_are_checked_as_well() -> None:
    class Own(BaseSegDataset):
        METAINFO: ClassVar[dict[str, Any]] = {"classes": set(THREE)}

    with pytest.raises(TypeError, match=r"Own: .* is a set, whose order changes"):
        Own(lazy_init=True)


def test_a_text_names_a_file_with_a_class_per_line(tmp_path: Path) -> None:
    file = tmp_path / "cls.txt"
    file.write_text("wall\nbuilding \r\nclear sky\n\n", "utf-8-sig")
    assert made(classes=str(file))["classes"] == ("wall", "building", "clear sky")
    assert made(classes=file)["classes"] == ("wall", "building", "clear sky")
    file.write_text("wall\n\nsky\n")
    with pytest.raises(ValueError, match="an empty line; one line for each label"):
        made(classes=str(file))


def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for metainfo, words in (
        ({"classes": str(tmp_path / "pipe")}, "there is no file of that name"),
        ({"classes": THREE, "palette": tmp_path / "pipe"}, "pipe is a folder, a pipe or a device"),
        ({"classes": THREE, "palette": str(tmp_path / "pipe")}, "palette"),
    ):
        with pytest.raises(ValueError, match=words):
            made(**metainfo)
    assert declared_size(tmp_path / "pipe", turns=True) is None


@pytest.mark.parametrize("text", ["field", "cls.txt", ""])
def test_a_text_that_names_no_file_is_no_row_of_letters(text: str) -> None:
    with pytest.raises(ValueError, match=r"there is no file of that name.*with a comma is a list of one"):
        made(classes=text)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda rows: np.array(rows, float)])
def test_colours_are_whole_numbers_however_they_are_held(kind: Any) -> None:
    assert made(classes=("a", "b"), palette=kind([[1, 2, 3], [255, 0, 128]]))["palette"] == [[1, 2, 3], [255, 0, 128]]


def test_a_palette_may_have_a_name_or_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "colours.txt"
    file.write_text("1 2 3\n[4, 5, 6]\n")
    assert made(palette=str(file))["palette"] == [[1, 2, 3], [4, 5, 6]]
    assert made(classes=THREE, palette="distinct")["palette"] == "distinct"


@pytest.mark.parametrize(
    "palette",
    [
        [[300, 0, 0], [-1, 0, 0]],
        [[0.5, 0.5, 0.5], [0, 0, 0]],
        [[1, 2], [3, 4]],
        [[1, 2, 3], [4, 5]],
        ["red", "blue"],
        [1, 2, 3],
        {(1, 2, 3), (4, 5, 6)},
        {"a": [1, 2, 3], "b": [4, 5, 6]},
        "cls.txt",
        7,
        torch.tensor([[300, 0, 0], [0, 0, 0]]),
    ],
)
def test_other_palettes_are_refused_where_the_data_set_is_made(palette: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"metainfo\['palette'\].*three whole numbers from 0 to 255"):
        made(classes=("a", "b"), palette=palette)


@pytest.mark.parametrize(("key", "meant"), [("clases", "classes"), ("Classes", "classes"), ("pallete", "palette")])
def test_a_misspelt_key_is_told_with_the_right_one(key: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"metainfo: nothing reads the key .{key}.*Did you mean '{meant}'"):
        made(**{key: THREE})


def test_other_keys_are_kept() -> None:
    assert made(classes=THREE, task="roofs", clases=1)["task"] == "roofs"
    with pytest.raises(TypeError, match="metainfo must be a dict"):
        BaseSegDataset(lazy_init=True, metainfo=THREE)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"reduce_zero_label": True}, {"metainfo": {"classes": ("car", "road")}}])
def test_a_class_with_the_number_of_what_is_ignored_is_told(options: dict[str, Any]) -> None:
    def about(ignore: int) -> list[str]:
        data = CityscapesDataset(lazy_init=True, ignore_index=ignore, **options)
        data.records, data._ready = [{"img_path": "a.png"}], True
        return [text for _, text in data.data_report() if "ignore_index" in text]

    assert "ignore_index=0 is also the new number of the class" in about(0)[0]
    assert not about(255)


@pytest.mark.parametrize(
    ("key", "meant"), [("img_pth", "img_path"), ("seg_map_pth", "seg_map_path"), ("seg_map_paht", "seg_map_path")]
)
def test_a_misspelt_folder_is_told_with_the_right_one(key: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"data_prefix: nothing reads the key '{key}'. Did you mean '{meant}'"):
        BaseSegDataset(lazy_init=True, data_prefix={key: "images"})
    BaseSegDataset(lazy_init=True, data_prefix={"img_path": "images", "depth_map_path": "depth"})


@pytest.mark.parametrize(
    ("kind", "option", "meant"),
    [(LoadImageFromFile, "to_float", "to_float32"), (LoadAnnotations, "reduce_zero_lable", "reduce_zero_label")],
)
def test_a_misspelt_option_of_a_loader_is_told(kind: Any, option: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} has no option '{option}'. Did you mean '{meant}'"):
        kind(**{option: True})
