"""Records after a kill are there once, and numbers and steps of any kind are taken."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, LoggerHook, TrainState
from seg_hooks.own_loop.record_sink import RecordSink, adapt
from seg_hooks.own_loop.scalars import ScalarStore

Make = Callable[..., TrainState]
Train = Callable[..., None]
HALF: dict[str, Any] = {
    "tensor": torch.tensor(0.5), "tensor of one": torch.full((1, 1), 0.5), "fraction": Fraction(1, 2),
    "gradient": torch.tensor(0.5, requires_grad=True), "bfloat16": torch.tensor(0.5, dtype=torch.bfloat16),
    "decimal": Decimal("0.5"),
}  # fmt: skip
STEPS: list[Any] = [3, 3.0, torch.tensor(3), torch.tensor([3.0]), Fraction(6, 2), Decimal(3)]
NO_NUMBERS: list[Any] = [
    1j, torch.tensor(1j), torch.ones((), device="meta"), torch.ones(1).to_sparse(), "3", None, [1], {}
]  # fmt: skip
if find_spec("numpy") is not None:  # seg-hooks works without it
    import numpy as np

    HALF |= {"numpy": np.float32(0.5), "array": np.array(0.5), "array of one": np.array([[0.5]])}
    STEPS += [np.int64(3), np.float32(3), np.array([3])]
    NO_NUMBERS += [np.complex64(1), np.array([1, 2]), np.datetime64("2026-01-01")]


class Board:
    """What a SummaryWriter is asked for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen.append((name, value, step))


class Wandb:
    """What a W&B run is asked for."""

    def __init__(self) -> None:
        self.resumed: bool | None = None
        self.axes: list[tuple[str, str | None]] = []
        self.rows: list[dict[str, Any]] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes.append((name, step_metric))

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def hooks(interval: int = 4) -> list[Any]:
    return [LoggerHook(1), CheckpointHook(interval, by_epoch=False, save_last=False)]


def test_a_writer_by_shape_gets_train_and_val_on_one_axis(make_state: Make, train: Train) -> None:
    board, wandb = Board(), Wandb()
    for writer in (board, wandb):
        train(make_state([LoggerHook(5)], writer=writer), every=10, metrics=lambda state: {"mIoU": 0.5})
    assert ("val/mIoU", 0.5, 10) in board.seen
    assert [step for name, _, step in board.seen if name == "train/loss"] == [5, 10]
    assert wandb.axes == [("iter", None), ("*", "iter")]
    assert [row["iter"] for row in wandb.rows] == [5, 10, 10]
    assert wandb.rows[-1]["val/mIoU"] == 0.5
    with pytest.raises(TypeError, match="neither add_scalar"):
        make_state(writer=object())


def killed_and_resumed(make: Make, train: Train, first: Any, second: Any, interval: int = 4) -> Path:
    """A run that breaks off after step 7, and one that goes on from its newest checkpoint."""
    metrics: dict[str, Any] = {"every": 3, "metrics": lambda state: {"mIoU": state.iter}}
    with pytest.raises(KeyboardInterrupt):
        train(make(hooks(interval), writer=first), stop=7, **metrics)
    state = make(hooks(interval), writer=second)
    state.resume()
    train(state, **metrics)
    return state.work_dir


def rows_of(work_dir: Path, mode: str) -> list[int]:
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [row["iter"] for row in rows if row["mode"] == mode]


@pytest.mark.parametrize("interval", [4, 9])  # with 9 the kill comes before the first checkpoint
def test_each_row_is_there_once_after_a_kill(make_state: Make, train: Train, interval: int) -> None:
    wandb = Wandb()
    work_dir = killed_and_resumed(make_state, train, wandb, wandb, interval)
    assert rows_of(work_dir, "train") == list(range(1, 11))
    assert rows_of(work_dir, "val") == [3, 6, 9, 10]
    assert [row["iter"] for row in wandb.rows if "train/loss" in row] == list(range(1, 11))
    assert [row["iter"] for row in wandb.rows if "val/mIoU" in row] == [3, 6, 9, 10]
    aside = [json.loads(line) for line in next(work_dir.glob("*/*/superseded.json")).read_text().splitlines()]
    assert min(row["iter"] for row in aside) == (5 if interval == 4 else 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("interval", [4, 9])
def test_tensorboard_begins_where_the_checkpoint_stands(
    make_state: Make, train: Train, tmp_path: Path, interval: int
) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard", exc_type=ImportError)
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first, second = (tensorboard.SummaryWriter(str(tmp_path / "tb"), filename_suffix=one) for one in [".a", ".b"])
    killed_and_resumed(make_state, train, first, second, interval)
    first.close()
    second.close()
    found = events.EventAccumulator(str(tmp_path / "tb"))
    found.Reload()
    assert [event.step for event in found.Scalars("train/loss")] == list(range(1, 11))
    assert [event.step for event in found.Scalars("val/mIoU")] == [3, 6, 9, 10]


@pytest.mark.parametrize(("resumed", "steps"), [(True, [*range(1, 11)]), (False, [*range(5, 11)])])
def test_a_new_run_of_wandb_gets_all_rows_since_the_checkpoint(
    make_state: Make, train: Train, resumed: bool, steps: list[int]
) -> None:
    first, second = Wandb(), Wandb()
    second.resumed = resumed
    killed_and_resumed(make_state, train, first, second)
    rows = [*first.rows, *second.rows] if resumed else second.rows
    assert [row["iter"] for row in rows if "train/loss" in row] == steps


def test_a_replay_leaves_the_records_as_they_are(
    make_state: Make, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = make_state(hooks()).work_dir
    with pytest.raises(KeyboardInterrupt):
        train(make_state(hooks()), stop=7)
    torch.save({"iter": 6, "random": {"torch": torch.get_rng_state()}}, tmp_path / "bundle.pt")
    monkeypatch.setenv("SEG_NAN_REPLAY", str(tmp_path / "bundle.pt"))
    state = make_state(hooks())
    state.resume()
    with pytest.raises(KeyboardInterrupt):
        train(state, stop=6)
    assert rows_of(work_dir, "train") == list(range(1, 8))


def test_records_are_moved_once_the_folder_is_held(make_state: Make, train: Train) -> None:
    """Before that another run may be writing them."""
    with pytest.raises(KeyboardInterrupt):
        train(make_state(hooks()), stop=7)
    state = make_state(hooks())
    state.resume()
    assert rows_of(state.work_dir, "train") == list(range(1, 8))
    with state:
        assert rows_of(state.work_dir, "train") == list(range(1, 5))


def test_a_strange_row_of_an_earlier_session_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scalars.json"
    strange = ['{"iter": []}', '{"iter": "x"}', '{"iter": NaN}', '{"iter": null}', "[1]", '{"iter": 2']
    path.write_text("\n".join([*strange, '{"iter": 3}', '{"iter": 7}']) + "\n")
    RecordSink(tmp_path / "new.json", None, logging.getLogger("test")).resume_from(3, [path])
    assert path.read_text().splitlines() == [*strange[:4], '{"iter": 3}']


@pytest.mark.parametrize("value", HALF.values(), ids=HALF)
def test_numbers_of_any_kind_are_logged(make_state: Make, train: Train, value: Any) -> None:
    board = Board()
    state = make_state([LoggerHook(1)], writer=board, max_iters=1)
    with state:
        for _ in state.batches([1]):
            state.after_step(loss=value, other=value)
            state.every(1)
            state.validated({"mIoU": value})
            state.visualizer.add_scalars({"mine": value}, step=7)
    for entry in (("train/loss", 0.5, 1), ("train/other", 0.5, 1), ("val/mIoU", 0.5, 1), ("train/mine", 0.5, 7)):
        assert entry in board.seen


def test_numbers_beyond_a_float_are_infinite() -> None:
    store = ScalarStore()
    for value in (10**400, -(10**400), Fraction(10**400), Decimal("-1e400"), Decimal("sNaN")):
        store.update_scalar("a", value)
    assert [str(value) for value in store.get_scalar("a")] == ["inf", "-inf", "inf", "-inf", "nan"]


def test_numbers_keep_their_digits() -> None:
    store = ScalarStore()
    for value in (torch.tensor(0.1, dtype=torch.float64), torch.tensor(2**40 + 1), torch.tensor(1e300).double()):
        store.update_scalar("a", value)
    store.update_scalar("a", torch.tensor(1e300, dtype=torch.float64))
    assert store.get_scalar("a") == [0.1, 2**40 + 1, float("inf"), 1e300]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match="scalar 'a'"):
        ScalarStore().update_scalar("a", value)


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_any_whole_kind(tmp_path: Path, step: Any) -> None:
    board = Board()
    sink = RecordSink(tmp_path / "a.json", adapt(board), logging.getLogger("test"))
    sink.add_scalars({"a": 1.0}, step=step)
    sink.add_scalars({"a": float("nan"), "mode": "val"}, step=-2)
    assert board.seen[0] == ("train/a", 1.0, 3)
    assert board.seen[1][2] == -2
    assert [json.loads(line)["step"] for line in (tmp_path / "a.json").read_text().splitlines()] == [3, -2]


@pytest.mark.parametrize("step", [None, "3", 2.5, float("nan"), float("inf"), 10**30, [1]])
def test_a_step_that_is_no_whole_number_is_refused(tmp_path: Path, step: Any) -> None:
    sink = RecordSink(tmp_path / "a.json", None, logging.getLogger("test"))
    with pytest.raises((TypeError, ValueError), match="add_scalars: step="):
        sink.add_scalars({"a": 1.0}, step=step)
    assert not (tmp_path / "a.json").exists()
