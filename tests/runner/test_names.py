"""Names of samples as file names, and as text for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import names as module
from seg_runner.evaluation.cityscapes import CityscapesMetric
from seg_runner.evaluation.depth import DepthMetric
from seg_runner.evaluation.iou import IoUMetric
from seg_runner.evaluation.tables import boxed_table, write_png
from seg_runner.log.setup import make_logger
from seg_runner.names import LONGEST, FileNames, file_name, printable


def test_names_stay_as_long_as_nothing_collides() -> None:
    names = FileNames()
    found = [names.of(f"data/{name}") for name in ("a.jpg", "b.c.png", "été.png", "a b.tif")]
    assert found == ["a", "b.c", "été", "a b"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/1.png", "b/1.png", "c/1.png"], ["1", "b_1", "c_1"]),
        (["x/a/1.png", "y/a/1.png", "x/b/1.png", "y/b/1.png"], ["1", "y_1", "b_1", "y_b_1"]),
        (["a/x.jpg", "a/x.png", "a/x.tif"], ["x", "x.png", "x.tif"]),
        (["a/x.png", "a/X.png"], ["x", "X_2"]),
        (["a/e\u0301.png", "a/\u00e9.png"], ["e\u0301", "\u00e9_2"]),
        (["b/1.png", "a/b_1.png", "c/b/1.png"], ["1", "b_1", "c_1"]),
        ([r"C:\a\1.png", r"D:\a\1.png"], ["1", "D:_1"]),
    ],
)
def test_images_of_one_name_are_told_apart(paths: list[str], expected: list[str]) -> None:
    names = FileNames()
    assert [names.of(path) for path in paths] == expected
    assert [names.of(path) for path in paths] == expected, "the second pass gives the same names"


PATHS = st.lists(st.text(st.sampled_from("aA/\\.b\u0301é\x1b\n:"), max_size=9), max_size=12, unique=True)


@given(PATHS, st.booleans())
def test_every_image_has_a_file_of_its_own_in_the_folder(paths: list[str], endings: bool) -> None:
    names = FileNames(endings)
    found = [names.of(path) for path in paths]
    assert len({name.casefold() for name in found}) == len(paths)
    assert all(Path("out", f"{name}.png").resolve().parent == Path("out").resolve() for name in found)


HOSTILE = ["../x", "..", "/etc/x", "a\x00b", "a\nb", "a\x1b[31mb", "\u202egnp.exe", "\udce9", "", "x" * 400, "é" * 200]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_folder_or_is_too_long(tmp_path: Path, name: str) -> None:
    safe = file_name(name)
    write_png(tmp_path / f"val_{safe}_100000.png", np.zeros((1, 1), np.uint8))
    assert [path.parent for path in tmp_path.rglob("*")] == [tmp_path]
    assert len(safe.encode()) <= LONGEST
    assert safe == printable(safe)


def test_names_that_windows_refuses_are_changed_there_only(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = ["CON", "nul.tar", "a:b", "x?", "end. "]
    assert [file_name(name) for name in odd] == odd
    monkeypatch.setattr(module, "_WINDOWS", True)
    assert [file_name(name) for name in odd] == ["_CON", "_nul.tar", "a_b", "x_", "end"]


def sample(path: str, value: int) -> dict[str, Any]:
    labels, depth = torch.full((1, 2, 3), value), torch.full((1, 2, 3), float(value))
    maps = {"gt_sem_seg": labels, "pred_sem_seg": labels, "gt_depth_map": depth, "pred_depth_map": depth}
    return {**{name: {"data": values} for name, values in maps.items()}, **({"img_path": path} if path else {})}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: IoUMetric(num_classes=9, output_dir=folder),
        lambda folder: DepthMetric(output_dir=folder),
        lambda folder: CityscapesMetric(output_dir=folder, keep_results=True),
    ],
)
def test_metrics_write_each_image_of_two_folders(tmp_path: Path, make: Any) -> None:
    cv2 = pytest.importorskip("cv2")
    metric = make(str(tmp_path / "out"))
    for _ in range(2):
        for path, value in (("a/1.png", 1), ("b/1.png", 2), ("", 3), ("", 4)):
            metric.process(None, [sample(path, value)])
        metric.evaluate(4)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["1.png", "b_1.png", "prediction_0.png", "prediction_1.png"]
    values = [np.unique(cv2.imread(str(tmp_path / "out" / name), -1)).tolist() for name in found]
    assert [len(one) for one in values] == [1] * 4
    assert len({one[0] for one in values}) == 4


def test_a_link_in_the_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").symlink_to(precious)
    metric = IoUMetric(num_classes=2, output_dir=str(tmp_path / "out"))
    metric.process(None, [sample("x/1.png", 1)])
    assert precious.read_text() == "keep"
    assert cv2.imread(str(tmp_path / "out" / "1.png"), -1).tolist() == [[1] * 3] * 2


@pytest.mark.parametrize("sign", ["\x1b", "\x07", "\r", "\x08", "\x9b", "\u202e", "\u2066", "\ud800", "\x00", "\x7f"])
def test_control_characters_are_shown_as_escapes(sign: str) -> None:
    assert sign not in printable(f"a{sign}b")
    assert sign not in boxed_table({"Class": [f"road{sign}"]})


def test_words_of_any_language_and_line_breaks_stay() -> None:
    text = "道路\tجاده\u200cها\nété 👩\u200d👧"
    assert printable(text) == text


def test_a_class_with_a_line_break_stays_one_row() -> None:
    assert len(boxed_table({"Class": ["a\nb", "c"]}).splitlines()) == 6


def test_log_lines_carry_nothing_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger(tmp_path / "run.log")
    logger.info("class %s", "road\x1b]0;title\x07\u202e")
    try:
        raise ValueError("bad\x1b[2Jfile")
    except ValueError:
        logger.exception("no picture of %s", "x\r.png")
    for text in (capsys.readouterr().out, (tmp_path / "run.log").read_text(encoding="utf-8")):
        assert r"road\x1b]0;title\x07\u202e" in text
        assert r"bad\x1b[2Jfile" in text
        assert text == printable(text)
