"""What a run uses where seg-optim and seg-vis are absent: a plain optimizer's wrapper, and scalars in a file."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from seg_runner.files import write_text
from seg_runner.log.line_files import LineFile, take_out_rows
from seg_runner.model.wrapping import unwrap

__all__ = ["FallbackOptimWrapper", "FallbackVisualizer"]


class FallbackOptimWrapper:
    """A plain `torch.optim` optimizer in the shape of an optimizer wrapper: no accumulation, no clipping."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.grad_norm: torch.Tensor | None = None
        self.inner_count = 0
        self.accumulative_counts = 1
        self._untrained: _Untrained | None = None
        self._steps, self._look_after = 0, 1  # after the steps 1, 2, 4, 8, ... of this session

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups."""
        return self.optimizer.param_groups

    def optim_context(self, model: object) -> AbstractContextManager[Any]:
        """Put nothing round the forward pass."""
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        """Compute gradients, step, clear them."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.inner_count += 1
        self._steps += 1
        if self._steps == self._look_after and self._untrained is not None:
            self._look_after *= 2
            self._untrained.look()

    def initialize_count_status(self, model: torch.nn.Module, init_counts: int, max_counts: int) -> None:
        """Take over where the run stands; from here on parameters that are not trained are told."""
        self.inner_count = init_counts
        if self._untrained is None:
            self._untrained = _Untrained(model, self.optimizer)
        self._untrained.look()

    def get_lr(self) -> dict[str, list[float]]:
        """Return the learning rate of each group."""
        return {"lr": [float(group["lr"]) for group in self.optimizer.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return the momentum of each group (the first beta of Adam's)."""
        return {
            "momentum": [float(group.get("momentum", group.get("betas", (0.0,))[0])) for group in self.param_groups]
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state."""
        if self._untrained is not None:
            self._untrained.look()
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the optimizer's state."""
        self.optimizer.load_state_dict(state_dict)


class _Untrained:
    """Names parameters that learn and that the optimizer does not hold, each once.

    What the optimizer leaves out while it holds another part of the model is its owner's choice. Where it holds all
    that learns, what learns only later is told, and where it holds tensors that the model has no more, all is.
    """

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model = unwrap(model)
        self._model, self._optimizer = weakref.ref(model), optimizer
        own = {id(parameter) for parameter in model.parameters()}
        known = [id(p) in own for group in optimizer.param_groups for p in group["params"]]
        learns = {name for name, parameter in self._outside().items() if parameter.requires_grad}
        replaced = any(known) and not all(known)
        self._told = set(self._outside()) if learns and not replaced else set()

    def look(self) -> None:
        """Log a line with the names."""
        outside = self._outside().items()
        names = [name for name, parameter in outside if parameter.requires_grad and name not in self._told]
        self._told.update(names)
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            logging.getLogger("seg_runner").warning(
                "not trained: %s%s. The model holds other tensors there than when the optimizer was built, or they "
                "learn only since then; the optimizer does not hold them. Change the model before the optimizer is "
                "built, give new values in place (parameter.data.copy_(...)), or add them, without the gradients that "
                "gathered meanwhile: parameter.grad = None, then optimizer.add_param_group(...)",
                ", ".join(names[:5]), more,
            )  # fmt: skip

    def _outside(self) -> dict[str, torch.nn.Parameter]:
        model = self._model()
        held = {id(parameter) for group in self._optimizer.param_groups for parameter in group["params"]}
        named = [] if model is None else model.named_parameters()
        return {name: parameter for name, parameter in named if id(parameter) not in held}

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Copy nothing: a copy of a wrapper watches nothing: its model is another one."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickle nothing, for the same reason."""
        return type(None), ()


class FallbackVisualizer:
    """Keeps scalars as JSON lines in `vis_data/scalars.json`; draws nothing."""

    def __init__(self, log_dir: Path) -> None:
        self.dataset_meta: Any = None
        self._folder = log_dir / "vis_data"
        self._files: dict[str, LineFile] = {}

    def add_config(self, config: object, **kwargs: object) -> None:
        """Keep the resolved config beside the scalars."""
        text = getattr(config, "pretty_text", None)
        if text is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_text(self._folder / "config.py", text)

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Append one record, to `scalars.json` and to `file_path` beside it; each line is written whole."""
        line = json.dumps({**scalar_dict, "step": step}, default=_to_json)
        for name in {"scalars.json", file_path or "scalars.json"}:
            if name not in self._files:
                say = logging.getLogger("seg_runner").warning
                self._files[name] = LineFile(self._folder / name, name, say)
            self._files[name].write(line)

    def resume_from(self, step: int, *, owes_validation: bool, log_dir: Path, earlier: Sequence[Path]) -> None:
        """Take the rows that this run writes again out of the files of earlier sessions, into `superseded.json`."""

        def repeats(row: Mapping[str, Any]) -> bool:
            at = row.get("iter", row.get("step", 0))
            return bool(at > step or (owes_validation and at == step and row.get("mode") == "val"))

        for folder in (session / self._folder.name for session in earlier):
            try:
                take_out_rows(folder / "scalars.json", repeats, folder / "superseded.json")
            except OSError as error:
                text = "%s keeps rows that this run writes again: %s"
                logging.getLogger("seg_runner").warning(text, folder / "scalars.json", error)

    def close(self) -> None:
        """Write the lines that wait for room."""
        for file in self._files.values():
            file.close()


def _to_json(value: object) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
