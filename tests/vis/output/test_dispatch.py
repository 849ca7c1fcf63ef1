"""Backends made from configs, and backends that fail."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seg_vis import BaseVisBackend, LocalVisBackend, SegLocalVisualizer, Visualizer
from seg_vis.output.dispatch import make_backends


class Keeper(BaseVisBackend):
    """Keeps what it gets; fails while it is told to."""

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__(save_dir)
        self.rows: list[Any] = []
        self.broken = False

    def add_scalars(self, scalar_dict: Any, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        if self.broken:
            raise ConnectionError("the server is away")
        self.rows.append((dict(scalar_dict), step))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        if self.broken:
            raise ConnectionError("the server is away")
        self.rows.append((name, step))


def test_backends_come_from_classes_names_and_objects(tmp_path: Path) -> None:
    keeper = Keeper()
    made = make_backends([{"type": LocalVisBackend}, {"type": "TensorboardVisBackend"}, keeper], str(tmp_path))
    assert list(made) == ["LocalVisBackend", "TensorboardVisBackend", "Keeper"]
    assert made["Keeper"] is keeper
    assert made["LocalVisBackend"]._save_dir == str(tmp_path / "vis_data")
    assert make_backends(None, None) == {}


def test_a_backend_may_have_its_own_folder_and_name(tmp_path: Path) -> None:
    config = {"type": "LocalVisBackend", "save_dir": str(tmp_path / "mine"), "name": "second"}
    visualizer = Visualizer(vis_backends=[{"type": LocalVisBackend}, config], save_dir=str(tmp_path))
    visualizer.add_scalar("loss", 1.0)
    assert (tmp_path / "mine/scalars.json").is_file()
    assert (tmp_path / "vis_data/scalars.json").is_file()
    assert visualizer.get_backend("second") is not visualizer.get_backend("LocalVisBackend")
    assert visualizer.get_backend("third") is None
    assert config["name"] == "second"


def test_an_object_may_say_its_name() -> None:
    one, other = Keeper(), Keeper()
    one.name = "first"  # type: ignore[attr-defined]
    assert list(make_backends([one, other], None)) == ["first", "Keeper"]


def test_a_backend_without_its_folder_is_left_out(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "seg_vis"):
        made = make_backends([{"type": "LocalVisBackend"}, {"type": Keeper}], None)
    assert list(made) == ["Keeper"]
    assert "LocalVisBackend needs a save_dir" in caplog.text


@pytest.mark.parametrize(
    ("backends", "error", "words"),
    [
        ([Keeper(), Keeper()], ValueError, "two backends are called 'Keeper'"),
        ("LocalVisBackend", TypeError, "a dict with `type` or an object"),
        ({"save_dir": "x"}, TypeError, "a class or a name, got None"),
        ({"type": "LocalVisBackends"}, ValueError, "did you mean LocalVisBackend"),
        ({"type": "NeptuneVisBackend"}, ValueError, "service has ended"),
        ({"type": "AimVisBackend"}, ValueError, "install the plug-in of its folder examples/plugin"),
    ],
)
def test_mistakes_are_named(backends: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        make_backends(backends, str(tmp_path))


def test_a_failing_backend_is_reported_once_and_tried_again(tmp_path: Path, caplog: Any) -> None:
    keeper = Keeper()
    visualizer = Visualizer(vis_backends=[keeper, {"type": LocalVisBackend}], save_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING, "seg_vis"):
        for step in range(10):
            keeper.broken = 2 <= step < 7
            visualizer.add_scalars({"loss": 1.0}, step)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "backend Keeper failed" in messages[0]
    assert "the server is away" in caplog.text
    assert messages[1] == "backend Keeper works again; 5 calls that waited are written"
    assert [step for _, step in keeper.rows] == list(range(10))
    kept = [json.loads(line)["step"] for line in (tmp_path / "vis_data/scalars.json").read_text().splitlines()]
    assert kept == list(range(10))


def test_a_server_that_does_not_answer_rests_and_is_tried_again(monkeypatch: Any, caplog: Any) -> None:
    """Each try takes five seconds of a clock of ours; between two tries lie fifty."""
    clock, tries = [0.0], []

    class Slow(BaseVisBackend):
        def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
            tries.append(clock[0])
            clock[0] += 5.0
            if clock[0] < 200:
                raise TimeoutError("no answer")

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    visualizer = Visualizer(vis_backends=Slow())
    with caplog.at_level(logging.WARNING, "seg_vis"):
        while clock[0] < 250:
            visualizer.add_scalar("loss", 1.0)
            clock[0] += 1.0
        visualizer.close()
    assert tries[:4] == [0, 55, 110, 165]
    assert len(caplog.records) == 2
    assert "works again" in caplog.messages[1]


def test_a_folder_that_cannot_be_written_is_reported_and_the_run_goes_on(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "vis_data").write_text("a file where a folder should be")
    visualizer = SegLocalVisualizer(vis_backends={"type": LocalVisBackend}, save_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING, "seg_vis"):
        visualizer.add_scalar("loss", 1.0)
        visualizer.add_datasample("x", np.zeros((4, 4, 3), np.uint8))
    assert len(caplog.records) == 1
    assert "backend LocalVisBackend failed (FileExistsError" in caplog.text
    assert str(tmp_path / "vis_data") in caplog.text
    assert "Traceback" not in caplog.text


def test_a_backend_with_a_mistake_is_reported_with_the_place(caplog: Any) -> None:
    class Wrong(BaseVisBackend):
        def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
            raise ZeroDivisionError("a mistake of the backend")

    Visualizer(vis_backends=Wrong()).add_scalar("loss", 1.0)
    assert "backend Wrong failed (ZeroDivisionError: a mistake of the backend)" in caplog.text
    assert "in add_scalar" in caplog.text


def test_a_library_that_is_missing_is_an_error(tmp_path: Path) -> None:
    class Needy(BaseVisBackend):
        def add_config(self, config: Any, **kwargs: Any) -> None:
            raise ImportError("needy is not installed: pip install needy")

    with pytest.raises(ImportError, match="pip install needy"):
        Visualizer(vis_backends=Needy()).add_config({})


def test_failures_in_the_background_are_reported_too(caplog: Any) -> None:
    keeper = Keeper()
    keeper.broken = True
    visualizer = Visualizer(vis_backends=keeper)
    visualizer.write_in_background()
    with caplog.at_level(logging.WARNING, "seg_vis"):
        for step in range(3):
            visualizer.add_image("x", np.zeros((2, 2, 3), np.uint8), step)
        visualizer.flush()
        keeper.broken = False
        visualizer.add_image("x", np.zeros((2, 2, 3), np.uint8), 3)
        visualizer.close()
    assert len(caplog.records) == 2
    assert keeper.rows == [("x", step) for step in range(4)]


def test_any_object_with_the_methods_is_a_backend() -> None:
    class Own:
        def __init__(self) -> None:
            self.got: list[str] = []

        def add_scalar(self, name: str, value: float, step: int = 0) -> None:
            self.got.append(f"{name} {value} {step}")

    own = Own()
    visualizer = Visualizer(vis_backends=[own])
    visualizer.add_scalar("loss", 0.5, 3)
    visualizer.add_config({})
    visualizer.close()
    assert own.got == ["loss 0.5 3"]


def test_the_base_class_does_nothing_by_itself() -> None:
    backend = BaseVisBackend("out")
    backend.add_config({})
    backend.add_graph(None)
    backend.add_image("x", None)
    backend.add_scalars({"a": 1})
    backend.close()
    assert backend.experiment is backend


def test_rows_reach_a_backend_of_one_method_as_plain_numbers_of_their_step() -> None:
    class Own(BaseVisBackend):
        def __init__(self) -> None:
            super().__init__()
            self.got: list[Any] = []

        def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
            self.got.append((name, value, type(value), step))

    own = Own()
    own.add_scalars({"loss": np.float32(0.5), "mode": "train", "step": 0, "boxes": np.zeros(3)}, step=7)
    own.add_scalars({"iter": np.int64(3)}, step=7)
    assert own.got == [("loss", 0.5, float, 0), ("iter", 3, int, 7)]
