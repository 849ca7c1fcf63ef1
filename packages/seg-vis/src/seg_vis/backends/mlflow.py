"""MLflowVisBackend: an MLflow run, local or on a server, within MLflow's limits."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seg_vis.arrays import Image, to_rgb
from seg_vis.backends.base import (
    BaseVisBackend,
    checked_number,
    checked_step,
    config_dict,
    config_text,
    numbers_and_step,
)
from seg_vis.backends.line_files import ResumePoint, session_of
from seg_vis.files import encode
from seg_vis.libraries import load_library
from seg_vis.names import fitting_parts

__all__ = ["MLflowVisBackend"]

INSTALL = "mlflow-skinny sqlalchemy alembic"
STORE = "mlflow.db"
KEY_LENGTH = 250
VALUE_LENGTH = 500
SUFFIXES = (".json", ".log", ".py", "yaml")


class MLflowVisBackend(BaseVisBackend):
    """Scalars, pictures, parameters and files in an MLflow run.

    The run starts with the first number or picture, so that a resumed training can say before which run it goes on
    with. Names are cut and cleaned to what MLflow takes, long values shortened, steps kept for pictures too.

    Args:
        save_dir: folder of the local store, where there is no other.
        exp_name: the experiment; `Default` without it.
        run_name: the run.
        tags: tags of the run.
        params: parameters of the run.
        tracking_uri: the store; without it the one in `MLFLOW_TRACKING_URI`, else a local one in `save_dir`.
        artifact_suffix: files of the config's `work_dir` with these endings are kept at the end.
        tracked_config_keys: which top-level keys of the config become parameters; all without it.
        artifact_location: where a new experiment keeps its files.

    Raises:
        ImportError: at first use, where mlflow is not installed.

    Example:
        >>> backend = MLflowVisBackend("out/vis_data", exp_name="roads")          # writes nothing yet
    """

    def __init__(
        self,
        save_dir: str,
        exp_name: str | None = None,
        run_name: str | None = None,
        tags: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifact_suffix: Sequence[str] | str = SUFFIXES,
        tracked_config_keys: Iterable[str] | None = None,
        artifact_location: str | None = None,
    ) -> None:
        super().__init__(str(save_dir))
        self._exp_name = exp_name or "Default"
        self._run_name = run_name
        self._tags = dict(tags or {})
        self._params = dict(params or {})
        self._tracking_uri = tracking_uri
        self._suffixes = (artifact_suffix,) if isinstance(artifact_suffix, str) else tuple(artifact_suffix)
        self._tracked = None if tracked_config_keys is None else set(tracked_config_keys)
        self._artifact_location = artifact_location
        self._client: Any = None
        self._run_id: str | None = None
        self._session: str | None = None
        self._work_dir: str | None = None
        self._config: Any = None

    @property
    def experiment(self) -> Any:
        """The `MlflowClient`; the run is made at first use."""
        if self._client is None:
            self._client = self._start()
            if self._config is not None:
                self._send_config()
        return self._client

    @property
    def run_id(self) -> str:
        """The run's id."""
        self.experiment  # noqa: B018
        return str(self._run_id)

    def _start(self) -> Any:
        tracking = load_library("mlflow.tracking", "mlflow", INSTALL)
        folder = Path(str(self._save_dir)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        uri = self._tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        client = tracking.MlflowClient(tracking_uri=uri or local_store(folder))
        if self._run_id is not None:
            client.update_run(self._run_id, status="RUNNING")
            return client
        found = client.get_experiment_by_name(self._exp_name)
        location = self._artifact_location or (None if uri else (folder / "mlartifacts").as_uri())
        if found is None:
            number = client.create_experiment(self._exp_name, artifact_location=location)
        else:
            number = found.experiment_id
        run = client.create_run(number, run_name=self._run_name, tags=self._tags)
        self._run_id = str(run.info.run_id)
        log_params(client, self._run_id, self._params)
        return client

    def add_config(self, config: object, **kwargs: object) -> None:
        """Keep the config as parameters and as `config.py`; it is sent when the run starts, or at once if it has."""
        load_library("mlflow.tracking", "mlflow", INSTALL)
        self._config = config
        self._work_dir = config_dict(config).get("work_dir")
        if self._client is not None:
            self._send_config()

    def _send_config(self) -> None:
        values = config_dict(self._config)
        tracked = {key: values[key] for key in values if self._tracked is None or key in self._tracked}
        log_params(self._client, self.run_id, flatten(tracked))
        self._client.log_text(self.run_id, config_text(self._config), "config.py")
        self._config = None

    def add_image(self, name: str, image: Image, step: int = 0, **kwargs: object) -> None:
        """Send one picture, kept as `<name>_<step>.png`."""
        path = Path(f"{fitting_parts(clean(name))}_{checked_step(step)}.png")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, path.name)
            file.write_bytes(encode(to_rgb(image)))
            where = path.parent.as_posix()
            self.experiment.log_artifact(self.run_id, str(file), None if where == "." else where)

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Send one number.

        Raises:
            TypeError: it is none.
        """
        self.add_scalars({name: checked_number(name, value)}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Send several numbers of one step; `step` in the dict is taken as the step."""
        numbers, at = numbers_and_step(scalar_dict, step)
        entities = load_library("mlflow.entities", "mlflow", INSTALL)
        now = int(time.time() * 1000)
        rows = [entities.Metric(clean(k), v, now, at) for k, v in numbers.items()]
        self.experiment.log_batch(self.run_id, metrics=rows)

    def close(self) -> None:
        """Keep the files of the work folder and end the run."""
        if self._client is None:
            return
        for file in self._files_to_keep():
            folder = file.parent.relative_to(Path(str(self._work_dir)).resolve()).as_posix()
            self._client.log_artifact(self.run_id, str(file), None if folder == "." else folder)
        self._client.set_terminated(self.run_id)
        self._client = None

    def _files_to_keep(self) -> list[Path]:
        if self._work_dir is None or not Path(self._work_dir).is_dir():
            return []
        store = Path(str(self._save_dir)).resolve() / "mlartifacts"
        files = (path for path in Path(self._work_dir).resolve().rglob("*") if path.is_file())
        return sorted(path for path in files if path.name.endswith(self._suffixes) and store not in path.parents)

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run and the session that has its store, so that a resumed training goes on with it."""
        place = {"session": session_of(str(self._save_dir))}
        return {} if self._run_id is None else {"run_id": self._run_id, **place}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint, unless one has started."""
        if self._client is None and state_dict.get("run_id"):
            self._run_id = str(state_dict["run_id"])
            self._session = str(state_dict.get("session") or "") or None

    def resume_from(self, point: ResumePoint) -> None:
        """Go on in the local store of the session that began the run."""
        begun = point.begun(Path(str(self._save_dir)), STORE, self._session)
        if begun is not None and self._client is None and self._run_id is not None:
            self._save_dir = str(begun)


def local_store(folder: Path) -> str:
    """Make a database file in the folder, whose experiments keep their files beside it, not in the current folder."""
    uri = f"sqlite:///{folder / STORE}"
    if not (folder / STORE).exists():
        store = load_library("mlflow.store.tracking.sqlalchemy_store", "mlflow", INSTALL)
        store.SqlAlchemyStore(uri, (folder / "mlartifacts").as_uri())
    return uri


def clean(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits, `_ - . / :` and blanks, relative, at most 250 characters."""
    parts = [part for part in re.sub(r"[^\w\-. /:]", "_", name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:KEY_LENGTH] or "_"


def flatten(value: object, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts and lists as `a.b.0` names."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value)  # type: ignore[assignment]
    else:
        return {prefix: value}
    return {k: v for key, item in items for k, v in flatten(item, f"{prefix}.{key}" if prefix else str(key)).items()}


class Client(Protocol):
    """What sends parameters to an MLflow server."""

    def get_run(self, run_id: str) -> Any:
        """Return a run with its `data`."""

    def log_batch(self, run_id: str, *, params: Sequence[Any]) -> object:
        """Send parameters."""


def log_params(client: Client, run_id: str, params: Mapping[str, Any]) -> None:
    """Send parameters, those that the run does not have yet, a hundred at a time."""
    entities = load_library("mlflow.entities", "mlflow", INSTALL)
    present = client.get_run(run_id).data.params
    rows = {clean(key): str(value)[:VALUE_LENGTH] for key, value in params.items() if key}
    new = [entities.Param(key, value) for key, value in rows.items() if key not in present]
    for start in range(0, len(new), 100):
        client.log_batch(run_id, params=new[start : start + 100])
