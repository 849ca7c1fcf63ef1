"""Overrides: how a text becomes a value, where it goes, and what is a typo."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_registry import Config, ConfigError, DictAction, OverrideError, Registry, parse_options
from seg_registry.overrides.parse_options import DELETE, parse_value
from seg_registry.registry.catalog import MODELS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1_000", 1000),
        ("1e-3", 0.001),
        ("TRUE", True),
        ("None", None),
        ("none", "none"),
        ("1,2", [1, 2]),
        ("(1,)", (1,)),
        ("[(1,2),[3,x]]", [(1, 2), [3, "x"]]),
        ("'1'", "1"),
        ('"True"', "True"),
        ("'a,b'", "a,b"),
        ("hello world", "hello world"),
        ("  padded  ", "padded"),
        ("[a b, c d]", ["a b", "c d"]),
        ("['a, b', c]", ["a, b", "c"]),
        ("(1,2),(3,4)", [(1, 2), (3, 4)]),
        ("it's fine", "it's fine"),
        ("it's,fine", ["it's", "fine"]),
        ("dict(a=1,b=2)", "dict(a=1,b=2)"),
        ("''", ""),
        ("", ""),
        (" ", ""),
        ('"[1,2]"', [1, 2]),
        ("'(1, (2,x))'", (1, (2, "x"))),
        ("\"'[1,2]'\"", "[1,2]"),
        ('"[a-z]+"', "[a-z]+"),
        ('["[1,2]"]', ["[1,2]"]),
        ('"(1"', "(1"),
        ("''a'", "a"),
        ("[]", []),
        ("()", ()),
        ("[[],()]", [[], ()]),
        ("[ ]", []),
        ("(", "("),
        ("'a', \"b,c\",[ 'd]' ,e'f]", ["a", "b,c", ["d]", "e'f"]]),
        ("x(1,2),3", ["x(1,2)", 3]),
        ("'a''b,c'", ["a''b", "c"]),
    ],
)
def test_values(text: str, value: object) -> None:
    assert repr(parse_value(text)) == repr(value)


def test_brackets_lie_fifty_deep_inside_the_outer_ones() -> None:
    assert repr(parse_value("[" * 51 + "]" * 51)) == "[" * 51 + "]" * 51
    assert repr(parse_value("1," + "[" * 50 + "]" * 50)) == "[1, " + "[" * 50 + "]" * 51
    for text in ("[" * 52 + "]" * 52, "1," + "[" * 51 + "]" * 51):
        with pytest.raises(OverrideError, match="brackets are nested more than 50 deep"):
            parse_value(text)


@pytest.mark.parametrize("text", ["[1,2", "1,2]", "[1,[2]", "(1,2]", "[" * 80 + "," + "]" * 80])
def test_unbalanced_or_too_deep_is_an_error(text: str) -> None:
    with pytest.raises(OverrideError, match="brackets"):
        parse_value(text)


@pytest.mark.parametrize("option", ["novalue", "=1", "", "+=1"])
def test_an_option_has_a_key_and_a_value(option: str) -> None:
    with pytest.raises(OverrideError, match="KEY=VALUE"):
        parse_options([option])


def test_the_later_one_wins_and_brackets_are_indices() -> None:
    assert parse_options(["a=1", "a=2", "l[0].x=b=c"]) == {"a": 2, "l.0.x": "b=c"}


def test_the_action() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    args = parser.parse_args(["--cfg-options", "a=1", "b=x y", "--cfg-options", "a=2"])
    assert args.cfg_options == {"a": 2, "b": "x y"}
    with pytest.raises(argparse.ArgumentError, match="KEY=VALUE"):
        parser.parse_args(["--cfg-options", "oops"])


def changed(values: dict[str, Any], *options: str, **how: Any) -> dict[str, Any]:
    cfg = Config(values)
    cfg.merge_from_dict(parse_options(options), **how)
    return cfg.to_dict()


def test_places() -> None:
    values = {"a": {"b": 1, "l": [1, {"x": 1}, (2, 3)]}, 5: {"k": 1}}
    assert changed(values, "a.b=2")["a"]["b"] == 2
    assert changed(values, "a.l.0=9", "a.l.1.x=8", "a.l.2.1=7", "a.l.-3=6")["a"]["l"] == [6, {"x": 8}, (2, 7)]
    assert changed(values, "5.k=2")[5] == {"k": 2}
    assert changed(values, "a.n.m=1")["a"]["n"] == {"m": 1}


def test_appending() -> None:
    values = {"l": [1], "t": (1,), "d": {"l": []}}
    assert changed(values, "+l=2")["l"] == [1, 2]
    assert changed(values, "+l=[2,3]")["l"] == [1, 2, 3]
    assert changed(values, "+l=[[2,3]]")["l"] == [1, [2, 3]]
    assert changed(values, "+t=2")["t"] == (1, 2)
    assert changed(values, "+d.l=(1,2)")["d"]["l"] == [(1, 2)]


def test_deleting() -> None:
    values = {"m": {"neck": {"a": 1}, "n": 2}, "l": [1, 2]}
    assert parse_options(["m.neck=_delete_", "m.n="]) == {"m.neck": DELETE, "m.n": ""}
    assert changed(values, "m.neck=_delete_", "l.0=_delete_") == {"m": {"n": 2}, "l": [2]}
    assert changed(values, "m._delete_=True", "m.x=1")["m"] == {"x": 1}
    assert changed(values, "m.x=1", "m._delete_=True")["m"] == {"x": 1}
    assert changed(values, "m._delete_=False", "m.n=1")["m"] == {"neck": {"a": 1}, "n": 1}
    assert changed(values, "m.neck=''")["m"]["neck"] == ""
    with pytest.raises(KeyError, match="did you mean 'neck'"):
        changed(values, "m.nek=_delete_")


def test_what_follows_a_deletion_is_done_all_the_same() -> None:
    values = {"m": {"neck": 1, "head": 2}}
    assert changed(values, "m.neck=_delete_", "m.head=3", "m.new=4")["m"] == {"head": 3, "new": 4}
    assert changed(values, "n.a=_delete_", "n.b=1", "n.c=_delete_") == {**values, "n": {"b": 1}}
    assert changed(values, "n._delete_=True", "n.b=1")["n"] == {"_delete_": True, "b": 1}
    assert changed(values, "m._delete_=True", "m.neck=_delete_", "m.b=1")["m"] == {"b": 1}


def test_a_deletion_has_an_origin_too(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("l = [1, 2]\nm = dict(x=1)\n")
    cfg = Config.fromfile(tmp_path / "c.py")
    cfg.merge_from_dict(parse_options(["l.0=_delete_", "m.x=5"]), source="--cfg-options")
    assert str(cfg.origin("l")).endswith("c.py:1 -> override l.0=_delete_ (--cfg-options)")
    assert cfg.origin("m.x")[-1] == ("<override>", 0, "m.x=5 (--cfg-options)")


def test_an_empty_dict_changes_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    cfg = Config({"m": {"x": 1}, "l": [1]})
    with caplog.at_level(logging.WARNING, "seg_registry"):
        cfg.merge_from_dict({"m": {}, "l": {}, "new": {}})
    assert cfg.to_dict() == {"m": {"x": 1}, "l": [1], "new": {}}
    assert caplog.messages == ["new key 'new', set by 'new'"]


def test_deleting_survives_pickling() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(DELETE)) is DELETE


def test_wrong_places() -> None:
    values = {"a": 1, "l": [1, 2], "n": None}
    for option, match in [
        ("a.b=1", "not a dict"),
        ("n.b=1", "not a dict"),
        ("l.x=1", "not an index"),
        ("l.7=1", "2 elements"),
    ]:
        with pytest.raises(ConfigError, match=match):
            changed(values, option)
    with pytest.raises(TypeError, match="allow_list_keys"):
        changed(values, "l.0=1", allow_list_keys=False)
    with pytest.raises(OverrideError, match="dotted key"):
        Config(values).merge_from_dict({"a..b": 1})


VALUES = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1}}, "test_cfg": {}, "work_dir": "x"}


def test_a_near_name_on_the_command_line_is_an_error_that_names_it() -> None:
    with pytest.raises(OverrideError, match=r"'optim_wraper'; did you mean 'optim_wrapper'\?.*\+optim_wraper\.x="):
        changed(VALUES, "optim_wraper.x=1", strict=True)
    with pytest.raises(OverrideError, match="did you mean 'lr'"):
        changed(VALUES, "optim_wrapper.optimizer.lrr=1", strict=True)


def test_insisting_none_known_keys_and_far_names_are_fine() -> None:
    assert changed(VALUES, "+optim_wraper=1", strict=True)["optim_wraper"] == 1
    assert changed(VALUES, "test_cf=None", strict=True)["test_cf"] is None
    assert changed(VALUES, "val_cfg.type=V", strict=True)["val_cfg"] == {"type": "V"}
    assert changed(VALUES, "crop_size=(1,2)", strict=True)["crop_size"] == (1, 2)


def test_what_the_named_class_takes_is_no_typo() -> None:
    @MODELS.register_module(name="KnowsEpz", force=True)
    class KnowsEpz:
        def __init__(self, eps: float = 0.1, epz: float = 0.1) -> None: ...

    values = {"m": {"type": "KnowsEpz", "eps": 1}}
    assert changed(values, "m.epz=2", strict=True)["m"]["epz"] == 2
    with pytest.raises(OverrideError, match="did you mean 'eps'"):
        changed(values, "m.epss=2", strict=True)
    assert isinstance(MODELS, Registry)


def test_in_code_it_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "seg_registry"):
        changed(VALUES, "optim_wraper.x=1", "brand_new=1")
    assert "did you mean 'optim_wrapper'" in caplog.text
    assert "new key 'brand_new'" in caplog.text


KEYS = st.from_regex(r"\+?[a-d]([.\[][a-c0-2-]\]?){0,3}", fullmatch=True) | st.text(max_size=8)
TEXTS = st.text(st.sampled_from("ab1,()[]'\" .=_{}-e"), max_size=20) | st.text(max_size=10)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(KEYS, TEXTS).map("=".join), max_size=4), st.booleans())
def test_any_overrides_apply_or_are_an_error_of_ours(options: list[str], strict: bool) -> None:
    logging.getLogger("seg_registry").setLevel(logging.CRITICAL)
    cfg = Config({"a": {"a": 1, "b": [1, {"c": 2}]}, "b": [1, (2, 3)], "c": None})
    try:
        cfg.merge_from_dict(parse_options(options), strict=strict)
    except ConfigError:
        return
    finally:
        logging.getLogger("seg_registry").setLevel(logging.NOTSET)
    assert Config.fromstring(cfg.pretty_text) == cfg


def test_an_override_that_comes_too_late_for_some_places_says_so(caplog: pytest.LogCaptureFixture) -> None:
    text = "crop = (1, 2)\npre = dict(size=crop)\nmodel = dict(pre=pre, sizes=[dict(s=crop)])\nother = dict(s=1)\n"
    cfg = Config.fromstring(text)
    with caplog.at_level(logging.WARNING, "seg_registry"):
        cfg.merge_from_dict({"crop": (3, 4)})
    (message,) = caplog.messages
    assert message.endswith("unchanged: 'pre.size', 'model.pre.size', 'model.sizes.0.s'")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "seg_registry"):
        Config.fromstring(text).merge_from_dict({"pre.size": 1, "model.pre.size": 1, "other.s": 2})
    assert caplog.messages == []


@pytest.mark.parametrize(("count", "more"), [(3, ""), (4, " and 1 more"), (6, " and 3 more")])
def test_three_places_that_stay_are_named(count: int, more: str, caplog: pytest.LogCaptureFixture) -> None:
    text = "crop = (1, 2)\n" + "".join(f"p{number} = dict(size=crop)\n" for number in range(count))
    cfg = Config.fromstring(text)
    with caplog.at_level(logging.WARNING, "seg_registry"):
        cfg.merge_from_dict({"crop": (3, 4)})
    (message,) = caplog.messages
    assert message.endswith(f"unchanged: 'p0.size', 'p1.size', 'p2.size'{more}")


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ('k."a.b"=5', "a.b"),
        ("k['a.b']=5", "a.b"),
        ('k["a.b"]=5', "a.b"),
        ("k.'say \"x.y\"'=5", 'say "x.y"'),
        ('k."[0]"=5', "[0]"),
        ('k."a=b"=5', "a=b"),
        ('k."with space"=5', "with space"),
    ],
)
def test_a_key_with_a_dot_is_quoted(option: str, key: str) -> None:
    cfg = Config({"k": {key: 1}, "other": 2})
    cfg.merge_from_dict(parse_options([option]), strict=True, source="--cfg-options")
    assert cfg.to_dict() == {"k": {key: 5}, "other": 2}
    assert str(cfg.origin(next(iter(parse_options([option]))))).startswith("override k")


def test_a_quoted_key_in_the_middle() -> None:
    cfg = Config({"custom_keys": {"backbone.norm": {"lr_mult": 1}}, "l": [{"x.y": [1, 2]}]})
    cfg.merge_from_dict(parse_options(['custom_keys."backbone.norm".lr_mult=0.1', "l[0]['x.y'][1]=7"]), strict=True)
    assert cfg.to_dict() == {"custom_keys": {"backbone.norm": {"lr_mult": 0.1}}, "l": [{"x.y": [1, 7]}]}


JUNK = ["a..b=1", "=1", "a", "", ".a=1", "a.=1", "+=1", "++a=1", "a b=1", "[0]=1", "a[=1", "a]=1", "a[0=1", "a[0]b=1"]
JUNK += ['"=1', '"a=1', '"a"b=1', "a,b=1", "a.''=1", '""=1', "a[]=1", "(a)=1", ".=1", "..=1", " =1", "a\tb=1"]


@pytest.mark.parametrize("option", JUNK)
def test_junk_makes_no_keys(option: str) -> None:
    cfg = Config({"a": {"b": 1}})
    with pytest.raises(OverrideError):
        cfg.merge_from_dict(parse_options([option]))
    assert cfg.to_dict() == {"a": {"b": 1}}


@pytest.mark.parametrize("key", ["a..b", "", ".", "a.", "+", "a['b", "a[b"])
def test_junk_from_a_program_makes_no_keys_either(key: str) -> None:
    cfg = Config({"a": {"b": 1}})
    with pytest.raises(OverrideError):
        cfg.merge_from_dict({key: 1})
    assert cfg.to_dict() == {"a": {"b": 1}}


def test_what_an_override_marks(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("a = dict(x=1)\nl = [1, 2]\nd = dict(x=1)\n")
    cfg = Config.fromfile(tmp_path / "c.py")
    cfg.merge_from_dict({"a.x": 2, "+b.x": 1, "l.0": 5, "d._delete_": True, "d.y": 2})
    names = ("a", "a.x", "b", "b.x", "l", "d", "d.y")
    overridden = {name: any(mark.file == "<override>" for mark in cfg.origin(name)) for name in names}
    assert overridden == {"a": False, "a.x": True, "b": True, "b.x": True, "l": True, "d": True, "d.y": True}


def test_a_dict_of_another_kind_is_changed_without_marks() -> None:
    class Own(dict):  # type: ignore[type-arg]
        pass

    own = Own()
    own["x"] = 1
    cfg = Config({"a": own})
    cfg.merge_from_dict({"a.x": 2})
    assert cfg.to_dict() == {"a": {"x": 2}}


def test_elements_are_deleted_from_the_end_too() -> None:
    cfg = Config({"l": [1, 2, 3], "t": (1, 2, 3)})
    cfg.merge_from_dict(parse_options(["l.-1=_delete_", "t.-3=_delete_", "t.1=_delete_"]))
    assert cfg.to_dict() == {"l": [1, 2], "t": (3,)}


def test_near_is_two_letters_at_most_and_only_between_texts() -> None:
    cfg = Config({"optim_wrapper": {"type": "A"}, "k": {1: "a", "kind": 2}, "ab": 1})
    for option in ("optm_wraper.type=B", "k.knid=3"):
        with pytest.raises(OverrideError, match="did you mean"):
            cfg.merge_from_dict(parse_options([option]), strict=True)
    cfg.merge_from_dict(parse_options(["otm_wraper.type=B", "k.x=3", "k.1=b", "xy=2"]), strict=True)
    assert cfg.k.to_dict() == {1: "b", "kind": 2, "x": 3}
