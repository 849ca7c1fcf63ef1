"""DVCLiveVisBackend: scalars and pictures in files that DVC and its editor plug-in show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_vis import BaseVisBackend


class DVCLiveVisBackend(BaseVisBackend):
    """Writes what DVCLive writes; it makes no experiment unless `init_kwargs` says so.

    Called inside of a git repository, DVCLive makes that a DVC repository too (a folder `.dvc`).

    Args:
        save_dir: the folder.
        init_kwargs: arguments of `dvclive.Live`.
    """

    def __init__(self, save_dir: str, init_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        defaults = {"dir": str(Path(save_dir, "dvclive")), "save_dvc_exp": False, "dvcyaml": None, "report": None}
        self._init_kwargs = {**defaults, **(init_kwargs or {})}
        self._live: Any = None

    @property
    def experiment(self) -> Any:
        """The `Live` object; made at first use."""
        if self._live is None:
            from dvclive import Live

            self._live = Live(**self._init_kwargs)
        return self._live

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """The config as parameters."""
        self.experiment.log_params(json.loads(json.dumps(dict(config), default=str)))

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """One number."""
        self.experiment.step = int(step)
        self.experiment.log_metric(name, float(value))

    def add_scalars(self, scalar_dict: Mapping[str, Any], step: int = 0, *args: Any, **kwargs: Any) -> None:
        """Several numbers; the summary is written once."""
        super().add_scalars(scalar_dict, step)
        self.experiment.make_summary()

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """One picture, under its step."""
        self.experiment.log_image(f"{step}/{name.replace('/', '_')}.png", image)

    def close(self) -> None:
        """Write the rest."""
        if self._live is not None:
            self._live.end()
            self._live = None
