"""MLflowVisBackend against the real library and a local store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import MLflowVisBackend
from seg_vis.backends.mlflow import clean, flatten, local_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*noload.*", "ignore::ResourceWarning")


def run_of(backend: MLflowVisBackend) -> Any:
    return backend.experiment.get_run(backend.run_id)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One local store for all tests of this file: making its tables takes seconds."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    return tmp_path_factory.mktemp("store")


def test_numbers_pictures_config_and_files(store: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    backend = MLflowVisBackend(str(store), exp_name="roads", run_name="first", tags={"who": "me"}, params={"seed": 3})
    (tmp_path / "run.log").write_text("line")
    (tmp_path / "later").mkdir()
    (tmp_path / "later/run.log").write_text("another line")
    (tmp_path / "model.pth").write_text("weights")
    backend.add_config({"max_iters": 5, "model": {"depths": [2, 2], "x": "y" * 7000}, "work_dir": str(tmp_path)})
    backend.add_scalars({"val/mIoU": 0.5, "loss(a)": np.float32(2.0), "word": "x"}, step=7)
    backend.add_image("val/a", image, step=7)
    backend.add_image("val/a", image, step=8)
    run, client, number = run_of(backend), backend.experiment, backend.run_id
    assert run.data.metrics == {"val/mIoU": 0.5, "loss_a_": 2.0}
    assert client.get_metric_history(number, "val/mIoU")[0].step == 7
    assert run.data.params["max_iters"] == "5"
    assert run.data.params["model.depths"] == "[2, 2]"
    assert len(run.data.params["model.x"]) == 500
    assert run.data.params["seed"] == "3"
    assert run.data.tags["who"] == "me"
    assert run.info.run_name == "first"
    names = {file.path for file in client.list_artifacts(number, "val")}
    assert names == {"val/a_7.png", "val/a_8.png"}
    stored = cv2.imread(client.download_artifacts(number, "val/a_7.png", str(tmp_path)))[..., ::-1]
    assert np.array_equal(stored, image)
    backend.close()
    kept = {file.path for file in client.list_artifacts(number)}
    assert {"config.py", "run.log"} <= kept
    assert "model.pth" not in kept
    assert [file.path for file in client.list_artifacts(number, "later")] == ["later/run.log"]
    assert client.get_run(number).info.status == "FINISHED"


def test_a_resumed_training_goes_on_in_the_same_run(store: Path) -> None:
    first = MLflowVisBackend(str(store))
    first.add_scalar("loss", 1.0, 1)
    first.add_config({"lr": 0.1})
    state = first.state_dict()
    first.close()
    second = MLflowVisBackend(str(store))
    second.load_state_dict(state)
    second.add_config({"lr": 0.2, "new": 1})
    second.add_scalar("loss", 0.5, 2)
    steps = [metric.step for metric in second.experiment.get_metric_history(state["run_id"], "loss")]
    assert steps == [1, 2]
    assert run_of(second).data.params == {"lr": "0.1", "new": "1"}
    second.close()


def test_only_tracked_keys_become_parameters(store: Path) -> None:
    backend = MLflowVisBackend(str(store), tracked_config_keys=["lr"])
    backend.add_config({"lr": 0.1, "model": 1})
    assert run_of(backend).data.params == {"lr": "0.1"}
    backend.close()


def test_close_without_a_run_does_nothing(tmp_path: Path) -> None:
    backend = MLflowVisBackend(str(tmp_path / "never"))
    backend.close()
    assert not (tmp_path / "never").exists()
    assert backend.state_dict() == {}


def test_names_are_cleaned() -> None:
    assert clean("val/mIoU.class 3") == "val/mIoU.class 3"
    assert clean("loss(a)[0]") == "loss_a__0_"
    assert clean("../../x") == "x"
    assert clean("") == "_"
    assert len(clean("x" * 900)) == 250


def test_configs_are_flattened() -> None:
    config = {"a": {"b": 1, "c": [{"d": 2}, {"d": 3}]}, "e": [1, 2]}
    assert flatten(config) == {"a.b": 1, "a.c.0.d": 2, "a.c.1.d": 3, "e": [1, 2]}


def test_the_local_store_is_a_file_of_its_own(store: Path, tmp_path: Path) -> None:
    assert local_store(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert (tmp_path / "mlflow.db").exists()


def test_the_default_experiment_keeps_its_files_in_save_dir(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own default would put them into `mlruns` of the current folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    backend = MLflowVisBackend(str(tmp_path / "vis"))
    backend.add_image("road", np.zeros((4, 4, 3), np.uint8), step=1)
    backend.add_config({"lr": 1})
    backend.close()
    assert not list(here.iterdir())
    assert list((tmp_path / "vis/mlartifacts").rglob("config.py"))


def test_a_name_too_long_for_a_file_is_shortened(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    backend = MLflowVisBackend(str(tmp_path))
    backend.add_image(f"val/{'道' * 200}", np.zeros((2, 2, 3), np.uint8), step=2)
    backend.close()
    assert len(list(tmp_path.rglob("*.png"))) == 1
