"""AimVisBackend: scalars and pictures in an Aim repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_vis import BaseVisBackend


class AimVisBackend(BaseVisBackend):
    """Tracks an Aim run.

    Args:
        save_dir: folder of the repository, unless `init_kwargs` has `repo`.
        init_kwargs: arguments of `aim.Run`.
    """

    def __init__(self, save_dir: str | None = None, init_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        self._init_kwargs = {"repo": save_dir, **(init_kwargs or {})}
        self._run: Any = None

    @property
    def experiment(self) -> Any:
        """The run; made at first use."""
        if self._run is None:
            from aim import Run

            if isinstance(self._init_kwargs["repo"], str) and "://" not in self._init_kwargs["repo"]:
                Path(self._init_kwargs["repo"]).mkdir(parents=True, exist_ok=True)
            self._run = Run(**self._init_kwargs)
        return self._run

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """The config as the run's parameters."""
        self.experiment["config"] = json.loads(json.dumps(dict(config), default=str))

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """One number."""
        self.experiment.track(float(value), name=name, step=int(step))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """One picture."""
        from aim import Image

        self.experiment.track(Image(image), name=name, step=int(step))

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def state_dict(self) -> dict[str, Any]:
        """The run's hash, so that a resumed training goes on with it."""
        return {"run_hash": self._run.hash} if self._run is not None else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint, unless one has started."""
        if self._run is None and state_dict.get("run_hash"):
            self._init_kwargs["run_hash"] = state_dict["run_hash"]
