"""`python -m seg_vis overlay`, run as people run it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import get_palette, overlay, to_rgb
from seg_vis.command.command import main
from seg_vis.command.masks import labels_from_colours, read_mask
from seg_vis.command.pairs import find_pairs
from seg_vis.command.progress import Progress

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 19, (20, 30), dtype=np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("street.png", IMAGE[..., ::-1])
    cv2.imwrite("labels.png", LABELS)
    return tmp_path


def read(path: str | Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("words", [["", "m"], ["i", ""], ["i", "m", "--out", ""]])
def test_an_empty_path_is_not_the_current_folder(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        main(["overlay", *words])
    assert left.value.code == 2
    assert "the path is empty; the current folder is '.'" in capsys.readouterr().err


def test_one_image_from_the_command_line(here: Path) -> None:
    command = [sys.executable, "-m", "seg_vis", "overlay", "street.png", "labels.png", "--out", "x.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout == "1 of 1 pictures written: x.png\n"
    assert done.stderr == ""
    assert np.array_equal(read("x.png"), overlay(IMAGE, LABELS, palette="cityscapes"))


def test_options_reach_the_picture(here: Path, capsys: Any) -> None:
    arguments = ["--palette", "voc", "--alpha", "0.8", "--only", "3", "4", "--ignore-index", "4"]
    assert main(["overlay", "street.png", "labels.png", *arguments]) == 0
    expected = overlay(IMAGE, LABELS, palette="voc", alpha=0.8, only=[3], ignore_index=4)
    assert np.array_equal(read("street_overlay.png"), expected)
    assert main(["overlay", "street.png", "labels.png", "--names", "--legend", "--out", "wide.jpg"]) == 0
    assert read("wide.jpg").shape[1] > 30


def test_bands_and_stretch(here: Path) -> None:
    deep = RNG.integers(0, 4000, (20, 30, 4), dtype=np.uint16)
    cv2.imwrite("deep.png", deep)
    arguments = ["--bands", "3", "0", "1", "--stretch", "2", "98", "--alpha", "0"]
    assert main(["overlay", "deep.png", "labels.png", "--out", "x.png", *arguments]) == 0
    expected = to_rgb(deep[..., [2, 1, 0, 3]], bands=(3, 0, 1), stretch=(2, 98))
    assert np.array_equal(read("x.png"), expected)


def test_folders_are_matched_by_name_and_drawn_with_a_report(here: Path, capsys: Any) -> None:
    for city, number in (("a", 1), ("a", 2), ("b", 3)):
        for folder, tail, picture in (("img", "leftImg8bit", IMAGE), ("gt", "gtFine_labelTrainIds", LABELS)):
            Path(folder, city).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"{folder}/{city}/{number:03}_{tail}.png", picture)
    cv2.imwrite("img/alone.png", IMAGE)
    assert main(["overlay", "img", "gt", "--out", "drawn"]) == 0
    written = sorted(path.as_posix() for path in Path("drawn").rglob("*.png"))
    assert written == [f"drawn/{city}/00{n}_leftImg8bit.png" for city, n in (("a", 1), ("a", 2), ("b", 3))]
    said = capsys.readouterr()
    assert f"no mask for {Path('img/alone.png')}" in said.err
    assert "3 of 3 pictures written" in said.out
    assert main(["overlay", "img", "gt"]) == 0
    assert len(list(Path("img_overlay").rglob("*.png"))) == 3


def test_a_bad_file_is_named_and_the_others_are_drawn(here: Path, capsys: Any) -> None:
    for folder, picture in (("img", IMAGE), ("gt", LABELS)):
        Path(folder).mkdir()
        for name in "abc":
            cv2.imwrite(f"{folder}/{name}.png", picture)
    Path("gt/b.png").write_text("no image")
    cv2.imwrite("gt/c.png", LABELS[:5])
    assert main(["overlay", "img", "gt", "--out", "o"]) == 1
    said = capsys.readouterr()
    assert f"{Path('gt/b.png')} is not an image" in said.err
    assert "labels is 5 x 30 and the image 20 x 30" in said.err
    assert "1 of 3 pictures written" in said.out
    assert [path.name for path in Path("o").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.png", "labels.png"], "gone.png does not exist"),
        (["street.png", "labels.png", "--palette", "citscapes"], "did you mean cityscapes"),
        (["street.png", "labels.png", "--alpha", "2"], "alpha must be between"),
        (["street.png", "."], "two files or two folders"),
        (["empty", "labels.png"], "empty is a folder and labels.png a file: give two files or two folders"),
        (["empty", "empty"], "no image in empty has a mask"),
        (["empty", "empty", "--out", "street.png"], "--out street.png is a file"),
        (["street.png", "labels.png", "--out", "street.png"], "street.png is one of the files to read"),
        (["street.png", "labels.png", "--out", "./labels.png"], "labels.png is one of the files to read"),
        (["street.png", "labels.png", "--out", "."], "street.png is one of the files to read"),
    ],
)
def test_mistakes_are_one_line(here: Path, capsys: Any, arguments: list[str], words: str) -> None:
    Path("empty").mkdir()
    assert main(["overlay", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_no_picture_takes_the_place_of_an_input_or_of_another_picture(here: Path, capsys: Any) -> None:
    for name in ("img/a.png", "img/a.jpg", "img/b.bmp", "gt/a.png", "gt/b.tif"):
        Path(name).parent.mkdir(exist_ok=True)
        cv2.imwrite(name, IMAGE if name.startswith("img") else LABELS)
    before = {path: path.read_bytes() for path in Path("img").iterdir()}
    assert main(["overlay", "img", "gt", "--out", "img"]) == 0
    assert sorted(p.name for p in Path("img").iterdir() if p not in before) == ["a.jpg.png", "a.png.png", "b.png"]
    assert {path: path.read_bytes() for path in before} == before
    Path("img/a.jpg").unlink()
    assert main(["overlay", "img", "gt", "--out", "img"]) == 2
    assert f"{Path('img/a.png')} is one of the files to read" in capsys.readouterr().err


def test_pictures_of_an_earlier_run_are_no_images(here: Path, capsys: Any) -> None:
    for name, picture in (("img/a.png", IMAGE), ("gt/a.png", LABELS)):
        Path(name).parent.mkdir()
        cv2.imwrite(name, picture)
    for _ in range(2):
        assert main(["overlay", "img", "gt", "--out", "img/drawn"]) == 0
        said = capsys.readouterr()
        assert (said.out, said.err) == ("1 of 1 pictures written: img/drawn\n", "")


def test_many_images_without_masks_are_counted(here: Path, capsys: Any) -> None:
    for folder in ("img", "gt"):
        Path(folder).mkdir()
    for number in range(9):
        cv2.imwrite(f"img/{number}.png", IMAGE)
    cv2.imwrite("gt/0.png", LABELS)
    assert main(["overlay", "img", "gt"]) == 0
    fifth = f"seg_vis: no mask for {Path('img/5.png')}"
    assert capsys.readouterr().err.splitlines()[4:] == [fifth, "seg_vis: no mask for 3 more"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends another process, and sends it no signal that it could answer")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_leaves_whole_pictures(here: Path, number: signal.Signals) -> None:
    for folder, picture in (("img", IMAGE), ("gt", LABELS)):
        Path(folder).mkdir()
        content = cv2.imencode(".png", picture)[1].tobytes()
        for name in range(3000):
            Path(folder, f"{name:04}.png").write_bytes(content)
    command = [sys.executable, "-m", "seg_vis", "overlay", "img", "gt", "--out", "o"]
    with subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        running.stderr.readline()  # a tenth is done
        running.send_signal(number)
        written, said = running.communicate()
    assert (running.returncode, written) == (130, "")
    assert said.splitlines()[-1] == "seg_vis: stopped; every picture that is there is whole"
    assert "Traceback" not in said
    assert 0 < len(list(Path("o").iterdir())) < 3000
    assert all(read(path).shape == IMAGE.shape for path in Path("o").iterdir())


def test_what_a_killed_start_left_is_removed_by_the_next_one(here: Path) -> None:
    for name in (".old.png.0123456789ab.part", ".mine.part", "x.part"):
        Path(name).write_text("half")
    assert main(["overlay", "street.png", "labels.png", "--out", "x.png"]) == 0
    assert {path.name for path in here.glob("*.part")} == {".mine.part", "x.part"}


def test_strange_labels_are_one_line_too(here: Path, capsys: Any) -> None:
    cv2.imwrite("odd.png", np.where(LABELS == 3, 77, LABELS).astype(np.uint8))
    assert main(["overlay", "street.png", "odd.png", "--out", "x.png"]) == 0
    said = capsys.readouterr().err
    assert said == "seg_vis: labels 77 lie beyond a palette of 19 colours; those pixels keep the image\n"


def test_masks_in_the_colours_of_a_palette(here: Path) -> None:
    colours = get_palette("voc")[LABELS % 21]
    colours[0, 0] = [224, 224, 192]
    cv2.imwrite("colours.png", colours[..., ::-1])
    with pytest.warns(UserWarning, match="1 pixels have no colour"):
        labels = read_mask("colours.png", "voc")
    assert labels[0, 0] == 255
    assert np.array_equal(labels.ravel()[1:], LABELS.ravel()[1:])
    with pytest.raises(ValueError, match="is it another one"):
        labels_from_colours(np.full((2, 2, 3), 77, np.uint8), get_palette("voc"))
    with pytest.raises(ValueError, match="say which palette"):
        read_mask("colours.png")


def test_grey_masks_saved_in_colour_are_grey(here: Path) -> None:
    cv2.imwrite("grey.png", np.repeat(LABELS[..., None], 3, axis=2))
    assert np.array_equal(read_mask("grey.png"), LABELS)


def test_the_very_same_name_goes_first(tmp_path: Path) -> None:
    for name in ("i/a.jpg", "i/b_img.jpg", "m/a.png", "m/a_mask.png", "m/b_labels.png", "m/readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs, alone = find_pairs(tmp_path / "i", tmp_path / "m")
    assert [(i.name, m.name) for i, m in pairs] == [("a.jpg", "a.png"), ("b_img.jpg", "b_labels.png")]
    assert alone == []


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, ends in ((Terminal(), "\n"), (io.StringIO(), "\n")):
        with Progress(20, stream) as progress:
            for _ in range(20):
                progress.advance(Path("x.png"))
            progress.say("done")
        text = stream.getvalue()
        assert "20/20" in text
        assert text.endswith(ends)
        assert ("[####" in text) is isinstance(stream, Terminal)


def test_the_bar_fits_a_narrow_terminal(monkeypatch: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "40")
    with Progress(20, stream := Terminal()) as progress:
        progress.advance(Path("a_long_name_of_a_picture_that_needs_room.png"))
    bars = [line.partition("\033[K")[2] for line in stream.getvalue().strip().split("\r") if line]
    assert bars
    assert max(map(len, bars)) < 40


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["--alpha", "nan"], "alpha must be"),
        (["--ignore-index", str(10**20)], "--ignore-index"),
        (["--only", "-1"], "--only must be"),
        (["--bands", "0", "1"], "bands must be"),
        (["--stretch", "nan", "1"], "stretch must be"),
        (["--stretch", "98", "2"], "stretch must be"),
    ],
)
def test_an_option_that_is_wrong_for_every_picture_is_said_once(
    here: Path, capsys: Any, given: list[str], word: str
) -> None:
    for folder, picture in (("images", IMAGE), ("masks", LABELS)):
        Path(folder).mkdir()
        for name in "ab":
            cv2.imwrite(f"{folder}/{name}.png", picture)
    assert main(["overlay", "images", "masks", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
    assert not Path("images_overlay").exists()


@pytest.mark.parametrize(
    ("most", "options", "said"), [(4000, [], 1), (60000, [], 0), (4000, ["--stretch", "2", "98"], 0)]
)
def test_a_dark_image_of_16_bits_names_the_remedy(
    here: Path, capsys: Any, most: int, options: list[str], said: int
) -> None:
    cv2.imwrite("deep.png", RNG.integers(0, most, (20, 30, 3), dtype=np.uint16))
    assert main(["overlay", "deep.png", "labels.png", "--out", "x.png", *options]) == 0
    assert capsys.readouterr().err.count("--stretch 2 98") == said
    assert not said or read("x.png").max() < 200
