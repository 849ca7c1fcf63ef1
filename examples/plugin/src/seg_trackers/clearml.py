"""ClearMLVisBackend: scalars and pictures in a ClearML task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_vis import BaseVisBackend


class ClearMLVisBackend(BaseVisBackend):
    """Reports to a ClearML task; without a server, `clearml.Task.set_offline(True)` first.

    Args:
        save_dir: not used.
        init_kwargs: arguments of `clearml.Task.init`.
        artifact_suffix: files of the config's `work_dir` with these endings are uploaded at the end.
    """

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        artifact_suffix: Sequence[str] = (".py", ".pth"),
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = {"project_name": "segmentation", "task_name": "training", **(init_kwargs or {})}
        self._suffixes = tuple(artifact_suffix)
        self._task: Any = None
        self._work_dir: str | None = None

    @property
    def experiment(self) -> Any:
        """The task; made at first use."""
        if self._task is None:
            from clearml import Task

            self._task = Task.init(**self._init_kwargs)
        return self._task

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """The config as the task's configuration."""
        self._work_dir = dict(config).get("work_dir")
        self.experiment.connect_configuration(json.loads(json.dumps(dict(config), default=str)))

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """One number."""
        self.experiment.get_logger().report_scalar(name, name, float(value), int(step))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """One picture."""
        self.experiment.get_logger().report_image(name, name, int(step), image=image)

    def close(self) -> None:
        """Upload files and end the task."""
        if self._task is None:
            return
        for file in Path(self._work_dir).glob("*") if self._work_dir else []:
            if file.name.endswith(self._suffixes):
                self._task.upload_artifact(file.name, str(file))
        self._task.close()
        self._task = None
