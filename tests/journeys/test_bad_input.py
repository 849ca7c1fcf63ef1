"""What is wrong ends in one clear message with a path or a config's line, and nothing that was saved is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.command import seg

Write = Callable[..., Path]


def refused(*words: str, cwd: Path) -> str:
    """The message of a command that ends with an error; there is no traceback in it."""
    done = seg(*words, cwd=cwd, code=1)
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    assert len(message.splitlines()) <= 6, message
    return message


def spoiled(scenes: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A copy of the scenes with every training label map changed."""
    shutil.copytree(scenes, folder)
    for path in (folder / "annotations" / "training").iterdir():
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    return folder


def test_a_missing_data_folder(write_config: Write, tmp_path: Path) -> None:
    path = write_config()
    message = refused("train", str(path), "--cfg-options", "train_dataloader.dataset.data_root=/nowhere", cwd=tmp_path)
    assert "/nowhere/images/training does not exist" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_outside_the_classes(write_config: Write, scenes: Path, tmp_path: Path, workers: int) -> None:
    root = spoiled(scenes, tmp_path / "data", lambda labels: np.where(labels == 0, 77, labels).astype(np.uint8))
    path = write_config(workers=workers)
    message = refused("train", str(path), "--cfg-options", f"train_dataloader.dataset.data_root={root}", cwd=tmp_path)
    assert "label 77" in message
    assert "8 classes" in message
    assert f"{root}/annotations/training/street_" in message


def test_image_and_mask_of_different_size(write_config: Write, scenes: Path, tmp_path: Path) -> None:
    root = spoiled(scenes, tmp_path / "data", lambda labels: labels[:100])
    path = write_config()
    message = refused("train", str(path), "--cfg-options", f"train_dataloader.dataset.data_root={root}", cwd=tmp_path)
    assert "192 x 100 pixels" in message
    assert f"{root}/images/training/street_" in message


def test_an_unknown_hook(write_config: Write, tmp_path: Path) -> None:
    path = write_config("custom_hooks = [dict(type='EMAHok')]")
    line = path.read_text(encoding="utf-8").splitlines().index("custom_hooks = [dict(type='EMAHok')]") + 1
    message = refused("train", str(path), cwd=tmp_path)
    assert f"{path.name}:{line}" in message
    assert "'EMAHook'" in message


def test_a_misspelt_key_on_the_command_line(write_config: Write, tmp_path: Path) -> None:
    message = refused("train", str(write_config()), "--cfg-options", "optim_wraper.clip_grad=1", cwd=tmp_path)
    assert "did you mean 'optim_wrapper'" in message


def test_a_misspelt_key_in_the_config(write_config: Write, tmp_path: Path) -> None:
    path = write_config("optim_wrapper = dict(optimizer=dict(leraning_rate=1))")
    message = refused("train", str(path), cwd=tmp_path)
    assert "leraning_rate" in message
    assert f"{path.name}:" in message


def test_a_broken_config(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("model = dict(\n", encoding="utf-8")
    assert "a.py:1" in refused("train", "a.py", cwd=tmp_path)
    assert "there is no config b.py" in refused("train", "b.py", cwd=tmp_path)


def test_a_checkpoint_that_is_cut_off(write_config: Write, tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {"x": torch.zeros(5000)}}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:9000])
    for words in (["test", str(write_config()), "cut.pth"], ["predict", "cut.pth", "."]):
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
        assert "cut.pth is not whole" in refused(*words, cwd=tmp_path)
    assert "whole.pth holds no config" in refused("predict", "whole.pth", "a.png", cwd=tmp_path)


def test_a_working_folder_that_cannot_be_written(write_config: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    message = refused("train", str(write_config()), "--work-dir", "file/out", cwd=tmp_path)
    assert f"{tmp_path}/file/out" in message


def test_what_was_saved_is_kept(write_config: Write, scenes: Path, tmp_path: Path) -> None:
    """An error in the middle of a run leaves the checkpoints, and one more of that moment."""
    saving = "default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2))"
    failing = tmp_path / "failing.py"
    failing.write_text(
        "class Fails:\n    def before_train_iter(self, runner):\n"
        "        if runner.iter == 3:\n            raise ValueError('the fourth step fails')\n",
        encoding="utf-8",
    )
    hook = "custom_imports = dict(imports=['failing'])\ncustom_hooks = [dict(type='failing.Fails')]"
    message = refused("train", str(write_config(f"{saving}\n{hook}")), "--work-dir", "out", cwd=tmp_path)
    assert "the fourth step fails" in message
    assert "interrupted_iter_3.pth" in message
    assert {"iter_2.pth", "interrupted_iter_3.pth"} <= {path.name for path in (tmp_path / "out").glob("*.pth")}
