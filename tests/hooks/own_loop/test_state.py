from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, LoggerHook, ParamSchedulerHook, TrainState
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

Make = Callable[..., TrainState]
Train = Callable[..., None]


class Recorder(Hook):
    """Notes every point with the counts at it."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.seen: list[str] = []


def _note(point: str) -> Any:
    def note(self: Recorder, runner: TrainState, **keywords: Any) -> None:
        self.seen.append(f"{point}:{runner.iter}")

    return note


for _point in Hook.stages:
    setattr(Recorder, _point, _note(_point))


def test_the_order_of_points(make_state: Make, train: Train) -> None:
    recorder = Recorder()
    train(make_state([recorder], max_iters=2), every=2, metrics=lambda state: {"mIoU": 1.0})
    assert recorder.seen == [
        "before_run:0",
        "before_train:0",
        "before_train_epoch:0",
        "before_train_iter:0",
        "after_train_iter:0",
        "before_train_iter:1",
        "after_train_iter:1",
        "before_val:2",
        "before_val_epoch:2",
        "after_val_epoch:2",
        "after_val:2",
        "after_train_epoch:2",
        "after_train:2",
        "after_run:2",
    ]


def test_each_object_of_a_run_is_small_enough_to_know(make_state: Make, train: Train) -> None:
    state = make_state(max_iters=2)
    train(state, every=2, metrics=lambda state: {"mIoU": 1.0})
    for part in (state, state._checkpoints, state._log, state.passes, state.points):
        assert len(vars(part)) <= 12, sorted(vars(part))


def test_an_exception_still_reaches_after_run(make_state: Make, train: Train) -> None:
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(make_state([recorder]), stop=1)
    assert recorder.seen[-1] == "after_run:1"
    assert "after_train:1" not in recorder.seen


def test_hooks_run_by_priority_and_need_no_base_class(make_state: Make, train: Train) -> None:
    order: list[str] = []

    class Late:
        priority = 99

        def after_train_iter(self, runner: Any) -> None:
            order.append("late")

    class Early:
        priority = "HIGH"

        def after_train_iter(self, runner: Any, outputs: Any) -> None:
            order.append(f"early {sorted(outputs)}")

    train(make_state([Late(), Early()], max_iters=1))
    assert order == ["early ['loss']", "late"]


class Nothing:
    def take(self, runner: Any, bach_idx: int) -> None: ...


def with_methods(*names: str) -> Any:
    """An object with methods of these names, each of which asks for a keyword that no point has."""
    return type("Mine", (), dict.fromkeys(names, Nothing.take))()


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (object(), "no method named after a point"),
        (Recorder, r"give an object: Recorder\(\.\.\.\)"),
        ({"type": "EMAHook"}, "does not build hooks"),
        ("EMAHook", "does not build hooks"),
        (with_methods("after_train_itr"), "Did you mean 'after_train_iter'"),
        (with_methods("before_val", "after_val_epok"), "after_val_epok is almost the name of a point"),
        (with_methods("after_train_iter"), r"'bach_idx'\); its arguments may be \(self, runner"),
        (type("Mine", (), {"after_run": lambda self: None})(), r"after_run cannot be called .* \(self, runner\)"),
    ],
)
def test_what_is_no_hook_is_refused(make_state: Make, hook: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make_state([hook])


def test_an_exception_in_a_hook_keeps_its_type_and_names_hook_and_point(make_state: Make, train: Train) -> None:
    class Mine:
        def after_train_iter(self, runner: Any) -> None:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        train(make_state([Mine()]))
    assert caught.value.__notes__ == ["in hook Mine, point after_train_iter, after 0 finished iterations"]


def test_a_state_that_no_safe_file_can_hold_is_refused_before_the_first_step(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Hook):
        value: Any = Path("x")

        def after_train_iter(self, runner: Any, **rest: Any) -> None:
            self.value = {"late": Path("y")}

        def state_dict(self) -> dict[str, Any]:
            return {"value": [self.value]}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

    with pytest.raises(TypeError, match=r"state_dict\(\) of Mine contains a pathlib\.\w+Path; only numbers"):
        train(make_state([Mine()]))
    hook = Mine()
    hook.value = 3
    state = make_state([hook, CheckpointHook(5, by_epoch=False)])
    state.logger.addHandler(caplog.handler)
    train(state)
    assert "The checkpoint is written without it." in caplog.text
    assert torch.load(state.work_dir / "iter_10.pth", weights_only=True)["hooks"].keys() == {"CheckpointHook"}


def snapshot(state: TrainState) -> dict[str, Any]:
    return {
        "weights": {name: value.clone() for name, value in state.model.state_dict().items()},
        "moments": [entry["exp_avg"].clone() for entry in state.optimizer.state.values()],
        "rates": [group["lr"] for group in state.optimizer.param_groups],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("stop", [10, 13, 17, 20])
def test_killed_and_resumed_is_the_same_run(make_state: Make, train: Train, tmp_path: Path, stop: int) -> None:
    """Dropout is on."""

    def build(folder: str) -> tuple[TrainState, list[Any]]:
        hooks = [
            EMAHook(momentum=0.1),
            LoggerHook(5),
            CheckpointHook(10, by_epoch=False, save_best="mIoU", max_keep_ckpts=1),
            EarlyStoppingHook("mIoU", patience=3, min_delta=0.0),
            ParamSchedulerHook(),
        ]
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        schedule.by_epoch = False  # type: ignore[attr-defined]
        options = {"model": net, "optimizer": optimizer, "schedulers": [schedule], "work_dir": tmp_path / folder}
        return make_state(hooks, 30, **options), hooks

    def score(state: TrainState) -> dict[str, float]:
        return {"mIoU": float(-abs(state.iter - 10))}

    whole, hooks_of_whole = build("whole")
    train(whole, every=5, metrics=score)
    assert whole.iter == 25  # three validations after the best one at 10
    first, _ = build("parts")
    with pytest.raises(KeyboardInterrupt):
        train(first, every=5, metrics=score, stop=stop)
    second, hooks_of_second = build("parts")
    assert second.resume() == tmp_path / "parts" / f"iter_{min(stop // 10, 2) * 10}.pth"
    train(second, every=5, metrics=score)
    assert second.iter == whole.iter
    assert same(snapshot(second), snapshot(whole))
    assert same(
        dict(hooks_of_second[0].ema_model.module.state_dict()), dict(hooks_of_whole[0].ema_model.module.state_dict())
    )
    names = [sorted(path.name for path in state.work_dir.glob("*.pth")) for state in (whole, second)]
    assert names[0] == names[1] == ["best_mIoU_iter_10.pth", "iter_25.pth"]


def test_files_load_without_an_allow_list_in_the_layout_of_the_reference(make_state: Make, train: Train) -> None:
    state = make_state([CheckpointHook(10, by_epoch=False)])
    train(state)
    saved = torch.load(state.work_dir / "iter_10.pth", weights_only=True)
    assert {"meta", "state_dict", "message_hub", "optimizer", "hooks"} <= set(saved)
    assert (saved["meta"]["iter"], saved["meta"]["epoch"]) == (10, 0)
    assert set(saved["message_hub"]) == {"log_scalars", "runtime_info", "resumed_keys"}
    assert list(saved["hooks"]) == ["CheckpointHook"]


def test_a_run_that_had_stopped_early_stops_at_once_unless_it_may_go_on(make_state: Make, train: Train) -> None:
    def again(patience: int) -> int:
        state = make_state([EarlyStoppingHook("mIoU", patience=patience), CheckpointHook(by_epoch=False)], 30)
        state.resume()
        train(state, every=5, metrics=lambda state: {"mIoU": -state.iter})
        return state.iter

    assert [again(2), again(2), again(3), again(3)] == [15, 15, 20, 20]


def test_it_goes_on_from_a_file_by_path_or_by_name(make_state: Make, train: Train) -> None:
    train(make_state([CheckpointHook(by_epoch=False, save_best="mIoU")]), every=4, metrics=lambda s: {"mIoU": -s.iter})
    state = make_state(max_iters=12)
    assert state.resume("best_mIoU_iter_4.pth") == state.work_dir / "best_mIoU_iter_4.pth"
    assert state.iter == 4
    assert len(state.optimizer.state) == 6
    train(state)
    assert state.iter == 12
    assert make_state(max_iters=12).resume(state.work_dir / "iter_10.pth") == state.work_dir / "iter_10.pth"
    with pytest.raises(FileNotFoundError, match=r"no file 'best_mIoU_iter_5\.pth'\. Did you mean '.*_iter_4\.pth'"):
        make_state().resume("best_mIoU_iter_5.pth")
    with pytest.raises(TypeError, match="path=3"):
        make_state().resume(3)  # type: ignore[arg-type]


def test_best_files_alone_are_named_when_nothing_else_is_there(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    hook = CheckpointHook(by_epoch=False, save_best="mIoU", save_last=False)
    train(make_state([hook]), every=4, metrics=lambda s: {"mIoU": -s.iter})
    state = make_state()
    state.logger.addHandler(caplog.handler)
    assert state.resume() is None
    assert "To use the best one: resume('best_mIoU_iter_4.pth')" in caplog.text


@pytest.mark.parametrize("spoil", [False, True])
def test_what_a_user_saved_after_an_exception_is_not_lost(make_state: Make, train: Train, spoil: bool) -> None:
    state = make_state()
    with pytest.raises(KeyboardInterrupt):
        train(state, stop=3)
    if spoil:
        next(state.model.parameters()).data.fill_(math.nan)
    state.save_checkpoint(state.work_dir / "interrupted_iter_3.pth")
    with pytest.raises(FileExistsError, match=r"interrupted_iter_3\.pth"), make_state():
        pass
    again = make_state()
    if spoil:
        with pytest.raises(FileExistsError, match=r"interrupted_iter_3\.pth is all .* not finite.*resume\('"):
            again.resume()
        return
    assert again.resume() == state.work_dir / "interrupted_iter_3.pth"
    assert again.iter == 3


def test_a_newer_file_that_an_exception_left_is_named(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([CheckpointHook(2, by_epoch=False)])
    with pytest.raises(KeyboardInterrupt):
        train(state, stop=3)
    state.save_checkpoint(state.work_dir / "interrupted_iter_3.pth")
    again = make_state([CheckpointHook(2, by_epoch=False, max_keep_ckpts=1)])
    again.logger.addHandler(caplog.handler)
    assert again.resume() == state.work_dir / "iter_2.pth"
    assert "interrupted_iter_3.pth is newer than iteration 2" in caplog.text
    train(again)
    assert "Removed interrupted_iter_3.pth, saved at an exception" in caplog.text


def test_the_checkpoint_of_another_optimizer_is_refused_by_name(make_state: Make, train: Train, net: nn.Module) -> None:
    train(make_state([CheckpointHook(by_epoch=False)], optimizer=torch.optim.SGD(net.parameters(), 0.1), model=net))
    with pytest.raises(ValueError, match=r"has no betas, .* than the AdamW of this run") as caught:
        make_state().resume()
    assert "is it the checkpoint of another model or optimizer?" in caught.value.__notes__[0]


def test_what_belongs_inside_the_block_says_so(make_state: Make) -> None:
    state = make_state()
    for use in (lambda: next(iter(state.batches([1]))), state.after_step, lambda: state.every(1)):
        with pytest.raises(RuntimeError, match="outside of `with state:`"):
            use()
    with state, pytest.raises(RuntimeError, match=r"call resume\(\) before `with state:`"):
        state.resume()


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (2.5, TypeError)])
def test_every_takes_whole_numbers(make_state: Make, n: Any, error: type[Exception]) -> None:
    with make_state() as state, pytest.raises(error, match=rf"TrainState\.every: n={n!r}"):
        state.every(n)


@pytest.mark.parametrize("value", ["x", None, {"a": 1}, 1j, torch.ones(3)])
def test_what_is_logged_must_be_one_number(make_state: Make, value: Any) -> None:
    words = "scalar 'train/acc' is .* give one number"
    with make_state() as state, pytest.raises((TypeError, ValueError), match=words):
        state.after_step(loss=1.0, acc=value)


def test_nothing_to_resume_is_none(make_state: Make) -> None:
    state = make_state()
    assert state.resume() is None
    assert state.iter == 0


def test_other_parts_are_saved_and_resumed_and_what_is_missing_is_said(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Part:
        def __init__(self) -> None:
            self.value = 0

        def state_dict(self) -> dict[str, int]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.value = state["value"]

    part = Part()
    part.value = 7
    train(make_state([CheckpointHook(10, by_epoch=False)], extra={"part": part}))
    again = {"part": Part(), "other": Part()}
    state = make_state([EarlyStoppingHook("mIoU")], extra=again)
    state.logger.addHandler(caplog.handler)
    state.resume()
    assert again["part"].value == 7
    assert "not in the file: hook EarlyStoppingHook, extra other" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_curves_of_a_real_tensorboard_writer_are_read_back(make_state: Make, train: Train, tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard", exc_type=ImportError)
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = tensorboard.SummaryWriter(str(tmp_path / "tb"))
    train(make_state([LoggerHook(5)], writer=writer), every=5, metrics=lambda state: {"mIoU": state.iter, "loss": 1.0})
    writer.close()
    found = events.EventAccumulator(str(tmp_path / "tb"))
    found.Reload()
    curves = {name: [event.step for event in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert curves["train/loss"] == curves["val/loss"] == curves["val/mIoU"] == [5, 10]


def test_a_writer_that_fails_gets_everything_later_and_the_json_lines_are_whole(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[int] = []

    class Wandb:
        def log(self, row: dict[str, Any]) -> None:
            if state.iter < 5:
                raise ConnectionError("no network")
            rows.append(row["iter"])

    state = make_state([LoggerHook(2)], writer=Wandb())
    state.logger.addHandler(caplog.handler)
    train(state)
    assert rows == [2, 4, 6, 8, 10]
    assert caplog.text.count("no network") == 1
    lines = (state.log_dir / "vis_data/scalars.json").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10]


def test_a_disk_that_fails_while_logging_is_reported_once_and_training_goes_on(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([LoggerHook(2)])
    state.logger.addHandler(caplog.handler)
    (state.log_dir / "vis_data").write_text("a file where a folder should be")
    train(state)
    assert state.iter == 10
    assert caplog.text.count("a backend failed (FileExistsError") == 1
    assert "the backend still fails; 5 records are missing." in caplog.text
    assert len((state.log_dir / "unsent.json").read_text().splitlines()) == 5


def test_every_that_is_not_followed_by_validated_gives_the_weights_back(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    hook = EMAHook(momentum=0.1)
    state = make_state([hook])
    state.logger.addHandler(caplog.handler)
    swapped: list[bool] = []

    def only_ask(state: TrainState) -> None:
        swapped.append(hook._swapped)
        state.every(5)

    train(state, on_step=only_ask)
    assert not any(swapped)
    assert "validated() was not called" in caplog.text


def test_the_last_step_is_validated_too_and_training_goes_on_in_training_mode(make_state: Make, train: Train) -> None:
    at: list[int] = []

    def evaluate(state: TrainState) -> dict[str, float]:
        at.append(state.iter)
        state.model.eval()
        return {"mIoU": 1.0}

    state = make_state()
    train(state, every=4, metrics=evaluate, on_step=lambda state: at.append(-state.model.training))
    assert [value for value in at if value > 0] == [4, 8, 10]
    assert at.count(-1) == 10


def test_metrics_must_be_a_dict(make_state: Make) -> None:
    with pytest.raises(TypeError, match="metrics is a float"):
        make_state().validated(0.5)  # type: ignore[arg-type]


def test_batches_go_round_the_loader_and_samplers_learn_the_pass(make_state: Make) -> None:
    data = TensorDataset(torch.arange(8))
    loader = DataLoader(data, batch_size=4, sampler=DistributedSampler(data, num_replicas=1, rank=0))
    state, orders = make_state(max_iters=4), []
    with state:
        for (batch,) in state.batches(loader):
            orders.append(batch.tolist())
            state.after_step(loss=0.0)
    assert len(orders) == 4
    assert sorted(orders[0] + orders[1]) == list(range(8))
    assert orders[:2] != orders[2:]


def test_an_empty_loader_or_one_that_is_used_up_is_an_error(make_state: Make) -> None:
    def use(state: TrainState, loader: Any) -> None:
        with state:
            for _ in state.batches(loader):
                state.after_step(loss=0.0)

    for loader in ([], iter([1, 2])):
        with pytest.raises(ValueError, match="gave no step"):
            use(make_state(max_iters=5), loader)
    for loader in (3, None):
        with pytest.raises(TypeError, match=rf"loader={loader} is a"):
            use(make_state(max_iters=5), loader)


def test_a_disk_that_fails_while_saving_is_reported_and_training_goes_on(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([CheckpointHook(5, by_epoch=False)], extra={})
    state.logger.addHandler(caplog.handler)
    (state.work_dir / "iter_5.pth").mkdir()  # a folder where the file should be
    train(state)
    assert state.iter == 10
    assert "iter_5.pth could not be written" in caplog.text
    assert (state.work_dir / "last_checkpoint").read_text() == str(state.work_dir / "iter_10.pth")
    assert not list(state.work_dir.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": None}, TypeError, r"model=None is a NoneType; give a torch\.nn\.Module"),
        ({"optimizer": "SGD"}, TypeError, r"optimizer='SGD' is a str; give a torch\.optim\.Optimizer"),
        ({"max_iters": 0}, ValueError, "max_iters=0"),
        ({"max_iters": "9"}, TypeError, "max_iters='9'"),
        ({"max_iter": 9}, TypeError, "Did you mean 'max_iters'"),
        ({"hooks": EMAHook()}, TypeError, r"is a EMAHook; give a list: hooks=\[EMAHook\(\)"),
        ({"hooks": None}, TypeError, "hooks=None"),
        ({"hooks": "EMAHook"}, TypeError, "hooks='EMAHook'"),
        ({"hooks": [EMAHook(), EMAHook()]}, ValueError, "two EMAHooks"),
        ({"schedulers": "poly"}, TypeError, "schedulers='poly'"),
        ({"schedulers": [3]}, TypeError, "schedulers: 3 has no state_dict"),
        ({"extra": [1]}, TypeError, r"extra=\[1\] is a list; give a dict"),
        ({"extra": {"a": 3}}, TypeError, r"extra\['a'\]: 3 has no state_dict"),
        ({"work_dir": 3}, TypeError, "work_dir=3"),
        ({"work_dir": None}, TypeError, "work_dir=None"),
        ({"work_dir": "s3://bucket"}, ValueError, "is a remote address"),
        ({"work_dir": "a\0b"}, ValueError, "is not a valid folder name"),
        ({"writer": 3}, TypeError, "neither add_scalar"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str) -> None:
    net = nn.Linear(1, 1)
    right = {"model": net, "optimizer": torch.optim.SGD(net.parameters(), 0.1), "work_dir": tmp_path, "max_iters": 3}
    with pytest.raises(error, match=words):
        TrainState(**{**right, **options})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    net = nn.Linear(1, 1)
    (tmp_path / "file").write_text("")
    for work_dir in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OSError, match="file") as caught:
            TrainState(net, torch.optim.SGD(net.parameters(), 0.1), work_dir, 3)
        assert "give a writable folder" in caught.value.__notes__[0]


def test_one_scheduler_need_not_stand_in_a_list(make_state: Make, net: nn.Module) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert make_state(model=net, optimizer=optimizer, schedulers=schedule).param_schedulers == [schedule]


def test_two_sessions_of_one_second_have_two_folders(make_state: Make) -> None:
    assert len({make_state().log_dir for _ in range(3)}) == 3


KILLED = """
import sys, torch
from seg_hooks import CheckpointHook, EMAHook, TrainState
torch.manual_seed(0)
net = torch.nn.Linear(200, 200)
optimizer = torch.optim.AdamW(net.parameters())
state = TrainState(net, optimizer, sys.argv[1], 100_000,
                   hooks=[EMAHook(), CheckpointHook(1, by_epoch=False, max_keep_ckpts=2)])
state.resume()
print("begin", state.iter, flush=True)
with state:
    for batch in state.batches([torch.ones(1, 200)] * 7):
        net(batch).mean().backward(); optimizer.step(); optimizer.zero_grad()
        state.after_step()
        print("at", state.iter, flush=True)
"""


def test_killed_at_any_moment_the_newest_whole_file_resumes(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(KILLED))
    reached = 0
    for lines in (3, 5):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), str(tmp_path / "out")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            if line.startswith("begin"):
                assert int(line.split()[1]) >= reached - 1
            if line.startswith("at"):
                reached, seen = int(line.split()[1]), seen + 1
            if seen == lines:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert reached > 0
