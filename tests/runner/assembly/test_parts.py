"""`Runner.from_cfg` with a builder that a test made up: default hooks, what is absent, what is asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, Runner
from seg_runner.assembly.arguments import experiment_name
from seg_runner.assembly.fallback import FallbackOptimWrapper
from seg_runner.assembly.from_config import arguments_of
from seg_runner.assembly.parts import ready_schedulers, ready_wrapper
from seg_runner.data.samplers import DefaultSampler, InfiniteSampler
from torch import nn


class Net(nn.Module):
    """Has steps of its own, as MMSegmentation's models have."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 1)
        self.initialised = 0

    def init_weights(self) -> None:
        self.initialised += 1

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        with optim_wrapper.optim_context(self):
            loss = self.body(torch.stack(data["image"])).square().mean()
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}

    def val_step(self, data: Any) -> list[int]:
        return [1] * len(data["image"])


class Images:
    """Plain images; says when it is made."""

    made = 0

    def __init__(self) -> None:
        Images.made += 1

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.full((3, 2, 2), float(index))}


class Counts:
    """A metric by shape."""

    def process(self, data_batch: Any, data_samples: Any) -> None: ...

    def evaluate(self, size: int) -> dict[str, float]:
        return {"count": float(size)}


class Constructor:
    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any) -> None:
        self.cfg = dict(optim_wrapper_cfg["optimizer"])

    def __call__(self, model: nn.Module) -> FallbackOptimWrapper:
        kind = self.cfg.pop("type")
        return FallbackOptimWrapper(kind(model.parameters(), **self.cfg))


class Hooked:
    """A hook of some name."""

    priority = "NORMAL"

    def __init__(self, **given: Any) -> None:
        self.given = given

    def before_run(self, runner: Any) -> None: ...


class LoggerHook(Hooked):
    """Stands for the real one."""

    priority = "BELOW_NORMAL"


class Builder:
    """A table of names; those of hooks are mostly absent, as without seg-hooks."""

    def __init__(self, **more: Any) -> None:
        self.names: dict[str, Any] = {
            "Net": Net,
            "Images": Images,
            "Counts": Counts,
            "DefaultSampler": DefaultSampler,
            "InfiniteSampler": InfiniteSampler,
            "DefaultOptimWrapperConstructor": Constructor,
            "OptimWrapper": FallbackOptimWrapper,
            "SGD": torch.optim.SGD,
            "LoggerHook": LoggerHook,
            **more,
        }

    def get(self, kind: str, name: str) -> Any:
        if name not in self.names:
            raise KeyError(f"no {kind} is called {name!r}")
        return self.names[name]

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: Any) -> Any:
        own = {**defaults, **cfg}
        name = own.pop("type")
        return (self.get(kind, name) if isinstance(name, str) else name)(**own)


def config(tmp_path: Path, **changed: Any) -> dict[str, Any]:
    loader = {"batch_size": 2, "num_workers": 0, "dataset": {"type": "Images"}}
    return {
        "model": {"type": "Net"},
        "work_dir": str(tmp_path / "out"),
        "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler"}},
        "train_cfg": {"by_epoch": False, "max_iters": 4, "val_interval": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "val_cfg": {},
        "val_evaluator": {"type": "Counts"},
        "dataset_type": "left alone",
        **changed,
    }


def log_of(runner: Runner) -> str:
    return (runner.log_dir / f"{runner.timestamp}.log").read_text()


def names(runner: Runner) -> list[str]:
    return [type(hook).__name__ for hook in runner.hooks]


def test_a_whole_config_runs(tmp_path: Path) -> None:
    runner = Runner.from_cfg(config(tmp_path), Builder())
    model = runner.train()
    assert runner.iter == 4
    assert model.initialised == 1
    assert runner.val()["count"] == 8.0
    assert [path.name for path in runner.work_dir.glob("*.pth")] == ["iter_4.pth"]


def test_default_hooks_that_are_not_installed_are_named_once_and_stood_in_for(tmp_path: Path) -> None:
    runner = Runner.from_cfg(config(tmp_path), Builder())
    text = log_of(runner)
    for hook in ("RuntimeInfoHook", "IterTimerHook", "ParamSchedulerHook", "CheckpointHook", "DistSamplerSeedHook"):
        assert text.count(f"{hook} is not installed") == 1
    fallbacks = {f"Fallback{name}Hook" for name in ("RuntimeInfo", "IterTimer", "ParamScheduler", "Checkpoint")}
    assert set(names(runner)) == {*fallbacks, "LoggerHook"}


def test_a_default_hook_that_the_config_names_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="CheckpointHook"):
        Runner.from_cfg(config(tmp_path, default_hooks={"checkpoint": {"type": "CheckpointHook"}}), Builder())


def test_default_hooks_are_replaced_added_and_left_out(tmp_path: Path) -> None:
    hooks = {"logger": None, "checkpoint": None, "visualization": {"type": Hooked, "draw": True}}
    runner = Runner.from_cfg(config(tmp_path, default_hooks=hooks, custom_hooks=[{"type": Hooked}]), Builder())
    assert names(runner).count("Hooked") == 2
    assert not {"LoggerHook", "FallbackLoggerHook", "FallbackCheckpointHook"} & set(names(runner))


def test_another_priority_of_a_default_hook_is_said(tmp_path: Path) -> None:
    hooks = {"logger": {"type": "LoggerHook", "priority": "LOWEST"}}
    assert "default_hooks.logger has priority LOWEST instead of BELOW_NORMAL" in log_of(
        Runner.from_cfg(config(tmp_path, default_hooks=hooks), Builder())
    )


def test_nothing_is_built_before_it_is_needed(tmp_path: Path) -> None:
    Images.made = 0
    runner = Runner.from_cfg(config(tmp_path), Builder())
    assert (runner.iter, runner.max_iters, runner.train_loop, runner.train_dataloader) == (0, 0, None, None)
    assert Images.made == 0
    runner.val()
    assert Images.made == 1


def test_the_config_stays_as_it_was_and_may_be_changed_later(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    before = repr(cfg)
    runner = Runner.from_cfg(cfg, Builder())
    cfg["train_cfg"]["max_iters"] = 1
    runner.train()
    assert runner.iter == 4
    cfg["train_cfg"]["max_iters"] = 4
    assert repr(cfg) == before


def test_runner_type_names_another_class(tmp_path: Path) -> None:
    class Mine(Runner):
        """Somebody's own."""

    builder = Builder(Mine=Mine)
    assert isinstance(Runner.from_cfg(config(tmp_path, runner_type="Mine"), builder), Mine)


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"model": None}, KeyError, "has no 'model'"),
        ({"work_dir": None}, KeyError, "--work-dir sets it"),
        ({"val_cfg": None}, ValueError, "val_dataloader but no val_cfg"),
        ({"model": 3}, TypeError, r"model must be a torch.nn.Module or a dict, not int"),
    ],
)
def test_wrong_configs(tmp_path: Path, changed: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Runner.from_cfg(config(tmp_path, **changed), Builder())


def test_only_the_runners_own_keys_are_taken(tmp_path: Path) -> None:
    found = arguments_of(config(tmp_path))
    assert "dataset_type" not in found
    assert {"model", "work_dir", "train_cfg"} <= set(found)


def test_names_of_experiments() -> None:
    class Config:
        filename = "configs/fcn.py"

    assert experiment_name(None, Config(), "now") == "fcn_now"
    assert experiment_name("mine", Config(), "now") == "mine_now"
    assert experiment_name(None, None, "now") == "now"


def test_objects_are_told_from_configs() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    assert isinstance(ready_wrapper(optimizer), FallbackOptimWrapper)
    assert ready_wrapper({"optimizer": {}}) is None
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert ready_schedulers(schedule) == [schedule]
    assert ready_schedulers([schedule, {"type": "PolyLR"}]) is None
    assert ready_schedulers(None) == []


def test_scaled_rates(tmp_path: Path) -> None:
    cfg = config(tmp_path, auto_scale_lr={"enable": True, "base_batch_size": 4})
    runner = Runner.from_cfg(cfg, Builder())
    runner.train()
    assert runner.optim_wrapper.get_lr() == {"lr": [0.05]}


def test_the_loss_of_a_set_alone_may_be_measured(tmp_path: Path) -> None:
    class Losses(Net):
        def batch_losses(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"loss": torch.tensor(2.0)}

    runner = Runner.from_cfg(
        config(tmp_path, model={"type": Losses}, val_evaluator=None, val_cfg={"loss": True}), Builder()
    )
    assert runner.val() == {"val_loss": 2.0}


def test_metrics_of_ours_fit_too(tmp_path: Path) -> None:
    runner = Runner.from_cfg(config(tmp_path, val_evaluator=IoUMetric(num_classes=2)), Builder())
    assert runner.arguments["val_evaluator"].iou_metrics == ["mIoU"]


def test_a_stream_that_does_not_resume_exactly_is_said_at_the_start(make_runner, capsys):
    make_runner(randomness={"seed": 0, "stream": "mmengine"})
    assert "a resumed run is not the same run bit for bit" in capsys.readouterr().out
    make_runner()
    assert "bit for bit" not in capsys.readouterr().out
