"""The plug-in of `examples/plugin`: each backend with its real library, all of which `./run plugin:test` installs."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import BaseVisBackend, Visualizer

PLUGIN = Path(__file__).resolve().parents[2] / "examples/plugin"
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
ENTRIES = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]["seg_engine.vis_backends"]
CONFIG = {"max_iters": 5, "model": {"type": dict, "widths": [8, 16]}}
INSTALLED = any(found.name == "seg-trackers" for found in importlib.metadata.distributions())


def library(name: str) -> Any:
    """A service's library; where the plug-in itself is installed it must be there."""
    return importlib.import_module(name) if INSTALLED else pytest.importorskip(name)


@pytest.fixture
def backend_class(monkeypatch: Any, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(PLUGIN / "src"))
    monkeypatch.chdir(tmp_path)  # DVC leaves a folder in the repository that it is called in

    def load(name: str) -> Any:
        module, _, attribute = ENTRIES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    return load


def run(backend: Any) -> None:
    """What a training sends."""
    visualizer = Visualizer(vis_backends=[backend])
    visualizer.add_config(CONFIG)
    visualizer.add_scalars({"loss": np.float32(0.5), "mIoU": 0.25, "mode": "train", "step": 3}, step=1)
    visualizer.add_scalar("loss", 0.25, step=4)
    visualizer.add_image("val/street", IMAGE, step=4)
    visualizer.close()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_entry_is_a_backend_that_imports_no_service(backend_class: Any, name: str, tmp_path: Path) -> None:
    cls = backend_class(name)
    assert issubclass(cls, BaseVisBackend)
    assert cls.__name__ == name
    cls(save_dir=str(tmp_path))
    assert not {"clearml", "dvclive", "aim"} & set(sys.modules)


@pytest.mark.skipif(not INSTALLED, reason="needs the plug-in itself: ./run plugin:test")
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_config_names_it_where_the_plug_in_is_installed(name: str, tmp_path: Path) -> None:
    visualizer = Visualizer(vis_backends=[{"type": name}], save_dir=str(tmp_path))
    assert type(visualizer.get_backend(name)).__module__.startswith("seg_trackers")


@pytest.mark.filterwarnings("ignore")
def test_dvclive_writes_its_files(backend_class: Any, tmp_path: Path, caplog: Any) -> None:
    library("dvclive")
    run(backend_class("DVCLiveVisBackend")(str(tmp_path)))
    folder = tmp_path / "dvclive"
    assert json.loads((folder / "metrics.json").read_text())["loss"] == 0.25
    rows = (folder / "plots/metrics/loss.tsv").read_text().split()
    assert rows == ["step", "loss", "3", "0.5", "4", "0.25"]
    assert "widths" in (folder / "params.yaml").read_text()
    stored = cv2.imread(str(folder / "plots/images/4/val_street.png"))[..., ::-1]
    assert np.array_equal(stored, IMAGE)
    assert not [record for record in caplog.records if record.name == "seg_vis"]


@pytest.mark.filterwarnings("ignore")
def test_aim_keeps_a_run_that_can_be_resumed(backend_class: Any, tmp_path: Path, caplog: Any) -> None:
    aim = library("aim")
    backend = backend_class("AimVisBackend")(str(tmp_path))
    backend.add_scalar("loss", 0.75, 1)
    state = backend.state_dict()
    backend.close()
    again = backend_class("AimVisBackend")(str(tmp_path))
    again.load_state_dict(state)
    run(again)
    assert aim.Repo(str(tmp_path)).list_all_runs() == [state["run_hash"]]
    stored = aim.Run(run_hash=state["run_hash"], repo=str(tmp_path), system_tracking_interval=None)
    assert stored["config"]["model"]["widths"] == [8, 16]
    steps, (values, *_) = next(m for m in stored.metrics() if m.name == "loss").data.items_list()
    assert (steps, values) == ([1, 3, 4], [0.75, 0.5, 0.25])
    context = importlib.import_module("aim.storage.context").Context({})
    steps, (picture, *_) = stored.get_image_sequence("val/street", context).values.sparse_list()
    assert steps == [4]
    assert np.array_equal(np.asarray(picture.to_pil_image()), IMAGE)
    stored.close()
    assert not [record for record in caplog.records if record.name == "seg_vis"]


CLEARML = """
import clearml
import numpy as np
from seg_trackers.clearml import ClearMLVisBackend
from seg_vis import Visualizer
clearml.Task.set_offline(True)
backend = ClearMLVisBackend(init_kwargs={"auto_connect_frameworks": False, "auto_resource_monitoring": False})
visualizer = Visualizer(vis_backends=[backend])
visualizer.add_config({"max_iters": 5, "model": {"type": dict}})
visualizer.add_scalars({"loss": 0.5, "mode": "train", "step": 3}, step=1)
visualizer.add_scalar("loss", 0.25, step=4)
visualizer.add_image("val/street", np.zeros((4, 4, 3), np.uint8), step=4)
visualizer.close()
"""


def test_clearml_reports_offline(tmp_path: Path) -> None:
    """In a process of its own: ClearML starts threads and child processes that outlive a task."""
    library("clearml")
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN / "src"), "CLEARML_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CLEARML], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert "backend ClearMLVisBackend failed" not in done.stderr
    session = next((tmp_path / "offline").glob("offline-*/metrics.jsonl"))
    events = [event for line in session.read_text().splitlines() for event in json.loads(line)]
    assert [(e["metric"], e["iter"], e.get("value")) for e in events] == [
        ("loss", 3, 0.5),
        ("loss", 4, 0.25),
        ("val/street", 4, None),
    ]
    assert list(session.parent.rglob("*street*.jpeg"))
    assert "max_iters" in (session.parent / "task.json").read_text()
