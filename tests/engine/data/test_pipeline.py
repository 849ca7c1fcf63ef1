from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from seg_engine.data.pipeline import Compose, NestedBuilder, build


class Own:
    """A builder that remembers what it built, and calls what it is given."""

    def __init__(self) -> None:
        self.built: list[tuple[str, Any]] = []

    def get(self, kind: str, name: Any) -> Any:
        return (kind, name)

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: Any) -> Any:
        self.built.append((kind, cfg["type"]))
        return cfg["make"]() if "make" in cfg else lambda record: record


def test_parts_inside_a_part_come_from_the_same_builder() -> None:
    own = Own()
    builder = NestedBuilder(own)
    assert builder.get("model", "A") == ("model", "A")
    chain = builder.build("dataset", {"type": "outer", "make": lambda: Compose([{"type": "inner"}])})
    assert own.built == [("dataset", "outer"), ("transform", "inner")]
    assert chain({"x": 1}) == {"x": 1}


def test_outside_of_a_build_it_is_the_installed_builder_again() -> None:
    own = Own()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        NestedBuilder(own).build("model", {"type": "a", "make": fail})
    assert build("transform", {"type": "RandomFlip", "prob": 1.0}).directions == ["horizontal"]
    assert own.built == [("model", "a")]


def test_objects_pass_through() -> None:
    thing = object()
    assert build("model", thing) is thing


def test_none_ends_a_chain() -> None:
    def never(record: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    assert Compose([lambda record: None, never])({}) is None


def test_the_time_of_transforms_is_known_to_the_process_that_forked_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 4.0] * 3)
    monkeypatch.setattr("seg_engine.data.pipeline.perf_counter", lambda: next(now))

    def read(record: dict[str, Any]) -> dict[str, Any]:
        return record

    chain = Compose([read, dict])
    assert chain.seconds() == {}
    pid = os.fork()
    if not pid:
        chain({})
        os._exit(0)
    os.waitpid(pid, 0)
    assert chain.seconds() == {"read": 1.0, "dict": 3.0}
    copied = pickle.loads(pickle.dumps(Compose([dict])))
    assert copied.seconds() == {}
    assert Compose([lambda record: None])({}) is None
    chain.transforms.append(dict)
    monkeypatch.setattr("seg_engine.data.pipeline.perf_counter", lambda: 0.0)
    assert chain({"x": 1}) == {"x": 1}
    assert chain.seconds() == {"read": 1.0, "dict": 3.0}
