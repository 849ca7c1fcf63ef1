"""What a config can ask of a run (workers, loops, accumulation, averages, resume, ...), on a few cheap families."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

for package in ("mmengine", "mmcv", "mmseg", "seg_engine"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from parity.families.catalogue import FAMILIES  # noqa: E402
from parity.families.layouts import make_data  # noqa: E402
from parity.families.side_by_side import (  # noqa: E402
    Run,
    compare,
    configs,
    overrides_of,
    run_ours,
    run_reference,
    stream,
)

pytestmark = pytest.mark.filterwarnings("ignore")

WORKERS = {
    f"{loader}_dataloader.{key}": value
    for loader in ("train", "val")
    for key, value in {"num_workers": 2, "persistent_workers": True}.items()
}
SCHEDULES = {
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3},
        {"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "by_epoch": False, "begin": 3, "end": 6},
        {"type": "CosineAnnealingMomentum", "T_max": 6, "by_epoch": False, "begin": 0, "end": 6},
    ]
}
EPOCHS = {
    "train_cfg": {"_delete_": True, "type": "EpochBasedTrainLoop", "max_epochs": 2, "val_interval": 1},
    "train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True},
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "end": 1, "convert_to_iter_based": True},
        {"type": "CosineAnnealingLR", "by_epoch": True, "begin": 1, "T_max": 1},
    ],
    "default_hooks.checkpoint": {"by_epoch": True, "interval": 1},
    "log_processor.by_epoch": True,
}
ACCUMULATION = {"optim_wrapper.accumulative_counts": 4}
CLIPPING = {"optim_wrapper.clip_grad": {"_delete_": True, "max_norm": 0.5}}
EMA = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.05, "begin_iter": 2}]}
VARIANTS: dict[str, dict[str, Any]] = {
    "two workers": WORKERS,
    "workers that end with a pass": {**WORKERS, "train_dataloader.persistent_workers": False},
    "epochs": EPOCHS,
    "epochs, two workers": {**EPOCHS, **WORKERS},
    "accumulation": ACCUMULATION,
    "clipping": CLIPPING,
    "clipping by value": {"optim_wrapper.clip_grad": {"_delete_": True, "type": "value", "clip_value": 0.01}},
    "averages": EMA,
    "momentum annealing": {"custom_hooks": [{"type": "EMAHook", "ema_type": "MomentumAnnealingEMA", "gamma": 10}]},
    "stochastic weight averages": {"custom_hooks": [{"type": "EMAHook", "ema_type": "StochasticWeightAverage"}]},
    "mixed precision": {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.dtype": "bfloat16"},
    "the other sampler": {"train_dataloader.sampler": {"type": "DefaultSampler", "shuffle": True}},
    "the data in their order": {"train_dataloader.sampler.shuffle": False},
    "several schedules": SCHEDULES,
    "validations in between": {"train_cfg.val_interval": 2, "train_cfg.val_begin": 3},
    "all at once": {**ACCUMULATION, **CLIPPING, **EMA, **SCHEDULES},
}
QUICK = ("two workers", "all at once")


def prepared(name: str, folder: Path, more: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return config and overrides of a family, with its data on disk."""
    family = FAMILIES[name]
    path = configs() / family.config
    root = make_data(family.layout, folder, family.ignored)
    return path, overrides_of(path, root, family.size, {**family.more, **more})


@pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=() if one in QUICK else pytest.mark.whole) for one in VARIANTS]
)
def test_a_variant_trains_and_validates_as_under_mmengine(variant: str, tmp_path: Path) -> None:
    path, overrides = prepared("ERFNet", tmp_path, VARIANTS[variant])
    theirs = run_reference(path, overrides, tmp_path / "theirs")
    compare(run_ours(path, overrides, tmp_path / "ours"), theirs, steps=8 if "epochs" in variant else 6)


@pytest.mark.whole
def test_averages_of_buffers_keep_whole_numbers(tmp_path: Path) -> None:
    buffers = {"custom_hooks": [{"type": "EMAHook", "update_buffers": True, "momentum": 0.05}]}
    path, overrides = prepared("ERFNet", tmp_path, buffers)
    theirs = run_reference(path, overrides, tmp_path / "theirs")
    ours = run_ours(path, overrides, tmp_path / "ours")
    counts = [name for name in ours.averaged if name.endswith("num_batches_tracked")]
    assert {int(ours.averaged.pop(name)) for name in counts} == {6}
    assert max(int(theirs.averaged.pop(name)) for name in counts) < 6
    compare(ours, theirs)


@pytest.mark.parametrize("name", ["ERFNet", pytest.param("SegNeXt", marks=pytest.mark.whole)])
def test_the_stream_of_the_other_engine_differs(name: str, tmp_path: Path) -> None:
    path, overrides = prepared(name, tmp_path, {})
    theirs = run_reference(path, overrides, tmp_path / "theirs")
    other = {"mmengine": "onedl", "onedl": "mmengine"}[stream()]
    ours = run_ours(path, overrides, tmp_path / "ours", other)
    assert ours.losses[0] != theirs.losses[0]
    assert ours.rates == theirs.rates


FIRST = {"train_cfg.max_iters": 3, "train_cfg.val_interval": 6, "default_hooks.checkpoint.interval": 3}
SECOND = {"default_hooks.checkpoint.interval": 3, "resume": True}
STATE: dict[str, Any] = {**CLIPPING, **EMA, **SCHEDULES}


@pytest.mark.whole
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_is_the_one_that_mmengine_resumes(workers: int, tmp_path: Path) -> None:
    """Each engine from its own file, then each from the other's: four times the same steps."""
    state = {**STATE, **(WORKERS if workers else {})}
    path, first = prepared("ERFNet", tmp_path, {**state, **FIRST})
    second = overrides_of(path, Path(first["val_dataloader.dataset.data_root"]), 64, {**state, **SECOND})
    engines = {"theirs": run_reference, "ours": run_ours}
    for name, run in engines.items():
        run(path, first, tmp_path / name)
    resumed: dict[str, Run] = {}
    for name, run in engines.items():
        for file in engines:
            more = {**second, "load_from": str(tmp_path / file / "iter_3.pth")}
            resumed[f"{name} from {file}"] = run(path, more, tmp_path / f"{name}_{file}")
    expected = resumed["theirs from theirs"]
    for name, run in resumed.items():
        assert len(run.losses) == 3, name
        compare(run, expected, steps=3)
