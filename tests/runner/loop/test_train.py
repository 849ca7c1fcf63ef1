"""The loops: the order of points, counters, when validation runs, resuming in the middle, errors that say where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import IoUMetric, Runner
from seg_runner.loop.train import TrainLoop
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]
STEP = ["before_train_iter", "after_train_iter"]
BATCH = ["before_val_iter", "after_val_iter"]
VAL = ["before_val", "before_val_epoch", *BATCH * 3, "after_val_epoch", "after_val"]


def test_points_of_an_iteration_run(make_runner: MakeRunner, trace: Any) -> None:
    runner = make_runner(hooks=[trace], default_hooks={"checkpoint": None}, skip_checks=True)
    runner.train()
    expected = ["before_run", "before_train", "before_train_epoch", *STEP * 3, *VAL, *STEP * 3, *VAL]
    assert trace.names() == [*expected, "after_train_epoch", "after_train", "after_run"]


def test_points_and_counters_of_an_epoch_run(make_runner: MakeRunner, trace: Any) -> None:
    runner = make_runner(hooks=[trace], train_cfg={"max_epochs": 2}, default_hooks={"checkpoint": None})
    runner.train()
    epoch = ["before_train_epoch", *STEP * 3, "after_train_epoch", *VAL]
    assert trace.names() == ["before_run", "before_train", *epoch * 2, "after_train", "after_run"]
    counters = {(name, i, e) for name, i, e in trace.seen}
    assert ("after_train_iter", 2, 0) in counters
    assert ("after_train_epoch", 3, 0) in counters
    assert ("before_val", 3, 1) in counters
    assert (runner.iter, runner.epoch, runner.max_iters, runner.max_epochs) == (6, 2, 6, 2)


def test_inside_a_step_the_step_is_not_yet_counted_but_its_update_is_done(make_runner: MakeRunner) -> None:
    seen: list[tuple[int, int]] = []

    class Counts:
        def after_train_iter(self, runner: Any, batch_idx: int) -> None:
            seen.append((runner.iter, runner.finished_iters))
            assert batch_idx == runner.iter

    make_runner(hooks=[Counts()]).train()
    assert seen == [(i, i + 1) for i in range(6)]


def due(cfg: dict[str, Any], last: int) -> list[int]:
    """Counts at which validation runs, as a training loop decides."""
    loop = TrainLoop.__new__(TrainLoop)
    loop.runner = type("R", (), {"val_loop": object()})()
    loop.val_begin, loop.val_interval = cfg.get("val_begin", 1), cfg.get("val_interval", 1)
    from seg_runner.loop.train import _interval_table

    loop._milestones, loop._intervals = _interval_table(cfg.get("dynamic_intervals"), loop.val_interval)
    return [count for count in range(1, last + 1) if loop.validation_is_due(count, last)]


@pytest.mark.parametrize(
    ("cfg", "last", "expected"),
    [
        ({"val_interval": 100}, 7, [7]),
        ({"val_begin": 8, "val_interval": 5}, 20, [10, 15, 20]),
        ({"val_interval": 5, "dynamic_intervals": [(10, 2)]}, 20, [5, 10, 12, 14, 16, 18, 20]),
        ({"val_begin": 30, "val_interval": 5}, 20, []),
        ({"val_interval": 1, "dynamic_intervals": [(4, 5)]}, 11, [1, 2, 5, 10, 11]),  # the interval of the step to come
    ],
)
def test_validation_runs_when_the_reference_says(cfg: dict[str, Any], last: int, expected: list[int]) -> None:
    assert due(cfg, last) == expected


@given(st.integers(1, 30), st.integers(1, 10), st.integers(1, 40))
def test_the_last_step_validates_unless_it_comes_before_val_begin(last: int, interval: int, begin: int) -> None:
    found = due({"val_interval": interval, "val_begin": begin}, last)
    assert (last in found) == (last >= begin)
    assert all(count >= begin and (count % interval == 0 or count == last) for count in found)


def test_a_hook_may_end_the_training(make_runner: MakeRunner) -> None:
    class Stops:
        def after_train_iter(self, runner: Any) -> None:
            if runner.iter == 3:
                runner.train_loop.stop_training = True

    runner = make_runner(hooks=[Stops()])
    runner.train()
    assert runner.iter == 4


def test_an_epoch_run_resumes_in_the_middle_of_an_epoch(make_runner: MakeRunner, trace: Any) -> None:
    runner = make_runner(train_cfg={"max_epochs": 3}, val_dataloader=None, val_evaluator=None)

    class SavesInTheMiddle:
        def after_train_iter(self, runner: Any) -> None:
            if runner.iter == 4:
                runner.save_last()

    runner.register_hook(SavesInTheMiddle())
    runner.train()
    resumed = make_runner(
        train_cfg={"max_epochs": 3},
        val_dataloader=None,
        val_evaluator=None,
        resume=str(runner.work_dir / "iter_5.pth"),
        hooks=[trace],
        randomness=None,
    )
    resumed.train()
    steps = [(i, e) for name, i, e in trace.seen if name == "after_train_iter"]
    assert steps == [(5, 1), (6, 2), (7, 2), (8, 2)]
    for one, two in zip(runner.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_validation_that_was_due_is_run_first_after_resuming(make_runner: MakeRunner, trace: Any) -> None:
    class SavesBeforeValidation:
        def after_train_iter(self, runner: Any) -> None:
            if runner.iter == 2:
                runner.save_last()

    runner = make_runner(hooks=[SavesBeforeValidation()])
    runner.train()
    resumed = make_runner(hooks=[trace], resume=str(runner.work_dir / "iter_3.pth"), default_hooks={"checkpoint": None})
    resumed.train()
    names = trace.names()
    assert names[: names.index("before_train_iter")][-len(VAL) :] == VAL
    assert names.count("before_val") == 2


def test_the_model_is_set_to_training_once_and_after_each_validation(make_runner: MakeRunner) -> None:
    calls: list[bool] = []

    class Counting(torch.nn.Conv2d):
        def train(self, mode: bool = True) -> torch.nn.Module:
            calls.append(mode)
            return super().train(mode)

    net = Counting(3, 3, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    make_runner(model=net, optim_wrapper=optimizer, skip_checks=True).train()
    assert calls == [True, False, True, False, True]


def test_an_error_in_a_step_keeps_its_type_and_says_where(make_runner: MakeRunner) -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            raise ZeroDivisionError("mine")

        def val_step(self, data: Any) -> Any:
            return []

    net = Broken()
    loader = [{"inputs": [], "img_path": ["a.png", "b.png"]}]
    runner = make_runner(
        model=net,
        loss=None,
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_dataloader=loader,
        val_dataloader=None,
        val_evaluator=None,
    )
    with pytest.raises(ZeroDivisionError) as caught:
        runner.train()
    assert "in training iteration 0, images: a.png, b.png" in caught.value.__notes__


def test_an_epoch_loop_needs_a_length(make_runner: MakeRunner) -> None:
    runner = make_runner(train_dataloader=iter([]), train_cfg={"max_epochs": 1})
    with pytest.raises(TypeError) as caught:
        runner.train()
    assert any("use train_cfg=dict(max_iters=...)" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("key", ["max_iters", "val_interval", "val_begin"])
def test_counts_must_be_whole(make_runner: MakeRunner, key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} must be a whole number"):
        make_runner(train_cfg={"max_iters": 6, key: 1.5}).train()


def test_all_sets_are_validated_at_the_end(make_runner: MakeRunner, squares: Any) -> None:
    seen: list[tuple[int, list[str]]] = []

    class Sets:
        def after_val_epoch(self, runner: Any, metrics: Any) -> None:
            seen.append((runner.iter, sorted(name for name in metrics if "mIoU" in name)))

    make_runner(
        val_dataloader={name: DataLoader(squares(), batch_size=4) for name in ("near", "far")},
        train_cfg={"max_iters": 5, "val_interval": 1},
        val_cfg={"intervals": {"far": 3}},
        hooks=[Sets()],
    ).train()
    both = ["far/mIoU", "near/mIoU"]
    assert seen == [(1, ["near/mIoU"]), (2, ["near/mIoU"]), (3, both), (4, ["near/mIoU"]), (5, both)]


@pytest.mark.parametrize("fp16", [False, True])
def test_validation_runs_under_autocast_on_request(make_runner: MakeRunner, fp16: bool) -> None:
    kinds: set[torch.dtype] = set()

    class Watched(torch.nn.Conv2d):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = super().forward(image)
            if not self.training:
                kinds.add(logits.dtype)
            return logits

    make_runner(model=Watched(3, 3, 1), val_cfg={"fp16": fp16}, skip_checks=True).train()
    assert kinds == {torch.bfloat16 if fp16 else torch.float32}


def test_several_validation_sets_have_their_own_metrics_and_intervals(make_runner: MakeRunner, squares: Any) -> None:
    seen: list[set[str]] = []

    class Metrics:
        def after_val_epoch(self, runner: Any, metrics: Any) -> None:
            seen.append({name.split("/")[0] for name in metrics})

    loaders = {name: DataLoader(squares(seed=i), batch_size=4) for i, name in enumerate(("near", "far"))}
    runner = make_runner(
        train_cfg={"max_iters": 8, "val_interval": 2},
        val_dataloader=loaders,
        val_evaluator={name: IoUMetric(num_classes=3) for name in loaders},
        val_cfg={"intervals": {"far": 4}},
        hooks=[Metrics()],
    )
    runner.train()
    assert seen == [{"near"}, {"near", "far"}, {"near"}, {"near", "far"}]
    assert set(runner.val()) >= {"near/mIoU", "far/mIoU"}


def test_names_of_loaders_and_evaluators_must_match(make_runner: MakeRunner) -> None:
    loader = [(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long())]
    runner = make_runner(val_dataloader={"a": loader}, val_evaluator={"b": IoUMetric(num_classes=3)})
    with pytest.raises(ValueError, match="do not match"):
        runner.val()


def test_the_loss_on_validation_data_is_measured_on_request(make_runner: MakeRunner) -> None:
    runner = make_runner(val_cfg={"loss": True})
    runner.train()
    metrics = runner.val()
    data = runner.val_dataloader.dataset
    images, masks = (torch.stack(part) for part in zip(*data.items, strict=True))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(runner.model(images), masks)
    assert metrics["val_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_loss_that_the_model_appends_is_taken_out_and_averaged(make_runner: MakeRunner) -> None:
    class Loss:
        def __init__(self, value: float) -> None:
            self.loss = {"loss_ce": torch.tensor(value), "loss_dice": torch.tensor(1.0)}

        def keys(self) -> list[str]:
            return ["loss"]

    class Gives(torch.nn.Module):
        def val_step(self, data: Any) -> list[Any]:
            return [1, Loss(float(data))]

    runner = make_runner(
        model=Gives(),
        loss=None,
        train_dataloader=None,
        train_cfg=None,
        optim_wrapper=None,
        val_dataloader=[1, 3],
        val_evaluator=None,
        val_cfg={"loss": True},
    )
    assert runner.val() == {"loss_ce": 2.0, "loss_dice": 1.0, "val_loss": 3.0}


@pytest.mark.parametrize("loop", ["class", "object", "dict"])
def test_any_class_with_run_is_a_loop(make_runner: MakeRunner, loop: str) -> None:
    class Mine:
        def __init__(self, runner: Any = None, dataloader: Any = None, times: int = 1) -> None:
            self.times = times

        def run(self) -> str:
            return "done" * self.times

    cfg: Any = {"class": Mine, "object": Mine(), "dict": {"type": Mine, "times": 1}}[loop]
    runner = make_runner(train_cfg=cfg, skip_checks=True, default_hooks={"checkpoint": None})
    assert runner.train() == "done"
    assert (runner.iter, runner.max_iters) == (0, 0)


def test_a_loop_without_seek_is_told_apart_on_resume(make_runner: MakeRunner) -> None:
    class Mine:
        def run(self) -> None: ...

    class Theirs(Mine):
        _iter = _epoch = 0

        @property
        def iter(self) -> int:
            return self._iter

    first = make_runner()
    first.train()
    file = str(first.work_dir / "iter_6.pth")
    options = {
        "skip_checks": True,
        "val_dataloader": None,
        "val_evaluator": None,
        "default_hooks": {"checkpoint": None},
    }
    counted = make_runner(train_cfg=Theirs(), resume=file, **options)
    counted.train()
    assert counted.iter == 6
    lost = make_runner(train_cfg=Mine(), resume=file, **options)
    lost.train()
    log = (lost.log_dir / f"{lost.timestamp}.log").read_text()
    assert "Mine has no seek(iteration, epoch)" in log


def test_a_validation_batch_that_cannot_be_read_is_named(make_runner: MakeRunner) -> None:
    class Broken:
        def __iter__(self) -> Any:
            raise OSError("disk is gone")
            yield

    with pytest.raises(OSError, match="disk is gone") as caught:
        make_runner(val_dataloader=Broken()).val()
    assert "while reading val batch 0" in caught.value.__notes__
