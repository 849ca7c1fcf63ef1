"""What a resumed run writes again is there once: in files of JSON lines, in TensorBoard, in services."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_vis import BaseVisBackend, Visualizer
from seg_vis.backends.events import take_out_events
from seg_vis.backends.line_files import ResumePoint, take_out
from seg_vis.output.rows import lasting, tagged


def rows(folder: Path, name: str = "scalars.json") -> list[dict[str, Any]]:
    files = sorted(folder.rglob(name))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def record(mode: str, at: int, value: float = 0.5) -> dict[str, Any]:
    return {"loss" if mode == "train" else "mIoU": value, "time": 0.1, "mode": mode, "iter": at, "epoch": 1}


def session(work: Path, name: str, backends: list[Any], state: Any = None, **place: Any) -> Visualizer:
    """A visualizer as a runner makes it: config first, then its state, then where it goes on."""
    visualizer = Visualizer(vis_backends=backends, save_dir=str(work / name))
    visualizer.add_config({"lr": 0.1})
    if place:
        visualizer.load_state_dict(state or {})
        earlier = [work / one for one in (A, B) if one != name and (work / one).is_dir()]
        visualizer.resume_from(log_dir=work / name, earlier=earlier, **place)
    return visualizer


def train(visualizer: Visualizer, name: str, begin: int, end: int) -> None:
    """Records of every step, and of a validation at every third."""
    for step in range(begin, end + 1):
        visualizer.add_scalars(record("train", step), step, file_path=f"{name}.json")
        if step % 3 == 0:
            visualizer.add_scalars(record("val", step), step, file_path=f"{name}.json")


A, B = "20260101_000000", "20260102_000000"


@pytest.mark.parametrize("owes", [True, False])
def test_rows_of_a_killed_session_are_there_once(tmp_path: Path, owes: bool) -> None:
    first = session(tmp_path, A, [{"type": "LocalVisBackend"}])
    train(first, A, 1, 8)
    with open(tmp_path / A / "vis_data/scalars.json", "a") as file:
        file.write('{"loss": 0.')  # killed in the middle of a line
    second = session(tmp_path, B, [{"type": "LocalVisBackend"}], step=6, owes_validation=owes)
    if owes:
        second.add_scalars(record("val", 6), 6)
    train(second, B, 7, 12)
    places = [(row["mode"], row["iter"]) for row in rows(tmp_path)]
    assert sorted(places) == sorted([*(("train", n) for n in range(1, 13)), *(("val", n) for n in (3, 6, 9, 12))])
    gone = [("train", 7), ("train", 8)]
    assert [(r["mode"], r["iter"]) for r in rows(tmp_path, "superseded.json")] == [("val", 6)] * owes + gone
    assert [r["iter"] for r in rows(tmp_path, f"{A}.json") if r["mode"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_one_file_for_all_sessions_is_cut_too(tmp_path: Path) -> None:
    backend = {"type": "LocalVisBackend", "save_dir": str(tmp_path / "one")}
    train(session(tmp_path, A, [dict(backend)]), A, 1, 5)
    train(session(tmp_path, B, [dict(backend)], step=3), B, 4, 6)
    assert [row["iter"] for row in rows(tmp_path) if row["mode"] == "train"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kill", [False, True])
def test_tensorboard_shows_one_run_without_doubles(tmp_path: Path, kill: bool) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = session(tmp_path, A, [{"type": "TensorboardVisBackend"}])
    train(first, A, 1, 8)
    state = first.state_dict()
    if kill:
        (events,) = tmp_path.rglob("events.out*")
        with events.open("ab") as file:
            file.write(b"\x40\0\0\0\0\0\0\0half")
    second = session(tmp_path, B, [{"type": "TensorboardVisBackend"}], state, step=6, owes_validation=True)
    second.add_scalars(record("val", 6), 6)
    train(second, B, 7, 12)
    second.close()
    assert {path.parent for path in tmp_path.rglob("events.out*")} == {tmp_path / A / "vis_data"}
    found = EventAccumulator(str(tmp_path / A / "vis_data"), size_guidance={"scalars": 0}).Reload()
    assert {tag: [event.step for event in found.Scalars(tag)] for tag in ("train/loss", "val/mIoU", "val/time")} == {
        "train/loss": list(range(1, 13)),
        "val/mIoU": [3, 6, 9, 12],
        "val/time": [3, 6, 9, 12],
    }


def test_a_session_that_tested_is_not_gone_on_in(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    first = session(tmp_path, A, [{"type": "TensorboardVisBackend"}])
    train(first, A, 1, 3)
    session(tmp_path, B, [{"type": "TensorboardVisBackend"}]).add_scalars(record("test", 0), 0)
    third = Visualizer(vis_backends=[{"type": "TensorboardVisBackend"}], save_dir=str(tmp_path / "now"))
    third.load_state_dict(first.state_dict())
    third.resume_from(3, log_dir=tmp_path / "now", earlier=[tmp_path / A, tmp_path / B])
    third.add_scalars(record("train", 4), 4)
    assert len(list((tmp_path / A / "vis_data").glob("events.out*"))) == 2
    assert not (tmp_path / "now").exists()


class Service(BaseVisBackend):
    """Keeps every row, like W&B, over sessions."""

    kept: list[tuple[str, int]]

    def __init__(self, kept: list[tuple[str, int]]) -> None:
        super().__init__()
        self.kept = kept

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self.kept.append((name, step))

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": "one"}


@pytest.mark.parametrize("local", [[], [{"type": "LocalVisBackend"}]])
def test_a_service_gets_no_row_twice_but_every_new_one(tmp_path: Path, local: list[Any]) -> None:
    kept: list[tuple[str, int]] = []
    train(session(tmp_path, A, [Service(kept), *local]), A, 1, 5)
    second = session(tmp_path, B, [Service(kept), *local], step=2)
    second.add_scalars({**record("train", 3), "time": 0.7}, 3)  # the same but for the time
    assert [step for name, step in kept if name == "train/loss"] == [1, 2, 3, 4, 5]
    second.add_scalars(record("train", 4, value=9.0), 4)  # another course
    second.add_scalars(record("train", 6), 6)
    assert [step for name, step in kept if name == "train/loss"] == [1, 2, 3, 4, 5, 4, 6]
    assert [step for name, step in kept if name == "val/mIoU"] == [3]


def test_a_failure_to_clean_up_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    train(session(tmp_path, A, [{"type": "LocalVisBackend"}]), A, 1, 5)

    def fail(*args: Any) -> None:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr("seg_vis.backends.line_files.write_whole", fail)
    with caplog.at_level(logging.WARNING, "seg_vis"):
        train(session(tmp_path, B, [{"type": "LocalVisBackend"}], step=2), B, 3, 4)
    assert "still has rows after iteration 2 of earlier sessions; they occur twice now" in caplog.text
    assert [row["iter"] for row in rows(tmp_path / B) if row["mode"] == "train"] == [3, 4]


ROWS = st.lists(st.tuples(st.sampled_from(["train", "val", "test", None]), st.integers(0, 9)))


@given(ROWS, st.integers(0, 9), st.booleans())
def test_nothing_else_is_taken_out(tmp_path_factory: Any, made: Any, step: int, owes: bool) -> None:
    file = tmp_path_factory.mktemp("rows") / "scalars.json"
    lines = [json.dumps({"mode": mode, "iter": at}) for mode, at in made]
    file.write_text("".join(f"{line}\n" for line in lines))
    point = ResumePoint(step, owes)
    gone = take_out(file, point.repeats_row, file.with_name("aside.json"))
    again = [(mode, at) for mode, at in made if at > step or (owes and mode == "val" and at == step)]
    assert [(row["mode"], row["iter"]) for row in gone] == again
    left = [tuple(json.loads(line).values()) for line in file.read_text().splitlines()]
    assert left == [row for row in made if row not in again]


def test_events_are_taken_out_in_place(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    visualizer = Visualizer(vis_backends=[{"type": "TensorboardVisBackend"}], save_dir=str(tmp_path))
    for step in (1, 5, 2, 6, 3):
        visualizer.add_scalar("x", step, step)
    (file,) = tmp_path.rglob("events.out*")
    whole = file.read_bytes()
    assert take_out_events(file, lambda tags, at: False) == 0
    assert file.read_bytes() == whole
    assert take_out_events(file, lambda tags, at: at > 4) == 2
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    assert [event.step for event in EventFileLoader(str(file)).Load() if event.HasField("summary")] == [1, 2, 3]


@pytest.fixture
def styles(tmp_path: Path) -> dict[str, list[str]]:
    found = {}
    for style in ("mode", "mmengine"):
        kept: list[tuple[str, int]] = []
        local = {"type": "LocalVisBackend", "save_dir": str(tmp_path / style)}
        visualizer = Visualizer(vis_backends=[Service(kept), local], tag_style=style)
        train(visualizer, "x", 3, 3)
        found[style] = [name for name, _ in kept]
    return found


def test_curves_are_named_by_mode_and_files_as_mmengine_does(styles: dict[str, list[str]], tmp_path: Path) -> None:
    place = ["iter", "epoch"]
    assert styles["mode"] == ["train/loss", "train/time", *place, "val/mIoU", "val/time", *place]
    assert styles["mmengine"] == ["loss", "time", *place, "mIoU", "time", *place]
    assert rows(tmp_path / "mode") == rows(tmp_path / "mmengine")
    assert rows(tmp_path / "mode")[0].keys() == {"loss", "time", "mode", "iter", "epoch", "step"}
    with pytest.raises(ValueError, match="tag_style must be one of 'mode', 'mmengine', got 'x'"):
        Visualizer(tag_style="x")


def test_names_that_have_their_mode_are_left() -> None:
    assert tagged({"train/loss": 1, "mode": "train"}) == {"train/loss": 1, "mode": "train"}
    assert tagged({"loss": 1}) == {"loss": 1}


def test_what_the_clock_decides_is_no_difference() -> None:
    one = {"loss": 0.5, "time": 1.0, "data_time": 0.1, "memory": 5, "images_per_second": 3.0, "theta": 1}
    assert lasting(one) == lasting({"theta": 1, "loss": 0.5, "step": 3})
    assert lasting(one) != lasting({**one, "theta": 2})
