"""The demo where TensorBoard and Weights & Biases are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from seg_registry import Config

from seg_engine.cli import main
from seg_engine.demo.backends import LIBRARIES, keep_installed
from seg_engine.demo.run import write_configs

SHORTEST = ["train_cfg.max_iters=1", "train_cfg.val_interval=1", "train_dataloader.num_workers=0"]
SHORTEST += ["val_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]
SHORTEST += ["val_dataloader.persistent_workers=False", "train_dataloader.batch_size=2"]


def hide(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Let a library look as if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return Config.fromfile(write_configs(tmp_path) / "sgd_street.py")


def types(cfg: Config) -> list[str]:
    return [each.type for each in cfg.visualizer.vis_backends]


def test_what_is_installed_is_used(cfg: Config) -> None:
    before = types(cfg)
    assert keep_installed(cfg) == ""
    assert types(cfg) == before
    assert set(before) == {"LocalVisBackend", *LIBRARIES}


@pytest.mark.parametrize(
    ("hidden", "line"),
    [
        (["wandb"], "Not installed, so left out: Weights & Biases. To have them: pip install wandb"),
        (
            ["tensorboard", "wandb"],
            "Not installed, so left out: TensorBoard, Weights & Biases. To have them: pip install tensorboard wandb",
        ),
    ],
)
def test_what_is_not_is_left_out_and_told(
    cfg: Config, monkeypatch: pytest.MonkeyPatch, hidden: list[str], line: str
) -> None:
    for library in hidden:
        hide(monkeypatch, library)
    assert keep_installed(cfg) == line
    left = [name for name, (_, library) in LIBRARIES.items() if library not in hidden]
    assert types(cfg) == ["LocalVisBackend", *left]


def test_a_config_that_draws_nothing_is_left_as_it_is() -> None:
    assert keep_installed(Config({"visualizer": {}})) == keep_installed(Config({})) == ""


def test_the_demo_runs_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for library in ("tensorboard", "wandb"):
        hide(monkeypatch, library)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--short", "--config", "sgd", "--out", "demo", "--cfg-options", *SHORTEST]) == 0
    told = capfd.readouterr().out
    assert told.count("pip install tensorboard wandb") == 1
    assert "tensorboard --logdir" not in told
    assert "scalars.json" in told
    assert not list(tmp_path.rglob("*tfevents*"))
