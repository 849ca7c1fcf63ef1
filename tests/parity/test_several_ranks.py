"""The same config on two ranks under MMEngine and here: losses, rates, metrics and weights are the same to the bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks

for package in ("mmengine", "seg_registry", "seg_hooks", "seg_optim"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

VARIANTS: dict[str, dict[str, Any]] = {
    "epochs": {"loop": "epoch"},
    "iterations": {"loop": "iter"},
    "a number for each rank": {"loop": "iter", "randomness": {"seed": 7, "diff_rank_seed": True}},
    "accumulation and clipping": {"loop": "iter", "optim": {"accumulative_counts": 3, "clip_grad": {"max_norm": 0.5}}},
    "unused parameters looked for": {"loop": "epoch", "model_wrapper_cfg": {
        "type": "MMDistributedDataParallel", "find_unused_parameters": True, "broadcast_buffers": True}},
}  # fmt: skip


def trained(engine: str, work_dir: Path, loop: str, optim: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Train on this rank, and return what can be compared."""
    import sys

    sys.modules["torchvision"] = None  # type: ignore[assignment]  # MMEngine asks for its version; none imports here
    from tests.parity.test_runner import config, run_ours, run_reference

    wrapper = {"type": "MMDistributedDataParallel", "device_ids": None}  # else MMEngine gives DDP the number of a GPU
    cfg = {**config(loop, work_dir), **more}
    cfg["model_wrapper_cfg"] = {**wrapper, **cfg.get("model_wrapper_cfg", {})}
    cfg |= {"launcher": "pytorch", "env_cfg": {"dist_cfg": {"backend": "gloo"}}}
    if loop == "epoch":
        cfg["train_cfg"] = {"by_epoch": True, "max_epochs": 10, "val_interval": 5}
    else:
        cfg["train_cfg"] = {**cfg["train_cfg"], "max_iters": 40, "val_interval": 20}
    cfg["optim_wrapper"] = {**cfg["optim_wrapper"], **(optim or {})}
    if engine == "mmengine":
        torch.cuda.set_device = lambda device: None  # MMEngine sets one, whatever the backend
        hook, runner = run_reference(cfg)
    else:
        hook, runner = run_ours(cfg)
    model = runner.model
    weights = {name.removeprefix("module."): value for name, value in model.state_dict().items()}
    return {"losses": hook.losses, "rates": hook.rates, "metrics": hook.metrics, "weights": weights}


@pytest.mark.parametrize("name", VARIANTS)
def test_two_ranks_train_as_two_of_mmengine(tmp_path: Path, name: str) -> None:
    theirs, ours = (
        on_ranks(2, tmp_path / f"{engine}_ranks", trained, engine, tmp_path / engine, **VARIANTS[name])
        for engine in ("mmengine", "seg")
    )
    for rank in range(2):
        assert ours[rank]["losses"] == theirs[rank]["losses"]
        assert ours[rank]["rates"] == theirs[rank]["rates"]
        assert ours[rank]["metrics"] == theirs[rank]["metrics"]
        for key, value in theirs[rank]["weights"].items():
            assert torch.equal(ours[rank]["weights"][key], value), key
