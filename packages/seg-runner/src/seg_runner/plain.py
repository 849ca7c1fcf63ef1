"""What a run uses where seg-optim and seg-vis are absent: a plain optimizer's wrapper, and scalars in a file."""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

__all__ = ["PlainVisualizer", "PlainWrapper"]


class PlainWrapper:
    """A plain `torch.optim` optimizer in the shape of an optimizer wrapper: no accumulation, no clipping."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.grad_norm: torch.Tensor | None = None
        self.inner_count = 0
        self.accumulative_counts = 1

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups."""
        return self.optimizer.param_groups

    def optim_context(self, model: Any) -> AbstractContextManager[Any]:
        """Nothing round the forward pass."""
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        """Backward, step, clear."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.inner_count += 1

    def initialize_count_status(self, model: Any, init_counts: int, max_counts: int) -> None:
        """Take over where the run stands."""
        self.inner_count = init_counts

    def get_lr(self) -> dict[str, list[float]]:
        """The learning rate of each group."""
        return {"lr": [float(group["lr"]) for group in self.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """The momentum of each group (the first beta of Adam's)."""
        return {
            "momentum": [float(group.get("momentum", group.get("betas", (0.0,))[0])) for group in self.param_groups]
        }

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the optimizer's state."""
        self.optimizer.load_state_dict(state_dict)


class PlainVisualizer:
    """Keeps scalars as JSON lines in `vis_data/scalars.json`; draws nothing."""

    def __init__(self, log_dir: Path) -> None:
        self.dataset_meta: Any = None
        self._folder = log_dir / "vis_data"
        self._made = False

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Keep the resolved config beside the scalars."""
        text = getattr(config, "pretty_text", None)
        if text is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "config.py").write_text(text, encoding="utf-8")

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Append one record, to `scalars.json` and to `file_path` beside it; each line is written whole."""
        line = (json.dumps({**scalar_dict, "step": step}, default=_plain) + "\n").encode()
        try:
            if not self._made:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._made = True
            for name in {"scalars.json", file_path or "scalars.json"}:
                _append(f"{self._folder}/{name}", line)
        except OSError as error:  # a full disk costs lines of the log, not the run
            logging.getLogger("seg_runner").warning("scalars cannot be written: %s", error.strerror)

    def close(self) -> None:
        """Every line is already written."""


def _append(path: str, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
