"""Every attribute that MMEngine's running Runner has, with those of its loops, wrapper and hub, can be read off ours.

The list is taken from a runner of MMEngine's while it trains; plain values are equal, callables can be called.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

for package in ("mmengine", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from helpers import user_projects
    from mmengine.hooks import Hook

pytestmark = pytest.mark.filterwarnings("ignore")

PARTS: dict[str, Callable[[Any], Any]] = {
    "runner": lambda runner: runner,
    "runner.train_loop": lambda runner: runner.train_loop,
    "runner.val_loop": lambda runner: runner.val_loop,
    "runner.test_loop": lambda runner: runner.test_loop,
    "runner.val_loop.evaluator": lambda runner: runner.val_loop.evaluator,
    "runner.optim_wrapper": lambda runner: runner.optim_wrapper,
    "runner.message_hub": lambda runner: runner.message_hub,
    "runner.param_schedulers[0]": lambda runner: runner.param_schedulers[0],
    "runner.train_dataloader": lambda runner: runner.train_dataloader,
}
INSIDE = re.compile(
    r"__|_abc_impl|_instance_|_DataLoader__|_parse_input|_get_valid_value|_set_resumed_keys|_resumed_keys|_log_scalars"
    r"|_runtime_info|_decide_current_val_interval|_get_iterator|_auto_collation|_dataset_kind|_index_sampler|_iterator$"
    r"|_IterableDataset_len_called|_is_protocol|check_worker_number_rationality|check_instance_created|get_current_instance|get_instance"
)
"""What only the classes' own code reads: of torch's loader, of the tables of instances."""

ADVICE = {
    "runner": "_build_param_scheduler _check_scheduler_cfg _init_model_weights _log_env _maybe_compile set_randomness "
    "setup_env",
    "runner.val_loop": "val_loss",
}
"""Names that ours refuses with an AttributeError that says what to use."""

BUILT_LATER = ("runner.test_dataloader", "runner.test_loop")
"""What is None here until it is needed (`reading-builds-nothing`)."""

OF_THE_CLASS = {
    "runner.param_schedulers[0]": "_global_step _last_value print_value verbose total_iters power eta_min",
    "runner.optim_wrapper": "_global_step",
}
"""What only a class of MMEngine's own keeps for itself."""


class Reads(Hook):
    """Keeps the names of all attributes, and what is behind them, in the second step."""

    def __init__(self, names: dict[str, list[str]] | None = None) -> None:
        self.names, self.found, self.refused = names, {}, {}

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if batch_idx != 1:
            return
        if self.names is None:
            self.names = {part: own_names(find(runner)) for part, find in PARTS.items() if part != "runner.test_loop"}
            self.names["runner.test_loop"] = ["_runner", "dataloader", "evaluator", "fp16", "run", "run_iter"]
        for part, names in self.names.items():
            if part == "runner.test_loop":
                continue
            holder = PARTS[part](runner)
            for name in names:
                try:
                    self.found[f"{part}.{name}"] = described(getattr(holder, name), runner)
                except AttributeError as error:
                    self.refused[f"{part}.{name}"] = str(error)


def own_names(holder: Any) -> list[str]:
    return [name for name in dir(holder) if not INSIDE.match(name)]


def described(value: Any, runner: Any) -> Any:
    """A plain value as it is, without this run's folder and time; of anything else what kind of thing it is."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        text = str(value).replace(str(runner.work_dir), "WORK").replace(runner.timestamp, "START")
        return ("str", text)
    if isinstance(value, torch.Tensor):
        return ("tensor", tuple(value.shape))
    if isinstance(value, dict):
        return "dict"
    if isinstance(value, list | tuple):
        return ("list", len(value))
    return "callable" if callable(value) else "object"


def read(engine: str, folder: Path, names: dict[str, list[str]] | None, monkeypatch: pytest.MonkeyPatch) -> Reads:
    hook, module = Reads(names), ModuleType("reads_attributes")

    def run(runner: Any) -> None:
        runner.register_hook(hook, priority="LOWEST")
        runner.train()

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr(user_projects, "_loaded", lambda _: module)
    user_projects.run_project(Path("none.py"), engine, folder / engine)
    return hook


def test_every_attribute_of_a_running_runner_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = read("mmengine", tmp_path, None, monkeypatch)
    here = read("ours", tmp_path, there.names, monkeypatch)
    print(f"{len(there.found)} attributes")
    assert len(there.found) > 109
    for part, names in ADVICE.items():
        for name in names.split():
            assert " use " in here.refused.pop(f"{part}.{name}"), name
    for part, names in OF_THE_CLASS.items():
        for name in names.split():
            here.refused.pop(f"{part}.{name}", None)
    assert not here.refused, "\n".join(here.refused.values())
    differing = {
        name: (there.found[name], value)
        for name, value in here.found.items()
        if value != there.found[name] and not same_kind(there.found[name], value) and name not in BUILT_LATER
    }
    assert not differing


def same_kind(there: Any, here: Any) -> bool:
    """Tell whether two values that are no plain ones can be used alike."""
    kinds = ("dict", "object", "callable")
    return there in kinds and here in kinds
