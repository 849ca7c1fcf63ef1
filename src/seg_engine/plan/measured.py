"""Figures of this machine for a plan: how fast a state is copied and written; of a config: its model, its samples."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["of_config", "stage_rate", "write_rate"]

SIZE = 256 * 2**20


def stage_rate() -> float:
    """Return the bytes a second at which tensors are copied in memory, as a checkpoint beside training does."""
    import torch

    state = torch.ones(SIZE // 4)
    aside = torch.empty_like(state).copy_(state)  # its pages are there: a second checkpoint meets them so
    began = time.perf_counter()
    aside.copy_(state)
    return SIZE / (time.perf_counter() - began)


def write_rate(folder: Path) -> float:
    """Return the bytes a second at which one process writes a checkpoint to a folder, with its checksums, and syncs."""
    import torch
    from seg_runner.checkpoint.write import write_checkpoint

    state = {"meta": {}, "state_dict": {f"layer{i}": torch.randn(SIZE // 64) for i in range(16)}}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        began = time.perf_counter()
        write_checkpoint(Path(place) / "plan.pth", state)
        return SIZE / (time.perf_counter() - began)


def of_config(path: Path, trust: bool, samples: int) -> dict[str, float]:
    """Return `parameters`, `norms`, `channels` of a config's model; with `samples`, what one of its data set costs.

    Args:
        path: The config.
        trust: Build from any installed package that it names.
        samples: How many samples of `train_dataloader.dataset` to read; 0: none, and the data need not be there.
    """
    from seg_engine.launch import make_builder, prepare_mmseg, read_config

    cfg = read_config(path, trust)
    prepare_mmseg(cfg)
    build = make_builder(cfg, trust, imports=True)
    found = _of_model(build.build("model", cfg.model))
    if samples:
        found["sample_seconds"] = _cpu_seconds(build.build("dataset", cfg.train_dataloader["dataset"]), samples)
    return found


def _of_model(model: Any) -> dict[str, float]:
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "norms": len(norms),
        "channels": sum(module.num_features for module in norms),
    }


def _cpu_seconds(dataset: Any, samples: int) -> float:
    count = min(samples, len(dataset))
    dataset[0]  # opens what stays open
    began = time.process_time()
    for index in range(count):
        dataset[index]
    return (time.process_time() - began) / count
