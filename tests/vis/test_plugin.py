"""The plug-in of `examples/plugin`: each backend with its real library, where that is installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seg_vis import BaseVisBackend, Visualizer

PLUGIN = Path(__file__).resolve().parents[2] / "examples/plugin"
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
ENTRIES = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]["seg_engine.vis_backends"]


@pytest.fixture
def backend_class(monkeypatch: Any) -> Any:
    monkeypatch.syspath_prepend(str(PLUGIN / "src"))

    def load(name: str) -> Any:
        module, _, attribute = ENTRIES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    return load


def run(backend: Any) -> None:
    """What a training sends."""
    visualizer = Visualizer(vis_backends=[backend])
    visualizer.add_config({"max_iters": 5, "model": {"a": 1}})
    visualizer.add_scalars({"loss": 0.5, "mIoU": 0.25}, step=3)
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


@pytest.mark.filterwarnings("ignore")
def test_dvclive_writes_its_files(backend_class: Any, tmp_path: Path) -> None:
    pytest.importorskip("dvclive")
    run(backend_class("DVCLiveVisBackend")(str(tmp_path)))
    assert json.loads((tmp_path / "dvclive/metrics.json").read_text())["loss"] == 0.25
    assert list((tmp_path / "dvclive/plots/images").rglob("*street*.png"))


@pytest.mark.filterwarnings("ignore")
def test_aim_keeps_a_run_that_can_be_resumed(backend_class: Any, tmp_path: Path) -> None:
    aim = pytest.importorskip("aim")
    backend = backend_class("AimVisBackend")(str(tmp_path))
    backend.add_scalar("loss", 0.5, 1)
    state = backend.state_dict()
    backend.close()
    again = backend_class("AimVisBackend")(str(tmp_path))
    again.load_state_dict(state)
    run(again)
    assert aim.Repo(str(tmp_path)).list_all_runs() == [state["run_hash"]]


CLEARML = """
import sys
from pathlib import Path
import clearml
import numpy as np
from seg_trackers.clearml import ClearMLVisBackend
from seg_vis import Visualizer
clearml.Task.set_offline(True)
backend = ClearMLVisBackend(init_kwargs={"auto_connect_frameworks": False})
folder = Path(backend.experiment.get_offline_mode_folder())
visualizer = Visualizer(vis_backends=[backend])
visualizer.add_config({"max_iters": 5})
visualizer.add_scalar("loss", 0.25, step=4)
visualizer.add_image("val/street", np.zeros((4, 4, 3), np.uint8), step=4)
visualizer.close()
print(folder)
"""


def test_clearml_reports_offline(tmp_path: Path) -> None:
    """In a process of its own: ClearML starts threads and child processes that outlive a task."""
    pytest.importorskip("clearml")
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN / "src"), "CLEARML_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CLEARML], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    folder = Path(done.stdout.splitlines()[-1])
    stored = "".join(path.read_text() for path in folder.rglob("*.jsonl")) if folder.is_dir() else ""
    assert folder.with_suffix(".zip").is_file() or "loss" in stored
