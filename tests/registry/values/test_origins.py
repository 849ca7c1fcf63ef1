"""Every value knows the chain of places that set, carried and overrode it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from seg_registry import Config, ConfigDict, Mark, Origin


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    (tmp_path / "base.py").write_text(
        "lr = 0.1\n"
        "optimizer = dict(type='SGD', lr=lr,\n"
        "                 momentum=0.9)\n"
        "optim_wrapper = dict(type='W', optimizer=optimizer)\n"
        "steps = [dict(n=1,\n"
        "              m=2)]\n"
        "crop = (1, 2)\n"
    )
    (tmp_path / "train.py").write_text(
        "_base_ = 'base.py'\nnew = 3\noptim_wrapper = dict(\n    optimizer=dict(\n        momentum=0.8))\n"
    )
    return Config.fromfile(tmp_path / "train.py")


def places(origin: Origin) -> list[tuple[str, int]]:
    return [(Path(mark.file).name, mark.line) for mark in origin]


def test_a_literal_is_where_it_stands(cfg: Config) -> None:
    assert places(cfg.origin("new")) == [("train.py", 2)]
    assert places(cfg.origin("steps.0.m")) == [("base.py", 6)]
    assert places(cfg.origin("crop.1")) == [("base.py", 7)]


def test_then_each_assignment_that_carried_it(cfg: Config) -> None:
    assert places(cfg.origin("optim_wrapper.optimizer.lr")) == [("base.py", 1), ("base.py", 2), ("base.py", 4)]
    assert [mark.note for mark in cfg.origin("optim_wrapper.optimizer.lr")] == ["", "lr", "optimizer"]


def test_then_the_child(cfg: Config) -> None:
    assert places(cfg.origin("optim_wrapper.optimizer.momentum")) == [("base.py", 3), ("base.py", 4), ("train.py", 5)]


def test_then_overrides(cfg: Config) -> None:
    cfg.merge_from_dict({"optim_wrapper.optimizer.momentum": 0.5}, source="--cfg-options")
    origin = cfg.origin("optim_wrapper.optimizer.momentum")
    assert places(origin)[:-1] == [("base.py", 3), ("base.py", 4), ("train.py", 5)]
    assert str(origin).endswith("override optim_wrapper.optimizer.momentum=0.5 (--cfg-options)")


def test_and_what_code_sets(cfg: Config) -> None:
    cfg.optim_wrapper.optimizer.lr = 5
    last = cfg.origin("optim_wrapper.optimizer.lr")[-1]
    assert (Path(last.file).name, last.line > 0) == (Path(__file__).name, True)


def test_chains_survive_copies_and_pickling(cfg: Config) -> None:
    path = "optim_wrapper.optimizer.momentum"
    expected = cfg.origin(path)
    for other in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg)), cfg.copy()):
        assert other.origin(path) == expected
    part = pickle.loads(pickle.dumps(cfg.optim_wrapper))
    assert Config(part).origin("optimizer.momentum")[-1].line == 5


def test_a_deleted_base_keeps_the_history_of_keys_that_come_back(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("o = dict(lr=1, w=2)\n")
    (tmp_path / "t.py").write_text("_base_ = 'b.py'\no = dict(_delete_=True,\n    lr=3)\n")
    assert places(Config.fromfile(tmp_path / "t.py").origin("o.lr")) == [("b.py", 1), ("t.py", 3)]


@pytest.mark.parametrize(
    ("suffix", "text", "path", "line"),
    [
        (".json", '{\n "a": {"x: {": 1,\n  "b": [{"c": 1}]},\n "d": 2}', "d", 4),
        (".json", '{\n "a": {"x": "k\\": ",\n  "b": [{"c": 1}]},\n "d": 2}', "a.b.0.c", 3),
        (".yaml", "a:\n  b:\n  - c: 1\n    d: 2\n", "a.b.0.d", 4),
        (".toml", "x = 1\n[a.b]\nc = 2\n[[l]]\nn = 1\n[[l]]\nm = 3\n", "a.b.c", 3),
        (".toml", "x = 1\n[a.b]\nc = 2\n[[l]]\nn = 1\n[[l]]\nm = 3\n", "l.1.m", 7),
    ],
)
def test_data_files_have_lines_too(tmp_path: Path, suffix: str, text: str, path: str, line: int) -> None:
    if suffix == ".yaml":
        pytest.importorskip("yaml")
    (tmp_path / f"f{suffix}").write_text(text)
    assert places(Config.fromfile(tmp_path / f"f{suffix}").origin(path)) == [(f"f{suffix}", line)]


def test_changes_in_the_file_have_lines(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "a = dict(x=1)\na.update(x=2,\n    y=3)\na['z'] = 4\nb = [dict(n=i) for i in range(2)]\nc = {'k': a}\n"
        "d = dict(**a)\n"
    )
    cfg = Config.fromfile(tmp_path / "t.py")
    assert places(cfg.origin("a.x")) == [("t.py", 1), ("t.py", 2)]
    assert places(cfg.origin("a.y")) == [("t.py", 3)]
    assert places(cfg.origin("a.z")) == [("t.py", 4)]
    assert places(cfg.origin("b.1.n"))[-1] == ("t.py", 5)
    assert places(cfg.origin("c.k.z")) == [("t.py", 4), ("t.py", 6)]
    assert places(cfg.origin("d.z"))[0] == ("t.py", 4)


def test_base_references_carry_their_chain(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("\nm = dict(k=1)\n")
    (tmp_path / "t.py").write_text("_base_ = 'b.py'\nx = _base_.m.k\ny = dict(z=_base_.m)\n")
    cfg = Config.fromfile(tmp_path / "t.py")
    assert places(cfg.origin("x")) == [("b.py", 2), ("t.py", 2)]
    assert places(cfg.origin("y.z.k"))[0] == ("b.py", 2)


def test_every_leaf_of_a_chain_has_an_origin(cfg: Config) -> None:
    def leaves(value: object, path: str) -> list[str]:
        if isinstance(value, dict):
            return [leaf for key, each in value.items() for leaf in leaves(each, f"{path}.{key}")]
        if isinstance(value, list | tuple):
            return [leaf for key, each in enumerate(value) for leaf in leaves(each, f"{path}.{key}")]
        return [path[1:]]

    for leaf in leaves(cfg.to_dict(), ""):
        assert cfg.origin(leaf), leaf


def test_an_unknown_path_is_an_error_with_a_hint(cfg: Config) -> None:
    with pytest.raises(KeyError, match="did you mean 'optimizer'"):
        cfg.origin("optim_wrapper.optimiser.lr")
    with pytest.raises(KeyError, match="list of 1"):
        cfg.origin("steps.3.n")


def test_a_plain_dict_has_no_origin() -> None:
    assert str(Config({"a": 1}).origin("a")) == "unknown"
    assert ConfigDict(a=1).a == 1


def test_marks_print_as_places() -> None:
    assert str(Mark("/somewhere/a.py", 3)) == "/somewhere/a.py:3"
    assert str(Mark("/somewhere/a.py", 3, "lr")) == "/somewhere/a.py:3 (through lr)"


def test_an_override_of_one_element_is_not_the_story_of_its_neighbour(cfg: Config) -> None:
    cfg.merge_from_dict({"crop.0": 9, "steps.0.n": 5})
    assert [mark.note for mark in cfg.origin("crop.0")] == ["", "crop.0=9"]
    assert [mark.note for mark in cfg.origin("crop.1")] == [""]
    assert [mark.note for mark in cfg.origin("crop")] == ["", "crop.0=9"]
