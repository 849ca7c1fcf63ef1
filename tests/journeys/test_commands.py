"""The commands one after the other, as a person types them: train, test, predict, rerun."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.command import seg
from helpers.small_config import small_config

from seg_engine import load_model
from seg_engine.predict import Prediction


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Path:
    """A folder with `run.py` and the run that `seg train run.py` made of it, in work_dirs/run."""
    folder = tmp_path_factory.mktemp("trained")
    hook = "default_hooks = dict(visualization=dict(type='SegVisualizationHook'))"
    small_config(folder / "run.py", scenes, hook)
    seg("train", "run.py", "--cfg-options", "randomness.seed=3", cwd=folder)
    return folder


CHECKPOINT = "work_dirs/run/iter_4.pth"


def test_train_writes_into_a_folder_named_after_the_config(trained: Path) -> None:
    work_dir = trained / "work_dirs" / "run"
    assert (trained / CHECKPOINT).exists()
    assert Path((work_dir / "last_checkpoint").read_text()).name == "iter_4.pth"
    record = json.loads(next(work_dir.glob("*/run.json")).read_text())
    assert record["seed"] == 3


def test_the_terminal_stays_short_and_the_log_has_everything(trained: Path) -> None:
    done = seg("train", "run.py", "--work-dir", "short", cwd=trained)
    assert len(done.stdout.splitlines()) < 30
    log = next((trained / "short").glob("*/*.log"))
    assert f"The config and timetable of the hooks: {log.relative_to(trained)}" in done.stdout
    text = log.read_text()
    assert "decode_head" in text
    assert "after_train_iter:\n(VERY_HIGH   ) RuntimeInfoHook" in text
    assert re.search(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - mmengine - INFO - Iter\(train\) \[4/4\]  ", text, re.MULTILINE)
    loud = seg("train", "run.py", "--work-dir", "loud", "--cfg-options", "log_level=DEBUG", cwd=trained)
    assert "decode_head" in loud.stdout


def test_test_measures_draws_and_writes(trained: Path) -> None:
    done = seg(
        "test", "run.py", CHECKPOINT, "--show-dir", "shown", "--out", "labels", "--work-dir", "tested", cwd=trained
    )
    assert re.search(r"mIoU: \d", done.stdout.splitlines()[-1])
    pictures = sorted((trained / "shown").rglob("*.png"))
    assert len(pictures) == 3
    height, width, _ = cv2.imread(str(pictures[0])).shape
    assert width > 4 * 192  # image, truth, prediction, errors
    assert height > 192  # headings above, a legend below
    maps = sorted((trained / "labels").glob("*.png"))
    assert [path.stem for path in maps] == ["street_00000", "street_00001", "street_00002"]
    assert cv2.imread(str(maps[0]), cv2.IMREAD_UNCHANGED).max() < 8


def test_predict_needs_nothing_but_the_checkpoint(trained: Path, scenes: Path) -> None:
    done = seg("predict", CHECKPOINT, str(scenes / "images"), "--out", "made", cwd=trained)
    assert "9 images" in done.stdout
    label = cv2.imread(str(trained / "made/labels/validation/street_00001.png"), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imread(str(trained / "made/overlays/validation/street_00001.png"))
    assert label.shape == (192, 192)
    assert overlay.shape == (192, 192, 3)
    predicted = load_model(trained / CHECKPOINT).predict(scenes / "images" / "validation" / "street_00001.png")
    assert np.array_equal(predicted.labels, label)


def test_predict_in_python_takes_files_and_pixels(trained: Path, scenes: Path) -> None:
    model = load_model(trained / CHECKPOINT)
    path = scenes / "images" / "validation" / "street_00000.png"
    pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    one, two = model.predict(path), model.predict(pixels)
    assert isinstance(one, Prediction)
    assert np.array_equal(one.labels, two.labels)
    assert one.classes is not None
    assert one.classes[0] == "sky"
    assert one.overlay(alpha=0.0, with_labels=False).tolist() == pixels.tolist()
    odd = model.predict(np.zeros((50, 70, 3), np.uint8))
    assert odd.labels.shape == (50, 70)
    several = model.predict([np.zeros((4, 4, 3)), np.zeros((6, 5), np.uint16)])
    assert [one.labels.shape for one in several] == [(4, 4), (6, 5)]


def test_the_predictions_are_those_of_seg_test(trained: Path, scenes: Path) -> None:
    (trained / "again" / "street_00001.png").mkdir(parents=True)  # where a prediction cannot be written
    (trained / "no_folder").write_text("where pictures cannot be written")
    words = ["--out", "again", "--show-dir", "no_folder", "--work-dir", "tested2"]
    done = seg("test", "run.py", CHECKPOINT, *words, cwd=trained, code=1)
    assert re.search(r"error: \d+ pictures or rows are not in no_folder: the log says why", done.stderr)
    assert "mIoU: " in done.stdout
    assert "1 predictions are not in again: the log says why" in done.stderr
    assert "Written outside of work_dir" not in done.stdout  # the command line said where
    (trained / "again" / "street_00001.png").rmdir()
    model = load_model(trained / CHECKPOINT)
    for path in sorted((trained / "again").glob("*.png")):
        expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(model.predict(scenes / "images" / "validation" / path.name).labels, expected)


def test_rerun_repeats_the_run(trained: Path) -> None:
    import torch

    seg("rerun", "work_dirs/run", cwd=trained)
    repeated = "work_dirs/run_rerun/iter_4.pth"
    one, two = (torch.load(trained / path, weights_only=True)["state_dict"] for path in (CHECKPOINT, repeated))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_amp_switches_the_wrapper(trained: Path) -> None:
    seg("train", "run.py", "--amp", "--work-dir", "amp", cwd=trained)
    assert "AmpOptimWrapper" in (trained / "amp" / "run.py").read_text()


def test_resume_goes_on_with_more_iterations(trained: Path) -> None:
    seg("train", "run.py", "--work-dir", "longer", cwd=trained)
    more = ["--resume", "--cfg-options", "train_cfg.max_iters=6"]
    seg("train", "run.py", "--work-dir", "longer", *more, cwd=trained)
    assert (trained / "longer" / "iter_6.pth").exists()
    log = sorted((trained / "longer").glob("*/*.log"))[-1].read_text()
    assert "Resumed from" in log


AUGMENTED = """
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=factor, keep_ratio=True) for factor in (0.5, 1.0)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')]])]
"""


def test_tta_averages_versions(trained: Path, scenes: Path) -> None:
    small_config(trained / "augmented.py", scenes, AUGMENTED)
    scores = set()
    for config, flags in (("run.py", []), ("run.py", ["--tta"]), ("augmented.py", ["--tta"])):
        done = seg("test", config, CHECKPOINT, "--work-dir", "tta", *flags, cwd=trained)
        scores.add(done.stdout.splitlines()[-1])
    assert len(scores) == 3
    assert all("mIoU: " in line for line in scores)


MINE = """
import torch

class Net(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 3, padding=1)

def brighter(record):
    record['img'] = record['img'] // 2 + 128
    return record
"""
OWN_PARTS = """
custom_imports = dict(imports=['mine'])
model = dict(
    _delete_=True, type='Segmentor', network=dict(type='mine.Net'),
    data_preprocessor=dict(type='SegDataPreProcessor', size=crop_size))
"""


def test_a_network_in_a_file_of_your_own(trained: Path, scenes: Path) -> None:
    """Beside the config, named in custom_imports: allowed for the parts inside other parts, too."""
    (trained / "mine.py").write_text(MINE, encoding="utf-8")
    small_config(trained / "own.py", scenes, OWN_PARTS)
    seg("train", "own.py", cwd=trained)
    images = str(scenes / "images/validation")
    seg("predict", "work_dirs/own/iter_4.pth", images, "--out", "own", "--allow", "mine", cwd=trained)
    assert len(list((trained / "own" / "labels").glob("*.png"))) == 3
