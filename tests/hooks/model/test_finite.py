"""Losses and weights that are not finite: told once, marked, never the best, never resumed from while others are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_hooks import CheckpointHook, EMAHook, LoggerHook, NanGuardHook, TrainState
from seg_hooks.model.finite import first_loss, not_finite, optimizer_not_finite

Make = Callable[..., TrainState]
KINDS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@given(
    st.sampled_from(KINDS),
    st.integers(1, 50),
    st.sampled_from([math.nan, math.inf]),
    st.data(),
)
def test_one_bad_number_is_found(kind: torch.dtype, size: int, bad: float, data: st.DataObject) -> None:
    tensor = torch.full((size,), 3e4, dtype=kind)
    assert not_finite({"state_dict": {"w": tensor}}) == []
    tensor[data.draw(st.integers(0, size - 1))] = bad
    assert not_finite({"state_dict": {"w": tensor, "other": torch.ones(2)}}) == ["w"]
    assert not_finite({"state_dict": {"a": torch.ones(2)}, "ema_state_dict": {"module.w": tensor}}) == ["module.w"]


def test_what_is_no_fault() -> None:
    large = torch.full((1000,), 3e38)  # whose sum is infinite
    mask = torch.full((2, 2), -math.inf).triu(1)
    weights = {"large": large, "mask": mask, "count": torch.tensor(3), "none": torch.empty(0), "version": 3}
    assert not_finite({"state_dict": weights}) == []
    assert not_finite({"state_dict": None}) == not_finite({}) == []


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(20, 100))
def test_the_first_step_is_named(good: list[bool], step: int) -> None:
    values = [1.0 if fine else math.nan for fine in good]
    found = first_loss({"loss": values, "fine": [1.0]}, step)
    assert found == (None if all(good) else (step - len(good) + 1 + good.index(False), ["loss"]))


def spoil(state: TrainState, at: int, value: float = math.nan, every: int = 0) -> None:
    """Train; from step `at` on one loss term and the weights are not finite."""
    with state:
        for _ in state.batches([torch.zeros(1)] * 10):
            bad = state.iter + 1 >= at
            if bad:
                with torch.no_grad():
                    next(state.model.parameters()).fill_(value)
            aux = torch.tensor(value if bad else 1.0)
            state.after_step(loss=aux + 1, loss_ce=torch.tensor(1.0), loss_aux=aux)
            if every and state.every(every):
                state.validated({"mIoU": 0.5 + state.iter / 100})


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.parametrize("hooks", [[], [LoggerHook(interval=5)]])
def test_one_warning_names_the_first_step_and_the_term(
    make_state: Make, capsys: pytest.CaptureFixture[str], hooks: list[Any]
) -> None:
    """At a log point, or at a save where nothing logs."""
    spoil(make_state([*hooks, CheckpointHook(interval=5, by_epoch=False)], 20), at=7)
    out = capsys.readouterr().out
    assert out.count("is not finite, for the first time") == 1
    assert "iteration 7: loss, loss_aux is not finite" in out


def test_a_first_step_that_is_no_longer_known_is_said_so(make_state: Make, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(make_state([LoggerHook(interval=150)], 150), at=7)
    assert "iteration 51 or before: loss, loss_aux is not finite" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [-1, 1, 2])
def test_a_spoilt_checkpoint_is_marked_and_takes_no_good_ones_place(
    make_state: Make, tmp_path: Path, keep: int
) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"save_best": "mIoU", "published_keys": "state_dict", "max_keep_ckpts": keep}
    hook = CheckpointHook(interval=2, by_epoch=False, **options)
    spoil(make_state([hook], 10), at=5, every=2)
    assert load(out / "iter_4.pth")["meta"]["not_finite"] == []
    assert load(out / "iter_10.pth")["meta"]["not_finite"] == ["0.weight"]
    assert Path((out / "last_checkpoint").read_text()).name == "iter_4.pth"
    assert [path.name for path in out.glob("best_*") if "-" not in path.name] == ["best_mIoU_iter_4.pth"]
    assert all(not not_finite(load(path)) for path in out.glob("*-*.pth"))  # what was published
    assert len(list(out.glob("*-*.pth"))) == 2
    assert len([path for path in out.glob("iter_*.pth") if "-" not in path.name]) == {-1: 5, 1: 2, 2: 4}[keep]

    state = make_state([hook], 10)
    assert state.resume() == out / "iter_4.pth"


def test_files_from_before_have_no_mark_and_are_looked_at(make_state: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    spoil(make_state([CheckpointHook(interval=2, by_epoch=False)], 6), at=5)
    for path in out.glob("iter_*.pth"):
        content = load(path)
        del content["meta"]["not_finite"]
        torch.save(content, path)
    (out / "last_checkpoint").write_text("iter_6.pth")
    assert make_state([], 10).resume() == out / "iter_4.pth"


def test_where_no_good_one_is_left_the_newest_goes_on_with_a_warning(
    make_state: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(make_state([CheckpointHook(interval=2, by_epoch=False, save_best="mIoU")], 4), at=1, every=2)
    assert Path((tmp_path / "out" / "last_checkpoint").read_text()).name == "iter_4.pth"
    assert not list((tmp_path / "out").glob("best_*"))
    assert make_state([], 10).resume() == tmp_path / "out" / "iter_4.pth"
    assert "contains weights that are not finite" in capsys.readouterr().out


def test_an_average_of_spoilt_weights_is_marked_too(make_state: Make, tmp_path: Path) -> None:
    """The raw weights may have recovered; the average has not."""
    state = make_state([EMAHook(momentum=0.5), CheckpointHook(interval=1, by_epoch=False)], 3)
    with state:
        for _ in state.batches([torch.zeros(1)] * 3):
            with torch.no_grad():
                next(state.model.parameters()).fill_(math.nan if state.iter == 1 else 1.0)
            state.after_step(loss=1.0)
    marks = [load(tmp_path / "out" / f"iter_{n}.pth")["meta"]["not_finite"] for n in (1, 2, 3)]
    assert marks == [[], ["0.weight", "module.0.weight"], ["0.weight"]]


@pytest.mark.parametrize(("score", "rule"), [(math.nan, "greater"), (math.inf, "greater"), (-math.inf, "less")])
def test_a_metric_that_is_not_finite_is_never_the_best(
    make_state: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], score: float, rule: str
) -> None:
    scores = iter([score, 0.5, score])
    state = make_state([CheckpointHook(interval=-1, by_epoch=False, save_best="mIoU", rule=rule)], 3)
    with state:
        for _ in state.batches([torch.zeros(1)] * 3):
            state.after_step(loss=1.0)
            if state.every(1):
                state.validated({"mIoU": next(scores)})
    assert [path.name for path in (tmp_path / "out").glob("best_*")] == ["best_mIoU_iter_2.pth"]
    assert f"mIoU is {score} at 1, so this checkpoint cannot be the best" in capsys.readouterr().out


def test_the_guard_stops_before_a_spoilt_file(make_state: Make, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="iteration 5: loss"):
        spoil(make_state([NanGuardHook(), CheckpointHook(interval=1, by_epoch=False)], 10), at=5)
    marks = [load(path)["meta"]["not_finite"] for path in (tmp_path / "out").glob("iter_*.pth")]
    assert marks == [[]] * 4


def test_an_optimizer_that_is_not_finite_is_told_and_its_file_goes_on(
    make_state: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An infinite `exp_avg_sq` ends the learning of a parameter whose weights stay finite."""
    state = make_state([CheckpointHook(interval=1, by_epoch=False)], 2)
    with state:
        for batch in state.batches([torch.ones(4, 4)] * 2):
            state.model(batch).square().mean().backward()
            state.optimizer.step()
            if state.iter == 1:
                state.optimizer.state[state.model[3].bias]["exp_avg_sq"].fill_(math.inf)
            state.after_step(loss=1.0)
    out = capsys.readouterr().out
    assert out.count("the optimizer's state is not finite") == 1
    assert "iter_2.pth: the optimizer's state is not finite (exp_avg_sq of parameter 5)" in out
    meta = load(tmp_path / "out" / "iter_2.pth")["meta"]
    assert (meta["not_finite"], meta["optimizer_not_finite"]) == ([], ["exp_avg_sq of parameter 5"])
    assert make_state([], 4).resume() == tmp_path / "out" / "iter_2.pth"


def test_the_state_of_several_optimizers_is_looked_at() -> None:
    state = {"state": {0: {"exp_avg": torch.tensor([math.nan]), "step": torch.tensor(1.0)}}, "param_groups": []}
    good = {"state": {0: {"exp_avg": torch.ones(1), "momentum_buffer": None}}, "param_groups": []}
    assert optimizer_not_finite({"optimizer": {"g": good, "d": state}}) == ["exp_avg of parameter 0 of d"]
    assert optimizer_not_finite({"optimizer": good}) == optimizer_not_finite({}) == []
    assert optimizer_not_finite({"optimizer": {"base_param_settings": None, "state": None}}) == []
