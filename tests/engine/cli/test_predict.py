"""`seg predict`: which images, which files, what is printed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from seg_runner.checkpoint.write import write_checkpoint

from seg_engine.cli import main
from seg_engine.image_paths import find_images
from seg_engine.models.segmentor import Segmentor
from seg_engine.predict import Predictor

CONFIG = """
model = dict(type='Segmentor', network=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=2, kernel_size=1))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint `m.pth`: pixels above 100 are class 1."""
    monkeypatch.chdir(tmp_path)
    model = Segmentor(network=torch.nn.Conv2d(3, 2, 1))
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weight, bias = (next(name for name in state if name.endswith(end)) for end in ("weight", "bias"))
    state[weight][1, 0], state[bias][1] = 1.0, -100.0
    write_checkpoint(tmp_path / "m.pth", {"meta": {"cfg": CONFIG, "dataset_meta": {}}, "state_dict": state})
    return tmp_path


def image(path: Path, value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = ".jpg" if path.suffix == ".jpg" else ".png"
    path.write_bytes(cv2.imencode(ending, np.full((4, 5, 3), value, np.uint8))[1])
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_paths_below_the_folder_are_kept(here: Path, capsys: Any) -> None:
    image(here / "photos/x/1.png"), image(here / "photos/2.jpg", 9)
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 0
    expected = [f"{kind}/{name}.png" for kind in ("colours", "labels", "overlays") for name in ("2", "x/1")]
    assert files(here / "p") == expected
    assert np.unique(cv2.imread("p/labels/x/1.png", -1)).tolist() == [1]
    assert np.unique(cv2.imread("p/labels/2.png", -1)).tolist() == [0]
    out, err = capsys.readouterr()
    assert "2 images predicted, in p/" in out
    assert err.splitlines()[-1] == "2/2"


def test_files_folders_and_patterns_together(here: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/notes.txt", "c/2.jpg", "c/d/3.png", "[4].png"):
        image(here / name)
    assert main(["predict", "m.pth", "a", "b", "c/**/*", "[4].png", "a/1.png", "--out", "p"]) == 0
    assert files(here / "p/labels") == ["1.png", "2.png", "[4].png", "b_1.png", "d/3.png"]


def test_one_bad_file_is_told_and_the_others_are_done(here: Path, capsys: Any) -> None:
    image(here / "photos/a.png"), image(here / "photos/c.png")
    (here / "photos/b.png").write_bytes(b"no picture")
    assert main(["predict", "m.pth", "photos", "nowhere.png", "*.tif", "--out", "p"]) == 1
    out, err = capsys.readouterr()
    assert files(here / "p/labels") == ["a.png", "c.png"]
    assert "2 of 5 images predicted" in out
    assert "error: 3 of 5 could not be predicted" in err
    for text in ("b.png", "there is no image, folder or pattern nowhere.png", "no image matches the pattern *.tif"):
        assert text in err
    assert "Traceback" not in err


def test_pictures_of_a_folder_that_are_not_read_are_counted(here: Path, capsys: Any) -> None:
    for name in ("a.png", "b.GIF", "sub/c.gif", "d.heic", "notes.txt", ".e.gif"):
        image(here / "photos" / name)
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 0
    assert "left out of photos: 2 *.gif, 1 *.heic (" in capsys.readouterr().err
    assert files(here / "p/labels") == ["a.png"]
    assert main(["predict", "m.pth", "photos/a.png", "--out", "p"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_nothing_at_all_is_an_error(here: Path, capsys: Any) -> None:
    (here / "empty").mkdir()
    assert main(["predict", "m.pth", "empty", "nowhere"]) == 1
    assert capsys.readouterr().err.count("error: ") == 2
    assert not (here / "predicted").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["predict", "m.pth", ""], "images"),
        (["predict", "m.pth", "photos", ""], "images"),
        (["predict", "", "photos"], "checkpoint"),
        (["predict", "m.pth", "photos", "--out", ""], "out"),
        (["predict", "m.pth", "photos", "--out="], "out"),
        (["test", "c.py", "m.pth", "--show-dir", ""], "show-dir"),
        (["train", "c.py", "--work-dir", ""], "work-dir"),
        (["train", "c.py", "--resume", ""], "resume"),
        (["rerun", ""], "record"),
        (["demo", "--out", ""], "out"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(here: Path, capsys: Any, words: list[str], named: str) -> None:
    image(here / "photos/1.png")
    before = files(here)
    assert main(words) == 1
    assert f"{named}: an empty text was given" in capsys.readouterr().err
    assert files(here) == before
    found, (error,) = find_images(["photos", ""])
    assert len(found) == 1
    assert "an empty path was given" in str(error)


def test_images_of_one_name(here: Path) -> None:
    for name, value in (("x.jpg", 9), ("x.png", 200), ("X.tif", 9)):
        image(here / "flat" / name, value)
    assert main(["predict", "m.pth", "flat", "--out", "p"]) == 0
    found = files(here / "p/labels")
    assert len(found) == len({name.lower() for name in found}) == 3


def test_what_was_predicted_before_is_no_input(here: Path) -> None:
    image(here / "a.png")
    for _ in range(2):
        assert main(["predict", "m.pth", "."]) == 0
    assert files(here / "predicted/labels") == ["a.png"]
    assert main(["predict", "m.pth", "predicted/overlays/a.png"]) == 1, "it would be overwritten"
    assert main(["predict", "m.pth", "predicted/overlays/a.png", "--out", "q"]) == 0


def test_a_folder_may_be_predicted_into_itself(here: Path, capsys: Any) -> None:
    image(here / "photos/a.png"), image(here / "photos/labels_of_mine/b.png")
    for _ in range(2):
        assert main(["predict", "m.pth", "photos", "--out", "photos"]) == 0
        assert "2 images predicted" in capsys.readouterr().out
    assert files(here / "photos/labels") == ["a.png", "labels_of_mine/b.png"]
    shutil.rmtree(here / "photos/labels_of_mine")
    (here / "photos/a.png").unlink()
    assert main(["predict", "m.pth", "photos", "--out", "photos"]) == 1
    assert "all images of photos are what was predicted before" in capsys.readouterr().err


def test_labels_of_a_data_set_are_never_overwritten(here: Path, capsys: Any) -> None:
    image(here / "data/images/a.png")
    truth = image(here / "data/labels/a.png", 1).read_bytes()
    assert main(["predict", "m.pth", "data/images", "--out", "data"]) == 1
    assert "not from a prediction" in capsys.readouterr().err
    assert (here / "data/labels/a.png").read_bytes() == truth
    assert not (here / "data/overlays").exists()


def test_patterns_end_where_links_lead_back(here: Path) -> None:
    for name in ("in/a.png", "in/sub/b.png", "in/sub/deep/c.png", "in/.hidden/d.png", "in/e.txt"):
        image(here / name)
    for name in ("in/loop", "in/sub/again", "in/sub/deep/third"):
        (here / name).symlink_to(here / "in")
    (here / "in/linked").symlink_to(here / "in/sub")
    for pattern in ("in/**/*.png", "in/**", "in/**/*", "i*/**/*.png", "in/**/**/*.png"):
        found, failed = find_images([pattern])
        assert [str(path.relative_to("in")) for path, _ in found] == ["a.png", "sub/b.png", "sub/deep/c.png"], pattern
        assert not failed
    assert [str(path) for path, _ in find_images(["in/**/deep/*.png"])[0]] == ["in/sub/deep/c.png"]
    assert [str(path) for path, _ in find_images(["in/linked/**/c.png"])[0]] == ["in/linked/deep/c.png"]
    assert [str(below) for _, below in find_images(["in/**/*.png"])[0]] == [".", "sub", "sub/deep"]


HOSTILE = ["a\x1b[31m\nERROR.png", "\u202egnp.png", "a\\..\\..\\b.png", "C:x.png", "CON.png", "n" * 250 + ".png"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_data(here: Path, capsys: Any, name: str) -> None:
    image(here / "photos" / name)
    image(here / "photos" / "sub\x07" / name)
    (here / "photos" / f"bad{name[-100:]}").write_bytes(b"no picture")
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 1
    assert len(files(here / "p/labels")) == 2
    assert all(part.isprintable() for file in files(here / "p") for part in Path(file).parts)
    assert {path.name for path in here.iterdir()} == {"m.pth", "photos", "p"}
    assert not {"\x1b", "\x07", "\u202e"} & set("".join(capsys.readouterr()))


def test_links_lead_nowhere_else(here: Path, capsys: Any) -> None:
    image(here / "photos/a.png"), image(here / "photos/sub/b.png")
    precious = here / "precious.png"
    precious.write_text("keep")
    (here / "elsewhere").mkdir()
    (here / "p/labels").mkdir(parents=True)
    (here / "p/labels/a.png").symlink_to(precious)
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 0
    assert precious.read_text() == "keep"
    (here / "q/labels").mkdir(parents=True)
    (here / "q/labels/sub").symlink_to(here / "elsewhere")
    assert main(["predict", "m.pth", "photos", "--out", "q"]) == 1
    assert "outside q" in capsys.readouterr().err
    assert not files(here / "elsewhere")


def test_a_disk_that_cannot_be_written_stops_at_once(here: Path, capsys: Any) -> None:
    image(here / "a.png"), image(here / "b.png")
    (here / "p").write_text("a file")
    assert main(["predict", "m.pth", "a.png", "b.png", "--out", "p"]) == 1
    assert capsys.readouterr().err.count("error: ") == 1


def test_a_disk_that_takes_no_more_is_told_with_what_is_done(here: Path, capsys: Any) -> None:
    image(here / "photos/a.png"), image(here / "photos/b.png"), image(here / "photos/c.png")
    (here / "p/colours/b.png").mkdir(parents=True)
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 1
    out, err = capsys.readouterr()
    assert "predicted, in" not in out
    assert "p/colours/b.png" in err
    assert "1 of 3 images are done; this one and those behind it are not" in err


def test_files_that_somebody_removes_are_not_counted(here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image(here / "photos/a.png"), image(here / "photos/b.png")
    predict = Predictor.predict

    def removing(self: Predictor, path: Any, **more: Any) -> Any:
        shutil.rmtree("p", ignore_errors=True)
        return predict(self, path, **more)

    monkeypatch.setattr(Predictor, "predict", removing)
    assert main(["predict", "m.pth", "photos", "--out", "p"]) == 1
    out, err = capsys.readouterr()
    assert "1 of 2 images predicted" in out
    assert "the files of 1 images are no longer there, such as p/labels/a.png" in err


@pytest.mark.parametrize("alpha", ["-1", "2", "nan"])
def test_alpha_is_a_share(here: Path, capsys: Any, alpha: str) -> None:
    assert main(["predict", "m.pth", str(image(here / "a.png")), f"--alpha={alpha}"]) == 1
    assert "--alpha is a share from 0 to 1" in capsys.readouterr().err


def test_each_image_once(here: Path) -> None:
    image(here / "a/1.png"), image(here / "a/b/2.png")
    found, failed = find_images(["a", "a/1.png", "./a/*.png", str(here / "a/b")])
    assert [path.name for path, _ in found] == ["1.png", "2.png"]
    assert not failed


def test_a_model_whose_weights_are_not_finite_is_told(here: Path, capsys: Any) -> None:
    state = torch.load("m.pth", weights_only=True)
    state["state_dict"] = {name: weight * float("nan") for name, weight in state["state_dict"].items()}
    write_checkpoint(here / "bad.pth", state)
    image(here / "photos/1.png")
    with pytest.warns(UserWarning, match=r"bad\.pth: weights are not finite \("):
        assert main(["predict", "bad.pth", "photos", "--out", "p"]) == 0
