"""The demo, shortened: Ctrl-C in the middle, the same command with --resume, and everything it names is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from seg_registry import Config
from seg_runner import Runner

from seg_engine.demo.run import SHORT, write_configs
from seg_engine.launch import override

COMMAND = [sys.executable, "-u", "-m", "seg_engine", "demo", "--short", "--out", "demo"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo runs."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def interrupted(folder: Path) -> tuple[int, str]:
    """Exit code and words of a demo that got Ctrl-C after its first line about training."""
    process = subprocess.Popen(
        COMMAND, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    words = ""
    for line in process.stdout:
        words += line
        if "Iter(train)" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate()
    return process.returncode, words + rest


@pytest.fixture(scope="module")
def finished(folder: Path, interrupted: tuple[int, str]) -> str:
    """What the demo prints when it goes on to its end."""
    done = subprocess.run(
        [*COMMAND, "--resume"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ctrl_c_saves_and_says_how_to_go_on(interrupted: tuple[int, str], folder: Path) -> None:
    code, words = interrupted
    assert code == 130
    assert "go on with: seg demo --out demo --short --resume" in words
    assert list((folder / "demo" / "convnext").glob("iter_1*.pth"))


def test_resume_goes_on_to_the_end(finished: str) -> None:
    assert "Resumed from" in finished
    assert "Iter(train) [40/40]" in finished
    assert "not restored: nothing" in finished


def test_the_number_reached_is_printed(finished: str) -> None:
    assert re.search(r"mIoU on the validation scenes: \d+\.\d\d % \(best \d+\.\d\d %\)", finished)
    assert "--short makes 40 steps only" in finished
    assert re.search(r"\|\s+person\s+\|\s+\d", finished), "the table of classes"


def test_the_demo_has_nothing_to_warn_of(interrupted: tuple[int, str], finished: str) -> None:
    lines = [line for line in (interrupted[1] + finished).splitlines() if " - WARNING - " in line]
    assert [line for line in lines if "num_layers" in line or "accumulative_counts" in line] == []


def test_everything_that_it_names_is_there(finished: str, folder: Path) -> None:
    named = dict(re.findall(r"^  (\S.*?)\s{2,}(\S.*)$", finished, flags=re.MULTILINE))
    paths = ("log", "scalars", "TensorBoard", "W&B, offline", "pictures of validation", "last checkpoint")
    for what in (*paths, "best checkpoint", "config"):
        assert (folder / named[what]).exists(), (what, named)
    pictures = sorted((folder / named["pictures of validation"]).glob("*.png"))
    assert cv2.imread(str(pictures[0])).shape[1] == 4 * 192 + 3 * 4  # image, truth, prediction, errors
    assert named["go on after Ctrl-C"] == "seg demo --out demo --short --resume"
    assert named["look at the curves"].startswith("tensorboard --logdir demo")
    assert named["segment images"].startswith("seg predict demo/convnext/best_mIoU_iter_")


def test_no_bar_where_there_is_no_terminal(finished: str) -> None:
    assert "━" not in finished


@pytest.mark.parametrize("name", ["convnext", "vit", "sgd"])
def test_each_config_trains(name: str, tmp_path: Path, scenes: Path) -> None:
    cfg = Config.fromfile(write_configs(tmp_path / "configs") / f"{name}_street.py")
    override(cfg, [*SHORT, "train_cfg.max_iters=2", "train_dataloader.batch_size=2"])
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        loader.dataset.data_root, loader.num_workers, loader.persistent_workers = str(scenes), 0, False
    cfg.visualizer.vis_backends = [{"type": "LocalVisBackend"}]
    cfg.custom_hooks = []
    cfg.work_dir = str(tmp_path / "out")
    runner = Runner.from_cfg(cfg)
    runner.train()
    kind = {"convnext": "AdamW", "vit": "AdamW", "sgd": "SGD"}[name]
    assert type(runner.optim_wrapper.optimizer).__name__ == kind
    assert (tmp_path / "out" / "iter_2.pth").exists()


def test_the_configs_have_their_peculiarities(tmp_path: Path) -> None:
    cfg = Config.fromfile(write_configs(tmp_path) / "convnext_street.py")
    assert cfg.optim_wrapper.constructor == "LearningRateDecayOptimizerConstructor"
    assert "momentum" not in cfg.optim_wrapper.optimizer, "_delete_ removed the SGD of the base"
    assert cfg.optim_wrapper.accumulative_counts == 2
    assert cfg.custom_hooks[0].type == "EMAHook"
    assert [one.type for one in cfg.param_scheduler] == ["LinearLR", "PolyLR"]
    vit = Config.fromfile(tmp_path / "vit_street.py")
    assert set(vit.optim_wrapper.paramwise_cfg.custom_keys) == {"pos_embed", "cls_token", "norm"}
    assert Path(cfg.data_root).resolve() == (tmp_path.parent / "street_scenes").resolve()


def test_changed_configs_are_kept(tmp_path: Path) -> None:
    path = write_configs(tmp_path) / "sgd_street.py"
    path.write_text(path.read_text() + "log_level = 'DEBUG'\n")
    write_configs(tmp_path)
    assert "DEBUG" in path.read_text()
