"""WandbVisBackend against the real library, offline, read back from the run's own file."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.wandb_files import history, records
from seg_vis import SegLocalVisualizer, WandbVisBackend

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # wandb's own, in older releases


@pytest.fixture
def offline(monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    with warnings.catch_warnings():  # what it leaves open is closed here, not in somebody else's test
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_nothing_starts_before_the_first_row(tmp_path: Path, offline: None) -> None:
    backend = WandbVisBackend(str(tmp_path))
    backend.add_config({"max_iters": 5})
    assert list(tmp_path.iterdir()) == []
    assert backend.state_dict() == {}
    backend.close()


def test_rows_carry_their_step_and_it_is_the_axis(tmp_path: Path, offline: None) -> None:
    backend = WandbVisBackend(str(tmp_path), define_metric_cfg={"mIoU": "max"})
    backend.add_config({"max_iters": 5, "optimizer": {"type": dict, "lr": 0.1}})
    backend.add_scalars({"loss": np.float32(0.5), "iter": 1}, step=10)
    backend.add_scalar("mIoU", 0.75, step=20)
    backend.add_scalars({"loss": 0.25, "word": "x"}, step=15)
    backend.close()
    rows = history(tmp_path)
    assert [row["step"] for row in rows] == [10, 20, 15]
    assert [row.get("loss") for row in rows] == [0.5, None, 0.25]
    metrics = {m.metric.name or m.metric.glob_name: m.metric for m in records(tmp_path) if m.HasField("metric")}
    assert metrics["*"].step_metric == "step"
    assert metrics["mIoU"].summary.max
    updates = [u for r in records(tmp_path) if r.HasField("config") for u in r.config.update]
    config = {u.key: json.loads(u.value_json) for u in updates if u.key}
    assert config["max_iters"] == 5
    assert config["optimizer"]["lr"] == 0.1


def test_pictures_and_native_masks_with_class_names(tmp_path: Path, offline: None) -> None:
    rng = np.random.default_rng(0)
    image, truth = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8), rng.integers(0, 2, (6, 7))
    truth[0, 0] = 255
    visualizer = SegLocalVisualizer(
        vis_backends={"type": WandbVisBackend}, save_dir=str(tmp_path), classes=["road", "car"]
    )
    visualizer.add_datasample("val_a", image, {"gt_sem_seg": truth, "pred_sem_seg": 1 - truth % 2}, step=30)
    visualizer.add_image("plain", image, step=31)
    visualizer.close()
    rows = history(tmp_path)
    assert [row["step"] for row in rows] == [30, 31]
    assert {key.split("/")[2] for key in rows[0] if "/masks/" in key} == {"ground truth", "prediction"}
    media = tmp_path.rglob("media")
    folder = next(media)
    stored = cv2.imread(str(next((folder / "images").glob("val_a*.png"))))[..., ::-1]
    assert np.array_equal(stored, image)
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (folder / "images/mask").glob("*.mask.png")]
    assert any(np.array_equal(mask, truth) for mask in masks)
    config = json.dumps([u.value_json for r in records(tmp_path) if r.HasField("config") for u in r.config.update])
    assert "road" in config


def test_drawn_pictures_where_they_are_wanted(tmp_path: Path, offline: None) -> None:
    visualizer = SegLocalVisualizer(
        vis_backends={"type": WandbVisBackend, "native_masks": False}, save_dir=str(tmp_path), alpha=0.5
    )
    image = np.full((6, 7, 3), 100, np.uint8)
    visualizer.add_datasample("val_a", image, {"pred_sem_seg": np.zeros((6, 7), int)}, with_labels=False)
    visualizer.close()
    stored = cv2.imread(str(next(tmp_path.rglob("val_a*.png"))))[..., ::-1]
    assert stored[0, 0].tolist() == [114, 82, 114]


def test_a_resumed_training_goes_on_in_the_same_run(tmp_path: Path, offline: None) -> None:
    first = WandbVisBackend(str(tmp_path / "a"))
    first.add_scalar("loss", 1.0, 1)
    state = first.state_dict()
    first.close()
    second = WandbVisBackend(str(tmp_path / "b"))
    second.add_config({"lr": 0.1})
    second.load_state_dict(state)
    second.add_scalar("loss", 0.5, 2)
    assert second.state_dict() == state
    assert second.experiment.id == state["run_id"]
    second.close()
    runs = [r.run.run_id for r in records(tmp_path) if r.HasField("run")]
    assert set(runs) == {state["run_id"]}


def test_an_id_of_the_config_wins(tmp_path: Path, offline: None) -> None:
    backend = WandbVisBackend(str(tmp_path), init_kwargs={"id": "mine"})
    backend.load_state_dict({"run_id": "other"})
    assert backend.state_dict() == {"run_id": "mine"}


def test_names_are_data_in_rows_and_pictures(tmp_path: Path, offline: None) -> None:
    backend = WandbVisBackend(str(tmp_path / "run"))
    name = "../../<script>\x1b[31m\n"
    backend.add_scalars({name: 0.5}, step=1)
    backend.add_image(name, np.zeros((2, 2, 3), np.uint8), step=2)
    backend.close()
    keys = {key for row in history(tmp_path / "run") for key in row if "script" in key}
    assert keys
    assert all(key.isprintable() for key in keys)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_name_too_long_for_a_file_is_shortened(tmp_path: Path, offline: None) -> None:
    backend = WandbVisBackend(str(tmp_path))
    backend.add_image(f"val/{'道' * 300}", np.zeros((2, 2, 3), np.uint8), step=2)
    backend.close()
    assert len(list(tmp_path.rglob("*.png"))) == 1
