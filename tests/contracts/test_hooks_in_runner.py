"""Hooks with state or with a say over the update, in the runner and round the optimizer wrapper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import config, model_cfg
from seg_hooks import EMAHook
from seg_registry import Config
from seg_runner import Runner, find_resumable
from seg_runner.assembly.from_config import arguments_of
from torch import nn


class Poisoned(nn.Module):
    """A model whose loss is not finite at some of its training steps."""

    def __init__(self, inner: nn.Module, bad: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.bad, self.steps = inner, bad, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.inner(image)
        if self.training:
            self.steps += 1
            if self.steps - 1 in self.bad:
                return logits * float("nan")
        return logits  # type: ignore[no-any-return]


def poisoned(work_dir: Path, bad: tuple[int, ...], **guard: Any) -> Runner:
    model = model_cfg()
    model["model"] = Poisoned(model["model"], bad)
    hooks = [{"type": "EMAHook", "momentum": 0.1}, {"type": "NanGuardHook", **guard}]
    changes = {"model": model, "custom_hooks": hooks, "skip_checks": True}
    return Runner.from_cfg(config(work_dir, **changes))


def finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


def test_a_loss_that_is_not_finite_stops_the_run_with_its_samples(tmp_path: Path) -> None:
    runner = poisoned(tmp_path, (4,))
    with pytest.raises(FloatingPointError, match=r"iteration 5: .*loss"):
        runner.train()
    report = json.loads((tmp_path / "nan/iter_5/report.json").read_text())
    assert len(report["samples"]) == 4
    assert all(name.startswith("square_") for name in report["samples"])
    saved = torch.load(tmp_path / (tmp_path / "last_checkpoint").read_text(), weights_only=True)
    assert saved["meta"]["iter"] == 3


def test_a_skipped_update_leaves_weights_average_and_buffers_finite(tmp_path: Path) -> None:
    runner = poisoned(tmp_path, (1, 4), policy="skip")
    runner.train()
    assert runner.iter == 6
    assert finite(runner.model)
    assert finite(next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model)
    assert (tmp_path / "nan/iter_2/bundle.pt").exists()


def test_rolling_back_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    runner = poisoned(tmp_path, (4,), policy="rollback")
    runner.train()
    assert runner.iter == 6
    assert finite(runner.model)
    assert finite(next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model)
    last = torch.load(tmp_path / "iter_6.pth", weights_only=True)
    steps = [float(entry["step"]) for entry in last["optimizer"]["state"].values()]
    assert set(steps) == {4.0}  # three of the checkpoint, none of the bad one, one after it


class Interrupt:
    """Ends a run from outside at some step, as a kill would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner: Any) -> None:
        if runner.iter == self.at:
            raise KeyboardInterrupt


def stopping(work_dir: Path, **changes: Any) -> Runner:
    hooks = [
        {"type": "EarlyStoppingHook", "monitor": "mIoU", "rule": "less", "patience": 3, "min_delta": 0.0},
        {"type": "EMAHook", "momentum": 0.5},
    ]
    torch.manual_seed(0)  # the config holds a ready model, made here
    cfg = config(work_dir, custom_hooks=hooks, **changes)
    cfg["train_cfg"] = {"type": "IterBasedTrainLoop", "max_iters": 40, "val_interval": 4}
    cfg["default_hooks"]["checkpoint"].update(interval=2, max_keep_ckpts=2)
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize("at", [9, 12])
def test_early_stopping_and_the_best_are_the_same_after_a_kill_and_a_resume(tmp_path: Path, at: int) -> None:
    whole = stopping(tmp_path / "whole")
    whole.train()
    assert 8 < whole.iter < 40
    first = stopping(tmp_path / "parts")
    first.register_hook(Interrupt(at))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = stopping(tmp_path / "parts", resume=True)
    second.train()
    assert second.iter == whole.iter
    states = [
        {type(hook).__name__: hook.state_dict() for hook in run.hooks if hasattr(hook, "state_dict")}
        for run in (whole, second)
    ]
    assert states[0]["EarlyStoppingHook"] == states[1]["EarlyStoppingHook"]
    assert states[0]["CheckpointHook"] == states[1]["CheckpointHook"]
    names = [sorted(path.name for path in (tmp_path / part).glob("*.pth")) for part in ("whole", "parts")]
    assert names[0] == names[1]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_an_early_stop_saves_the_last(tmp_path: Path) -> None:
    runner = stopping(tmp_path)
    runner.train()
    assert Path((tmp_path / "last_checkpoint").read_text()).name == f"iter_{runner.iter}.pth"


def test_evaluating_after_training_uses_the_average(tmp_path: Path) -> None:
    runner = stopping(tmp_path)
    runner.train()
    lines = (Path(runner.log_dir) / "vis_data/scalars.json").read_text().splitlines()
    last = [json.loads(line) for line in lines if '"mIoU"' in line][-1]
    assert runner.val()["mIoU"] == pytest.approx(last["mIoU"], abs=0.01)
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module
    assert not torch.equal(average.model.head.weight, runner.model.model.head.weight)


def test_an_exception_in_validation_gives_the_raw_weights_back(tmp_path: Path) -> None:
    raw: dict[str, torch.Tensor] = {}

    class Fail:
        def before_val(self, runner: Any) -> None:
            raw.update({name: value.clone() for name, value in runner.model.state_dict().items()})

        def after_val_iter(self, runner: Any) -> None:
            raise RuntimeError("no")

    runner = stopping(tmp_path)
    runner.register_hook(Fail())
    with pytest.raises(RuntimeError, match="no"):
        runner.train()
    assert all(torch.equal(value, raw[name]) for name, value in runner.model.state_dict().items())
    saved = torch.load(next(tmp_path.glob("interrupted*.pth")), weights_only=True)
    kept = saved["ema_state_dict"]
    assert all(torch.equal(value, kept[f"module.{name}"]) for name, value in raw.items())
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module
    assert torch.equal(average.model.head.weight, saved["state_dict"]["head.weight"])
    assert not torch.equal(average.model.head.weight, raw["head.weight"])


def test_an_exception_in_val_alone_gives_the_raw_weights_back(tmp_path: Path) -> None:
    class Fail:
        broken = False

        def after_val_iter(self, runner: Any) -> None:
            if self.broken:
                raise RuntimeError("no")

    runner, fail = stopping(tmp_path), Fail()
    runner.register_hook(fail)
    runner.train()
    raw = {name: value.clone() for name, value in runner.model.state_dict().items()}
    fail.broken = True
    with pytest.raises(RuntimeError, match="no"):
        runner.val()
    assert all(torch.equal(value, raw[name]) for name, value in runner.model.state_dict().items())


def test_hooks_hear_of_a_run_that_breaks_off_and_cannot_hide_why(tmp_path: Path) -> None:
    class Hears:
        heard = 0

        def before_train_iter(self, runner: Any) -> None:
            if runner.iter == 3:
                raise LookupError("the first error")

        def on_exception(self, runner: Any) -> None:
            self.heard += 1
            raise OSError("a second one")

    runner, hook = stopping(tmp_path), Hears()
    runner.register_hook(hook)
    with pytest.raises(LookupError, match="the first error") as caught:
        runner.train()
    assert hook.heard == 1
    assert any("a second one" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("by_epoch", [False, True])
def test_the_last_steps_before_an_early_stop_are_logged(tmp_path: Path, by_epoch: bool) -> None:
    hooks = [{"type": "EarlyStoppingHook", "monitor": "mIoU", "stopping_threshold": 0.0}]
    cfg = config(tmp_path, custom_hooks=hooks)
    if by_epoch:  # three batches an epoch
        cfg["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": 4}
        cfg["log_processor"] = {"by_epoch": True}
    else:
        cfg["train_cfg"] = {"type": "IterBasedTrainLoop", "max_iters": 40, "val_interval": 3}
    cfg["default_hooks"]["logger"] = {"type": "LoggerHook", "interval": 2}
    cfg["default_hooks"]["checkpoint"] = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 3
    lines = (Path(runner.log_dir) / "vis_data/scalars.json").read_text().splitlines()
    records = [one for one in map(json.loads, lines) if one["mode"] == "train"]
    assert [one["iter"] for one in records] == [2, 3]
    assert records[-1]["epoch"] == int(by_epoch)
    text = next(Path(runner.log_dir).glob("*.log")).read_text()
    assert ("Epoch(train) [1][3/3]" if by_epoch else "Iter(train) [ 3/40]") in text


def test_a_run_that_had_stopped_early_stops_at_once_when_resumed(tmp_path: Path) -> None:
    first = stopping(tmp_path)
    first.train()
    again = stopping(tmp_path, resume=True)
    again.train()
    assert again.iter == first.iter < 40


def test_the_error_of_a_hook_names_the_line_of_the_config(tmp_path: Path) -> None:
    file = tmp_path / "hooks.py"
    file.write_text("custom_hooks = [\n    dict(type='EMAHook'),\n    dict(type='NanGuardHook'),\n]\n")
    model = model_cfg()
    model["model"] = Poisoned(model["model"], (1,))
    cfg = Config.fromfile(file)
    given = config(tmp_path / "out", model=model, skip_checks=True, custom_hooks=cfg.custom_hooks)
    with pytest.raises(FloatingPointError) as caught:
        Runner(**arguments_of(given), cfg=cfg).train()
    assert any(note.startswith(f"in hook NanGuardHook ({file}:3), point ") for note in caught.value.__notes__)


class Spoils:
    """Makes the weights NaN from step 5 on, as a rate that is too high does."""

    priority = "VERY_HIGH"

    def after_train_iter(self, runner: Any) -> None:
        if runner.iter + 1 >= 5:
            with torch.no_grad():
                next(runner.model.parameters()).fill_(float("nan"))


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_spoilt_weights_push_no_good_file_out(tmp_path: Path, asynchronous: bool, average: bool) -> None:
    saves = {"type": "CheckpointHook", "interval": 1, "by_epoch": False, "max_keep_ckpts": 1, "save_best": "mIoU"}
    hooks = [{"type": "EMAHook", "momentum": 0.1}] if average else []
    changes: dict[str, Any] = {"default_hooks": {"checkpoint": saves}, "checkpoint": {"async_save": asynchronous}}
    runner = Runner.from_cfg(config(tmp_path, custom_hooks=hooks, skip_checks=True, **changes))
    runner.register_hook(Spoils())
    runner.train()
    assert Path((tmp_path / "last_checkpoint").read_text()).name == "iter_4.pth"
    assert find_resumable(tmp_path) == tmp_path / "iter_4.pth"
    best = torch.load(next(tmp_path.glob("best_*")), weights_only=True)
    assert best["meta"]["iter"] < 5
    last = torch.load(tmp_path / f"iter_{runner.max_iters}.pth", weights_only=True)
    assert last["meta"]["not_finite"]
    assert len(list(tmp_path.glob("iter_*.pth"))) == 2  # the newest good one, and the newest one
