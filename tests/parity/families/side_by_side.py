"""One config file of MMSegmentation, trained by MMEngine's Runner and by ours in one process, and all that is compared.

The file is untouched; what it is given, both engines are given by the same overrides, as `--cfg-options` would.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["Run", "compare", "configs", "overrides_of", "run_ours", "run_reference", "stream"]

STEPS = 6
UNCHANGED = object()
Overrides = dict[str, Any]


@cache
def configs() -> Path:
    """Return the folder of MMSegmentation's configs, its models imported."""
    from seg_engine.mmseg import prepare

    prepare()
    import mmseg.models
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    return Path(mmseg.__file__).parent / ".mim/configs"


@dataclass
class Run:
    """What one engine did."""

    runner: Any
    losses: list[dict[str, Any]] = field(default_factory=list)
    rates: list[dict[str, Any]] = field(default_factory=list)
    norms: list[float | None] = field(default_factory=list)
    metrics: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    averaged: dict[str, torch.Tensor] = field(default_factory=dict)


class Writes:
    """Writes down what a run does; MMEngine wants a base class, which is put under it below."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.run = Run(None)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.run.losses.append({name: plain(value) for name, value in outputs.items()})
        wrapper = runner.optim_wrapper
        self.run.rates.append(options_of(runner.model, wrapper))
        clipped = "train/grad_norm" in runner.message_hub.log_scalars
        self.run.norms.append(plain(runner.message_hub.get_scalar("train/grad_norm").current()) if clipped else None)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.run.metrics.append((runner.iter, {name: plain(value) for name, value in metrics.items()}))


def options_of(model: Any, wrapper: Any) -> dict[str, Any]:
    """Return what the optimizer does with each parameter: rate, momentum, decay. How they are grouped may differ."""
    names = {id(value): name for name, value in model.named_parameters()}
    options = {}
    for group in wrapper.param_groups:
        numbers = {key: group[key] for key in ("lr", "momentum", "betas", "weight_decay") if key in group}
        options.update({names.get(id(one), "base"): numbers for one in group["params"]})
    return {**options, "base_lr": wrapper.get_lr().get("base_lr"), "first": wrapper.get_lr()["lr"][0]}


def plain(value: Any) -> Any:
    """Return a number as a float, NaN as text (it is not equal to itself)."""
    number = float(value)
    return "nan" if number != number else number


def stream() -> str:
    """Return the name of the stream of the engine that is installed."""
    import mmengine

    return "onedl" if tuple(map(int, mmengine.__version__.split(".")[:3])) >= (0, 10, 8) else "mmengine"


def finish(run: Run) -> Run:
    """Take the weights, the averaged ones too, out of a runner that is done."""
    from mmengine.model import is_model_wrapper

    net = run.runner.model
    net = net.module if is_model_wrapper(net) else net
    run.weights = {name: value.clone() for name, value in net.state_dict().items()}
    for hook in run.runner.hooks:
        average = getattr(hook, "ema_model", None)
        if average is not None:
            run.averaged = {name: value.clone() for name, value in average.state_dict().items()}
    return run


def run_reference(path: Path, overrides: Mapping[str, Any], work_dir: Path) -> Run:
    """Train under MMEngine."""
    configs()
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    cfg = Config.fromfile(str(path))
    cfg.merge_from_dict(
        {
            **copy.deepcopy(dict(overrides)),
            "work_dir": str(work_dir),
            "experiment_name": f"{work_dir.parent.name}_{work_dir.name}",
        }
    )
    forget_random_state()
    runner = Runner.from_cfg(cfg)
    writes = type("Both", (Writes, Hook), {})()
    writes.run.runner = runner
    runner.register_hook(writes)
    runner.train()
    return finish(writes.run)


def run_ours(path: Path, overrides: Mapping[str, Any], work_dir: Path, numbers: str | None = None) -> Run:
    """Train here, by what `seg train` calls; `numbers` is the stream, by default that of the engine installed."""
    configs()
    from seg_engine.launch import make_runner, read_config

    cfg = read_config(path)
    cfg.merge_from_dict(
        {**copy.deepcopy(dict(overrides)), "work_dir": str(work_dir), "randomness.stream": numbers or stream()}
    )
    forget_random_state()
    runner = make_runner(cfg)
    writes = Writes()
    writes.run.runner = runner
    runner.register_hook(writes)
    runner.train()
    return finish(writes.run)


def forget_random_state() -> None:
    """Leave no state that the run before has left: what an engine does not seed itself then differs, and fails."""
    seed = random.SystemRandom().randrange(2**31)
    random.seed(seed)
    torch.manual_seed(seed)


def compare(ours: Run, theirs: Run, steps: int = STEPS) -> None:
    """Fail where one bit differs."""
    assert len(ours.losses) == steps
    assert ours.losses == theirs.losses
    assert ours.rates == theirs.rates
    assert ours.norms == theirs.norms
    assert ours.metrics == theirs.metrics
    assert ours.metrics
    for mine, other in ((ours.weights, theirs.weights), (ours.averaged, theirs.averaged)):
        assert list(mine) == list(other)
        assert [name for name, value in mine.items() if not torch.equal(value, other[name])] == []


# -- what a config is given -------------------------------------------------------------------------------------------


def overrides_of(path: Path, root: Path, size: int, more: Mapping[str, Any]) -> Overrides:
    """Return what makes a config tiny: data root, crop and scale, batch size, workers, iterations.

    Args:
        path: The config.
        root: The data set on disk.
        size: Sides of the crop, and the shorter side that images are scaled to.
        more: Overrides of this config.
    """
    configs()
    from mmengine.config import Config

    cfg = Config.fromfile(str(path)).to_dict()
    found: Overrides = {}
    for key, value in walk(cfg, ""):
        if (new := small_value(key, value, root, size)) is not UNCHANGED:
            found[key] = new
    for loader in ("train_dataloader", "val_dataloader"):
        found |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    found |= {
        "train_dataloader.batch_size": 2,
        "train_cfg.max_iters": STEPS,
        "train_cfg.val_interval": STEPS,
        "default_hooks.checkpoint.interval": STEPS,
        "randomness.seed": 7,
        "log_level": "ERROR",
    }
    return {**found, **more}


def small_value(key: str, value: Any, root: Path, size: int) -> Any:
    """Return the small value of a setting, or `UNCHANGED`; where weights were to be downloaded, None."""
    part, last = key.split(".", 1)[0], key.rsplit(".", 1)[-1]
    sides = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int) for one in value)
    if last == "pretrained" or (isinstance(value, Mapping) and value.get("type") == "Pretrained"):
        return None
    if last == "data_root" and part in ("train_dataloader", "val_dataloader"):
        return str(root)
    if part == "model":
        square, stride = (size, size), (2 * size // 3, 2 * size // 3)
        known = {"crop_size": square, "stride": stride, "size": square, "img_size": square}
        return known.get(last, UNCHANGED) if sides and ("backbone" not in key or last == "img_size") else UNCHANGED
    if part in ("train_dataloader", "val_dataloader") and sides and last in ("crop_size", "size", "scale"):
        return (4 * size, size) if last == "scale" else (size, size)
    return 4 * size if last == "max_size" else UNCHANGED


def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield every setting of a config with its dotted key; nothing inside of what is downloaded."""
    yield key, value
    if isinstance(value, Mapping) and value.get("type") == "Pretrained":
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield from walk(one, f"{key}.{name}" if key else str(name))
