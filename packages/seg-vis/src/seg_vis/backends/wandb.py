"""WandbVisBackend: Weights & Biases, with its own segmentation masks and steps that are respected."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_vis.arrays import Image, as_labels, to_rgb
from seg_vis.backends.base import BaseVisBackend, checked_number, checked_step, config_dict, numbers_and_step
from seg_vis.checks import check_flag
from seg_vis.libraries import load_library
from seg_vis.names import fitting_parts, printable

__all__ = ["WandbVisBackend"]

INSTALL = "wandb pillow"  # its pictures need Pillow, and it does not require it
ROOM = 2**18
"""Bytes that must be free for a row: more than W&B writes at once."""


class WandbVisBackend(BaseVisBackend):
    """Scalars, pictures and masks in a Weights & Biases run, online or offline (`WANDB_MODE=offline`).

    The run starts with the first scalar or picture, so that a resumed training can say before which run it goes on
    with. Every row carries `step`, and `define_metric` makes it the x axis of all of them.

    Args:
        save_dir: folder for the run's files, unless `init_kwargs` names one.
        init_kwargs: arguments of `wandb.init`.
        define_metric_cfg: `{metric: summary}`, or a list of arguments of `define_metric`.
        commit: whether each call is a row of its own.
        log_code_name: name under which the code is kept.
        watch_kwargs: arguments of `wandb.watch` for `add_graph`.
        native_masks: send the image and its label maps, which the web page can switch on and off, rather than
            the drawn picture.

    Raises:
        ImportError: at first use, where wandb is not installed.

    Example:
        >>> backend = WandbVisBackend("out/vis_data", init_kwargs=dict(project="roads", mode="offline"))
    """

    def __init__(
        self,
        save_dir: str,
        init_kwargs: dict[str, Any] | None = None,
        define_metric_cfg: dict[str, str] | list[dict[str, Any]] | None = None,
        commit: bool | None = True,
        log_code_name: str | None = None,
        watch_kwargs: dict[str, Any] | None = None,
        native_masks: bool = True,
    ) -> None:
        super().__init__(str(save_dir))
        self._init_kwargs = dict(init_kwargs or {})
        self._define_metric_cfg = define_metric_cfg
        self._commit = None if commit is None else check_flag(commit, "commit")
        self._log_code_name = log_code_name
        self._watch_kwargs = dict(watch_kwargs or {})
        self._native_masks = check_flag(native_masks, "native_masks")
        self._run: Any = None
        self._run_id: str | None = self._init_kwargs.get("id")
        self._config: dict[str, Any] = {}
        self._allow_val_change = bool(self._init_kwargs.get("allow_val_change", False))

    @property
    def experiment(self) -> Any:
        """The W&B run; started at first use."""
        if self._run is None:
            self._run = self._start()
        return self._run

    def _start(self) -> Any:
        wandb = load_library("wandb", "wandb", INSTALL)
        arguments = {"dir": self._save_dir, **self._init_kwargs}
        if self._run_id is not None:
            arguments = {"resume": "allow", **arguments, "id": self._run_id}
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)
        run = wandb.init(**arguments)
        self._run_id = str(run.id)
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        for metric in metrics_to_define(self._define_metric_cfg):
            run.define_metric(**metric)
        if self._config:
            run.config.update(self._config, allow_val_change=self._allow_val_change or bool(run.resumed))
        if self._log_code_name is not None:
            run.log_code(name=self._log_code_name)
        return run

    def add_config(self, config: object, **kwargs: object) -> None:
        """Keep the config; it is sent when the run starts, or at once if it has."""
        load_library("wandb", "wandb", INSTALL)
        self._config = plain(config_dict(config))
        if self._run is not None:
            self._run.config.update(self._config, allow_val_change=True)

    def add_graph(self, model: object, data_batch: object = None, **kwargs: object) -> None:
        """Watch the model's gradients and parameters."""
        self.experiment.watch(model, **self._watch_kwargs)

    def add_image(self, name: str, image: Image, step: int = 0, **kwargs: object) -> None:
        """Send one picture."""
        wandb = load_library("wandb", "wandb", INSTALL)
        self._log({fitting_parts(printable(name, lines=False)): wandb.Image(to_rgb(image))}, step)

    def add_masks(
        self, name: str, image: Image, masks: Mapping[str, Any], classes: Sequence[str], step: int = 0
    ) -> bool:
        """Send one image with its label maps as native masks; return False where the drawn picture is wanted."""
        if not self._native_masks:
            return False
        wandb = load_library("wandb", "wandb", INSTALL)
        names = {label: printable(one, lines=False) for label, one in enumerate(classes)}
        names |= {255: "ignored"} if len(classes) < 256 else {}
        content = {key: {"mask_data": as_labels(mask), "class_labels": names} for key, mask in masks.items()}
        self._log({fitting_parts(printable(name, lines=False)): wandb.Image(to_rgb(image), masks=content)}, step)
        return True

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Send one number.

        Raises:
            TypeError: it is none.
        """
        self.add_scalars({name: checked_number(name, value)}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Send several numbers of one step."""
        found, at = numbers_and_step(scalar_dict, step)
        self._log({printable(name, lines=False): number for name, number in found.items()}, at)

    def _log(self, row: Mapping[str, Any], step: int) -> None:
        check_room(str(self.experiment.dir))
        self.experiment.log({**row, "step": checked_step(step)}, commit=self._commit)

    def close(self) -> None:
        """Finish the run; W&B uploads what is left."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run, so that a resumed training goes on with it."""
        return {} if self._run_id is None else {"run_id": self._run_id}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint; an `id` in `init_kwargs` wins, a run that has started stays."""
        if self._run is None and "id" not in self._init_kwargs and state_dict.get("run_id"):
            self._run_id = str(state_dict["run_id"])


def check_room(folder: str) -> None:
    """Say of a disk that it is full before W&B meets that: it writes in a process of its own, and loses rows silently.

    Raises:
        OSError: there is next to no room.
    """
    if shutil.disk_usage(folder).free < ROOM:
        raise OSError(errno.ENOSPC, f"less than {ROOM // 1024} KiB are free", folder)


def metrics_to_define(config: dict[str, str] | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return arguments of `define_metric`, one dict a metric; `mIoU` means `val/mIoU` too, as rows are named."""
    if isinstance(config, Mapping):
        listed: list[dict[str, Any]] = [{"name": name, "summary": summary} for name, summary in config.items()]
    else:
        listed = list(config or ())
    bare = [item for item in listed if re.fullmatch(r"[^/*]+", str(item.get("name")))]
    more = [{**item, "name": f"{mode}/{item['name']}"} for item in bare for mode in ("train", "val")]
    return [{"step_metric": "step", **item} for item in (*listed, *more)]


def plain(value: object) -> Any:
    """Return configs as dicts, lists and simple values (classes and functions by name)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
