from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, EMAHook, NanGuardHook, TrainState
from seg_hooks.hooks.nan_guard import verdict
from seg_hooks.hooks.nan_replay import optimizers_of, sample_names
from torch import nn

Make = Callable[..., TrainState]


def train(state: TrainState, bad: tuple[int, ...] = (), poison: str = "loss") -> None:
    """Ten samples a pass; the loss or one gradient of the steps in `bad` is not finite."""
    loader = [{"inputs": torch.randn(4, 4), "img_path": [f"img_{index}.png"] * 4} for index in range(10)]
    with state:
        for batch in state.batches(loader):
            loss = state.model(batch["inputs"]).square().mean()
            if state.iter in bad and poison == "loss":
                loss = loss * float("nan")
            loss.backward()
            if state.iter in bad and poison == "grad":
                next(state.model.parameters()).grad[0, 0] = float("inf")
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.after_step(loss=loss)


def finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@pytest.mark.parametrize("poison", ["loss", "grad"])
def test_it_stops_says_why_and_keeps_the_evidence(make_state: Make, poison: str) -> None:
    state = make_state([NanGuardHook(keep_batch=True)], max_iters=20)
    with pytest.raises(FloatingPointError, match="iteration 6: ") as caught:
        train(state, bad=(5,), poison=poison)
    text = str(caught.value)
    assert ("loss is not finite" if poison == "loss" else "the gradient (norm inf)") in text
    assert "Samples: img_5.png." in text
    folder = state.work_dir / "nan/iter_6"
    report = json.loads((folder / "report.json").read_text())
    assert report["samples"] == ["img_5.png"]
    assert report["iter"] == 5
    assert report["replay"] in text
    assert report["replay"].startswith(f"SEG_NAN_REPLAY={shlex.quote(str(folder.resolve() / 'bundle.pt'))} ")
    bundle = torch.load(folder / "bundle.pt", weights_only=True)
    assert bundle["batch"]["inputs"].shape == (4, 4)
    assert set(bundle["random"]) >= {"python", "torch"}


def test_spoilt_weights_are_never_saved(make_state: Make) -> None:
    state = make_state([NanGuardHook(delay=100), CheckpointHook(5, by_epoch=False)], max_iters=20)
    with pytest.raises(FloatingPointError):
        train(state, bad=(7,))
    assert sorted(path.name for path in state.work_dir.glob("*.pth")) == ["iter_5.pth"]
    assert finite_file(state.work_dir / "iter_5.pth")


def finite_file(path: Path) -> bool:
    saved = torch.load(path, weights_only=True)
    return all(bool(torch.isfinite(value).all()) for value in saved["state_dict"].values())


@pytest.mark.parametrize("poison", ["loss", "grad"])
def test_a_skipped_step_leaves_weights_optimizer_and_buffers_as_they_were(make_state: Make, poison: str) -> None:
    state = make_state([NanGuardHook(policy="skip"), EMAHook()], max_iters=12)
    steps: list[float] = []

    class Note:
        def after_train_iter(self, runner: Any) -> None:
            steps.append(float(next(iter(state.optimizer.state.values()))["step"]))

    state = make_state([NanGuardHook(policy="skip"), EMAHook(), Note()], max_iters=12)
    train(state, bad=(5, 8), poison=poison)
    assert finite(state.model)
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10]


def test_buffers_that_a_bad_batch_spoilt_are_put_back(make_state: Make) -> None:
    state = make_state([NanGuardHook(policy="skip")], max_iters=4)
    with state:
        for index in range(4):
            state.points.fire("before_train_iter", state, batch_idx=index)
            batch = torch.full((4, 4), float("nan")) if index == 2 else torch.randn(4, 4)
            loss = state.model(batch).mean()
            loss.backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.after_step(loss=loss)
    assert finite(state.model)


class Centred(nn.Module):
    """Sets its buffers anew in each step, as `self.center = ...` does; one grows, one is None at first."""

    center: torch.Tensor
    seen: torch.Tensor
    last: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("center", torch.zeros(4))
        self.register_buffer("seen", torch.zeros(0))
        self.register_buffer("last", None)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(batch)
        self.center = self.center * 0.9 + out.detach().mean(0) * 0.1
        self.seen = torch.cat([self.seen, out.detach().mean().reshape(1)])
        self.last = out.detach().max().reshape(1)
        return out - self.center


@pytest.mark.parametrize("bad", [0, 2])
def test_buffers_that_the_model_sets_anew_are_put_back(make_state: Make, bad: int) -> None:
    state = make_state([NanGuardHook(policy="skip")], max_iters=4)
    model = Centred()
    state.model = model
    held: list[list[torch.Tensor | None]] = []
    with state:
        for index in range(4):
            held.append([None if each is None else each.clone() for each in (model.center, model.seen, model.last)])
            state.points.fire("before_train_iter", state, batch_idx=index)
            batch = torch.full((4, 4), float("nan")) if index == bad else torch.randn(4, 4)
            state.after_step(loss=model(batch).mean())
    after = held[bad + 1]
    for was, now in zip(held[bad], after, strict=True):
        assert (was is None and now is None) or (was is not None and now is not None and torch.equal(was, now))
    assert len(model.seen) == 3
    assert finite(model)


def test_more_bad_steps_in_a_row_than_allowed_stop(make_state: Make) -> None:
    train(make_state([NanGuardHook(policy="skip", max_times=2)], max_iters=20), bad=(3, 4, 8, 9))
    with pytest.raises(FloatingPointError, match="iteration 6"):
        train(make_state([NanGuardHook(policy="skip", max_times=2)], max_iters=20), bad=(3, 4, 5))


def test_rolling_back_takes_weights_optimizer_and_average_of_the_last_checkpoint(make_state: Make) -> None:
    ema = EMAHook(momentum=0.1)
    state = make_state([NanGuardHook(policy="rollback"), ema, CheckpointHook(3, by_epoch=False)], max_iters=10)
    train(state, bad=(7,))
    assert state.iter == 10
    assert finite(state.model)
    assert finite(ema.ema_model.module)
    assert finite_file(state.work_dir / "iter_10.pth")
    assert float(next(iter(state.optimizer.state.values()))["step"]) == 6 + 2


def test_rolling_back_needs_a_checkpoint(make_state: Make) -> None:
    with pytest.raises(FloatingPointError, match="no checkpoint yet"):
        train(make_state([NanGuardHook(policy="rollback")]), bad=(1,))


def test_rolling_back_never_takes_the_checkpoint_of_an_earlier_run_in_the_folder(make_state: Make) -> None:
    train(make_state([CheckpointHook(5, by_epoch=False)]))
    hooks = [NanGuardHook(policy="rollback"), CheckpointHook(5, by_epoch=False)]
    with pytest.raises(FloatingPointError, match="no checkpoint yet"):
        train(make_state(hooks, overwrite=True), bad=(2,))
    train(make_state([CheckpointHook(5, by_epoch=False)]))
    state = make_state([NanGuardHook(policy="rollback"), CheckpointHook(5, by_epoch=False)], max_iters=20)
    state.resume()
    train(state, bad=(12,))
    assert state.iter == 20


def test_a_checkpoint_that_cannot_be_read_ends_the_run_with_its_name(make_state: Make) -> None:
    state = make_state([NanGuardHook(policy="rollback"), CheckpointHook(3, by_epoch=False)])

    class Spoil:
        priority = "LOWEST"

        def after_train_iter(self, runner: Any) -> None:
            for path in state.work_dir.glob("iter_*.pth"):
                path.write_bytes(b"junk")

    state = make_state([NanGuardHook(policy="rollback"), CheckpointHook(3, by_epoch=False), Spoil()])
    with pytest.raises(FloatingPointError, match=r"cannot go back to .*before\.pth"):
        train(state, bad=(5,))


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_bad_batch_of_an_accumulated_update_costs_that_update_alone(
    make_state: Make, policy: str, scaled: bool
) -> None:
    """Three batches an update, with and without a loss scaler; the second batch of the third update is bad."""
    guard = NanGuardHook(policy=policy, max_times=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scaled)
    state = make_state([guard, EMAHook(), CheckpointHook(3, by_epoch=False)], max_iters=15, extra={"scaler": scaler})
    with state:
        for batch in state.batches([torch.randn(4, 4) for _ in range(5)]):
            loss = state.model(batch).square().mean()
            if state.iter == 7:
                loss = loss * float("nan")
            scaler.scale(loss / 3).backward()
            if (state.iter + 1) % 3 == 0:
                scaler.step(state.optimizer)
                scaler.update()
                state.optimizer.zero_grad()
            state.after_step(loss=loss)
    assert finite(state.model)
    assert finite_file(state.work_dir / "iter_15.pth")
    assert [path.name for path in (state.work_dir / "nan").iterdir()] == ["iter_8"]
    steps = float(next(iter(state.optimizer.state.values()))["step"])
    assert steps == (4 if policy == "skip" else 5)  # after going back, the last batch of the window makes an update


def test_a_scaler_that_steps_back_is_not_reported(make_state: Make) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    state = make_state([NanGuardHook()], max_iters=4, extra={"scaler": scaler})
    with state:
        for index in range(4):
            loss = state.model(torch.randn(4, 4)).square().mean()
            scaler.scale(loss).backward()
            if index == 2:
                next(state.model.parameters()).grad.fill_(float("inf"))
            scaler.step(state.optimizer)
            scaler.update()
            state.optimizer.zero_grad()
            state.after_step(loss=loss)
    assert scaler.get_scale() == 2.0
    assert float(next(iter(state.optimizer.state.values()))["step"]) == 3
    assert not (state.work_dir / "nan").exists()


def test_the_clip_norm_of_the_wrapper_is_used_where_it_makes_the_update(make_state: Make) -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    wrapper = SimpleNamespace(optimizer=optimizer, grad_norm=torch.tensor(float("nan")), update_params=None)
    guard = NanGuardHook(policy="skip")
    runner = SimpleNamespace(optim_wrapper=wrapper, iter=0, model=net, max_iters=1, work_dir="nowhere")
    guard.before_train(runner)
    before = net.weight.detach().clone()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(net.weight, before)
    guard.after_run(runner)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.weight, before)


def test_the_verdict_is_one_boolean() -> None:
    assert verdict({}, None) is None
    assert bool(verdict({"loss": torch.tensor(1.0), "loss_aux": torch.tensor(float("nan"))}, None))
    assert not bool(verdict({"loss_a": 1.0, "loss_b": float("inf"), "acc": 0.0}, None))
    assert not bool(verdict({"loss": 1.0}, torch.tensor(float("nan"))))


def test_names_of_samples_are_found_in_usual_places() -> None:
    class Sample:
        metainfo = {"img_path": "a.png", "flip": True}

    batch = {"inputs": torch.zeros(1), "data_samples": [Sample(), Sample()], "more": [{"id": torch.tensor([3, 4])}]}
    assert list(sample_names(batch)) == ["a.png", "a.png", "3", "4"]
    assert list(sample_names((torch.zeros(2, 3), None))) == []


def test_optimizers_are_found_behind_wrappers_and_dicts() -> None:
    one = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    wrapper = SimpleNamespace(optimizer=one)
    assert optimizers_of(wrapper) == [one]
    assert optimizers_of({"a": wrapper, "b": one}) == [one, one]
    assert optimizers_of(None) == []


REPLAYED = """
import sys, torch
from seg_hooks import CheckpointHook, LoggerHook, NanGuardHook, TrainState
from torch.utils.data import DataLoader, TensorDataset

class Poison(torch.nn.Module):
    def forward(self, x):
        return x / 0 * 0 if (x > 90).any() else x

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5), Poison(), torch.nn.Linear(2, 1))
with torch.no_grad():
    net[0].weight.copy_(torch.eye(2))
optimizer = torch.optim.SGD(net.parameters(), 1e-6)
data = torch.ones(20, 2)
data[11] = 99  # one sample of one batch, somewhere in a shuffled pass
loader = DataLoader(TensorDataset(data, torch.arange(20)), batch_size=2, shuffle=True)
guard = NanGuardHook(policy=sys.argv[2], keep_batch=True)
state = TrainState(net, optimizer, sys.argv[1], 14, hooks=[guard, LoggerHook(1), CheckpointHook(3, by_epoch=False)])
state.resume()
with state:
    for images, names in state.batches(loader):
        loss = net(images).mean()
        loss.backward(); optimizer.step(); optimizer.zero_grad()
        state.after_step(loss=loss)
print("finished", state.iter)
"""


def run(command: str | list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, shell=isinstance(command, str), capture_output=True, text=True, env=environment, check=False
    )


def stamps(folder: Path) -> dict[str, Any]:
    """What a run has saved: names, contents of the pointer, times."""
    files = [*folder.glob("*.pth"), folder / "last_checkpoint"]
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_the_printed_command_replays_the_step_and_changes_nothing(tmp_path: Path, policy: str) -> None:
    """The order is shuffled, the checkpoint lies within a pass, and with 'skip' the run has gone on and saved since."""
    script, out = tmp_path / "train.py", tmp_path / "out"
    script.write_text(textwrap.dedent(REPLAYED))
    first = run([sys.executable, "-W", "ignore", str(script), str(out), policy])
    assert ("FloatingPointError" in first.stderr) == (policy == "stop")
    assert ("finished 14" in first.stdout) == (policy == "skip")
    (folder,) = (path for path in (out / "nan").iterdir() if int(path.name.removeprefix("iter_")) <= 10)
    report = json.loads((folder / "report.json").read_text())
    before = stamps(out)
    second = run(report["replay"])
    assert f"Replayed iteration {report['iter'] + 1}. The random numbers at its start are those of" in second.stderr
    assert "The first module whose output is not finite: 2 (Poison)" in second.stderr
    assert "finished" not in second.stdout
    assert stamps(out) == before


def test_a_replay_of_something_else_is_an_error(make_state: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_state([NanGuardHook()])
    monkeypatch.setenv("SEG_NAN_REPLAY", str(state.work_dir / "bundle.pt"))
    with pytest.raises(ValueError, match=r"bundle\.pt' is not a bundle\.pt written by NanGuardHook"):
        state.resume()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"policy": "stopp"}, ValueError, "Did you mean 'stop'"),
        ({"max_times": 0}, ValueError, "max_times=0"),
        ({"check_gradients": 1}, TypeError, "check_gradients=1"),
        ({"delay": -1}, ValueError, "delay=-1"),
        ({"keep_batch": 1}, TypeError, "keep_batch=1"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        NanGuardHook(**options)
