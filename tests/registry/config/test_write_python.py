"""A dumped config always loads back equal; differences are told by key path."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_registry import Config, ConfigError, ConfigTypeError, Registry


def reloaded(values: dict[str, Any]) -> Config:
    return Config.fromstring(Config(values).pretty_text)


@pytest.mark.parametrize(
    "value",
    [
        *(float("inf"), -float("inf"), float("nan"), -0.0, 1e400, 10**300, True, None, 2j, complex(-1.5, 2.0)),
        *(b"\x00x", "a'b\"c\n\t\\ü\u2028", "{{ fileDirname }}", "{{$HOME:x}}", "a{{{_base_.x}}}", "{{{{"),
        *((), (1,), ({"a": 1},), [], [[1, [2]], [()]], set(), {1, "a", (2,)}, {}, range(3), range(5, 0, -2)),
        *({"a b": 1, 3: 4, None: 5, "class": 6, (1, 2): 7, 1.5: 8}, {"_delete_": True, "x": 1}, {"_base_": "x"}),
        *({"type": "X", "nested": [{"deep": ({"deeper": float("-inf")},)}]}, ["x" * 200, "y" * 200]),
    ],
    ids=lambda value: f"a set of {len(value)}" if isinstance(value, set) else repr(value),  # whose order is drawn
)
def test_values_come_back(value: Any) -> None:
    values = {"key": value, "part": {"inner": [value, (value,)] if not isinstance(value, set) else [value]}}
    again = reloaded(values)
    assert again == Config(values)
    if value == value:
        assert repr(again.to_dict()["part"]) == repr(values["part"]) or isinstance(value, set)


@pytest.mark.parametrize(
    "key", ["a-b", "class", "None", "__dunder", "_base_", "dict", "float", "set", "globals", "ü", ""]
)
def test_keys_that_are_no_assignment_come_back(key: str) -> None:
    values = {key: 1, "x": {"y": float("inf"), "z": {1}}, "last": {key: 2}}
    assert reloaded(values) == Config(values)


def test_a_number_as_a_top_level_key() -> None:
    assert reloaded({1: {"a": 2}}).to_dict() == {1: {"a": 2}}  # type: ignore[dict-item]


def test_a_class_is_written_as_its_dotted_name() -> None:
    again = reloaded({"type": Registry, "make": math.floor.__class__})
    assert again.to_dict()["type"] == "seg_registry.registry.registry.Registry"
    assert again == Config({"type": Registry, "make": math.floor.__class__})


def test_what_cannot_be_written_says_where() -> None:
    with pytest.raises(ConfigTypeError, match=r"'a\.b'"):
        Config({"a": {"b": lambda: 1}}).dump()
    with pytest.raises(ConfigTypeError, match=r"'a\.0'"):
        Config({"a": [object()]}).dump()


def test_it_is_stable_and_readable() -> None:
    cfg = Config({"model": {"type": "UNet", "channels": list(range(40)), "in": 3}, "lr": 0.1})
    assert cfg.pretty_text == cfg.pretty_text == Config.fromstring(cfg.pretty_text).pretty_text
    assert max(map(len, cfg.pretty_text.splitlines())) <= 120
    assert cfg.pretty_text.startswith("model = {\n    'type': 'UNet',\n")


def test_files_in_every_format(tmp_path: Path) -> None:
    values = {"a": 1, "b": {"c": [1, 2.5, "x", True], "d": {"e f": "y"}}, "l": [{"k": 1}, {"k": [2]}]}
    for suffix in (".py", ".json", ".toml"):
        Config(values).dump(tmp_path / f"cfg{suffix}")
        assert Config.fromfile(tmp_path / f"cfg{suffix}").to_dict() == values
    pytest.importorskip("yaml")
    Config({**values, "t": (1, (2,))}).dump(tmp_path / "cfg.yaml")
    assert Config.fromfile(tmp_path / "cfg.yaml").to_dict() == {**values, "t": (1, (2,))}
    with pytest.raises(ConfigError, match=r"not as \.txt"):
        Config(values).dump(tmp_path / "cfg.txt")


def test_toml_has_no_none() -> None:
    cfg = Config({"a": {"b": None}}, filename="x.toml")
    with pytest.raises(ConfigTypeError, match=r"None at '.*b'"):
        cfg.dump()


def test_without_a_file_the_text_is_given(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"a": (1)}'.replace("(1)", "1"))
    assert Config.fromfile(tmp_path / "c.json").dump() == '{\n  "a": 1\n}\n'
    assert Config({"a": (1,)}).dump() == "a = (1,)\n"


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=4)
    | st.sampled_from(["{{ fileDirname }}", "{{_base_.x}}", "{{$A:b}}", "__seg_base_0__"])
)  # fmt: skip
HASHABLE = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.tuples(st.integers())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=6) | HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=20,
)
RESERVED = ("filename", "text", "pretty_text", "env_variables", "_deprecation_")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key not in RESERVED), VALUES, max_size=5))
def test_a_dumped_config_always_loads_back_equal(values: dict[str, Any]) -> None:
    cfg = Config(values)
    again = Config.fromstring(cfg.pretty_text)
    assert again == cfg, cfg.pretty_text
    assert list(again) == list(Config.fromstring(again.pretty_text))


def test_diff_is_by_key_path() -> None:
    one = Config({"a": {"b": 1, "c": [1, {"d": 2}]}, "gone": 1, "nan": float("nan"), "s": {1, 2}})
    other = Config({"s": {2, 1}, "nan": float("nan"), "a": {"c": [1, {"d": 3}], "b": 1.0}, "new": [1]})
    changes = Config.diff(one, other)
    assert [change.path for change in changes] == ["a.b", "a.c.1.d", "gone", "new"]
    assert str(changes) == "  a.b: 1 -> 1.0\n  a.c.1.d: 2 -> 3\n- gone = 1\n+ new = [1]"
    assert Config.diff(one, one) == []


def test_diff_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = (1, 2)\n")
    (tmp_path / "b.py").write_text("x = [1, 2]\n")
    assert str(Config.diff(str(tmp_path / "a.py"), str(tmp_path / "b.py"))) == "  x: (1, 2) -> [1, 2]"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=type)
def test_a_dump_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, stop: BaseException
) -> None:
    target = tmp_path / "config.py"
    Config({"lr": 1}).dump(target)

    def fail(*_: Any) -> None:
        raise stop

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(stop)) as caught:
        Config({"lr": 2}).dump(target)
    monkeypatch.undo()
    assert getattr(caught.value, "filename", str(target)) == str(target)
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]
    assert Config.fromfile(target).lr == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights in another way, and links need special ones")
def test_a_dump_keeps_a_link_and_the_rights_of_its_file(tmp_path: Path) -> None:
    target, link = tmp_path / "config.py", tmp_path / "link.py"
    Config({"lr": 1}).dump(target)
    target.chmod(0o640)
    link.symlink_to(target)
    Config({"lr": 2}).dump(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert Config.fromfile(target).lr == 2
