from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_engine.demo import scenes as scenes_module
from seg_engine.demo.baseline import mean_iou, per_pixel_scores
from seg_engine.demo.canvas import CLASSES, PALETTE, UNLABELLED
from seg_engine.demo.scenes import class_shares, main, write_scenes
from seg_engine.demo.street import draw_street, unlabel_borders


def digest(root: Path) -> str:
    files = sorted(root.rglob("*.png"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_the_layout_is_ade20ks(scenes: Path) -> None:
    for kind in ("images", "annotations"):
        assert len(list((scenes / kind / "training").glob("*.png"))) == 6
        assert len(list((scenes / kind / "validation").glob("*.png"))) == 3


def test_a_label_map_has_one_grey_value_a_pixel_and_its_images_size(scenes: Path) -> None:
    name = "training/street_00001.png"
    picture = cv2.imread(str(scenes / "images" / name))
    labels = cv2.imread(str(scenes / "annotations" / name), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (192, 192, 3)
    assert labels.shape == (192, 192)
    assert set(np.unique(labels)) <= {*range(len(CLASSES)), UNLABELLED}


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    one, again, other = (
        write_scenes(tmp_path / name, training=2, validation=1, seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert digest(one) == digest(again)
    assert digest(one) != digest(other)


def test_no_validation_scene_is_a_training_scene(scenes: Path) -> None:
    training = {path.read_bytes() for path in (scenes / "images" / "training").iterdir()}
    assert not training & {path.read_bytes() for path in (scenes / "images" / "validation").iterdir()}


def test_scenes_that_are_there_are_kept(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, training=1, validation=1)
    path = root / "images" / "training" / "street_00000.png"
    before = path.stat().st_mtime_ns
    write_scenes(tmp_path, training=1, validation=1)
    assert path.stat().st_mtime_ns == before
    write_scenes(tmp_path, training=1, validation=1, seed=1)
    assert path.stat().st_mtime_ns > before


def test_each_of_eight_classes_has_at_least_half_a_percent(tmp_path: Path) -> None:
    assert len(CLASSES) == len(PALETTE) == 8
    counts = np.zeros(256, int)
    for index in range(60):
        counts += np.bincount(draw_street(1, index)[1].ravel(), minlength=256)
    assert (counts[:8] / counts[:8].sum()).min() > 0.005
    assert counts[8:255].sum() == 0
    assert 0 < counts[255] / counts.sum() < 0.15


def test_borders_between_classes_are_unlabelled() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 1
    assert unlabel_borders(labels).tolist() == [[0, 0, 0, 255, 1, 1]] * 4


def test_colour_and_position_alone_do_not_give_the_class_away(tmp_path: Path) -> None:
    """The full set is measured by the command; a tenth of it shows the same."""
    root = write_scenes(tmp_path, training=40, validation=10)
    scores = per_pixel_scores(root, len(CLASSES))
    assert all(0.15 < score <= 0.40 for score in scores.values()), scores


def test_the_classifiers_find_a_class_that_colour_does_give_away(tmp_path: Path) -> None:
    """So their low score on the scenes says something about the scenes."""
    for split, count in (("training", 4), ("validation", 2)):
        for index in range(count):
            labels = np.random.default_rng(index).integers(0, 3, (48, 48)).astype(np.uint8)
            for kind, pixels in (("images", np.repeat(labels[..., None] * 100, 3, 2)), ("annotations", labels)):
                path = tmp_path / kind / split / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels)
    monotone = per_pixel_scores(tmp_path, 3)
    assert min(monotone.values()) > 0.99


def test_mean_iou_of_a_small_case() -> None:
    assert mean_iou(np.array([0, 0, 1]), np.array([0, 1, 1]), 2) == pytest.approx((0.5 + 0.5) / 2)


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--training", "2", "--validation", "1", "--no-check"]) == 0
    text = capsys.readouterr().out
    assert "2 + 1 scenes" in text
    assert all(name in text for name in class_shares(tmp_path))


def test_the_command_is_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", scenes_module.__name__, "--help"], capture_output=True, text=True, check=True
    )
    assert "ADE20K" in done.stdout
