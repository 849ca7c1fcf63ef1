"""Every config inside the mmsegmentation wheel loads to what MMEngine loads; so do overrides."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
from seg_registry import Config, parse_options

pytest.importorskip("mmengine", reason="mmengine is in the parity environment only")
SPEC = importlib.util.find_spec("mmseg")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip("mmsegmentation is in the parity environment only", allow_module_level=True)
FOLDER = Path(next(iter(SPEC.submodule_search_locations))) / ".mim" / "configs"
FILES = sorted(FOLDER.rglob("*.py"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """MMEngine's own log lines and warnings (packages that are missing here) are not under test."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def same(one: Any, other: Any) -> bool:
    """Equal, with tuples and lists told apart and keys in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_all_configs_load_equal() -> None:
    from mmengine.config import Config as Reference

    assert len(FILES) == 769
    different, failed = [], []
    for path in FILES:
        ours = Config.fromfile(path).to_dict()
        try:
            theirs = Reference.fromfile(str(path)).to_dict()
        except (ImportError, RuntimeError):  # custom_imports of a package that is not here, or not whole
            failed.append(path)
            assert "custom_imports" in ours, path
            continue
        if not same(ours, theirs):
            different.append(path)
    assert different == []
    assert len(failed) <= 17


def test_dumps_load_back_equal_in_both() -> None:
    from mmengine.config import Config as Reference

    for path in FILES[::40]:
        cfg = Config.fromfile(path)
        assert Config.fromstring(cfg.pretty_text) == cfg
        text = "\n".join(line for line in cfg.pretty_text.splitlines())
        cfg.pop("custom_imports", None)
        theirs = Reference.fromstring(cfg.pretty_text, ".py").to_dict()
        assert theirs == cfg.to_dict(), text


VALUES = [
    *(
        "1",
        "1_000",
        "1.0",
        "1e-3",
        "inf",
        "True",
        "false",
        "TRUE",
        "None",
        "none",
        "null",
        "1,2",
        "[1,2]",
        "1,",
        "(1,2)",
    ),
    *(
        "(1,)",
        "[]",
        "()",
        "[(1,2),[3,x]]",
        "'a'",
        "{...}",
        "dict(a=1)",
        "0x10",
        "s3://x/y,z",
        "{a:1,b:2}",
        "a]",
        "(1",
        ",",
    ),
    *(
        "[,]",
        "1,,2",
        '["a","b"]',
        'a"b"c',
        "[1,2],3",
        "(1),2",
        "(1)",
        "[[1]]",
        "((1,2),)",
        "a=b",
        "a=b,c",
        "[ 1 , 2 ]",
        "-1",
    ),
    *("+1", "1.", ".5", "1e", "[None,true]", "x[1]", "((", "[)"),
]


@pytest.mark.parametrize("value", VALUES)
def test_override_values_parse_equal(value: str) -> None:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument("--o", nargs="+", action=DictAction)
    theirs = parser.parse_args(["--o", f"a.b={value}"]).o
    assert repr(parse_options([f"a.b={value}"])) == repr(theirs)


MERGES: list[dict[str, Any]] = [
    {"a.b": 1},
    {"a.x": 5, "a.y.z": 6},
    {"a": {"_delete_": True, "q": 1}},
    {"a._delete_": True, "a.q": 1},
    {"a": {"b": 9, "c": {"d": 10}}},
    {"l.0.p": 5},
    {"l.1": {"p": 6}},
    {"l": [1]},
    {"a.c.d": None, "new": {"deep": [1, {"x": 2}]}},
    {"a.c": 3},
    {"s": "text"},
    {"a": {"_delete_": False, "b": 7}},
]


@pytest.mark.parametrize("options", MERGES)
def test_overrides_merge_equal(options: dict[str, Any]) -> None:
    from mmengine.config import Config as Reference

    values = {"a": {"b": 0, "c": {"d": 1}}, "l": [{"p": 1, "q": 2}, {"p": 3}], "s": 1, "t": (1, 2)}
    ours, theirs = Config(values), Reference(values)
    ours.merge_from_dict(options)
    theirs.merge_from_dict(options)
    assert same(ours.to_dict(), theirs.to_dict())


NEW_STYLE = {
    "base.py": (
        "from torch.nn import Conv2d, ReLU as Act\n_hidden = 3\nlr = 0.1\n"
        "model = dict(type=Conv2d, act=dict(type=Act), head=dict(n=1, k=[1, 2]))\npipe = [dict(type='A'), dict(x=1)]\n"
    ),
    "other.py": "lr = 0.5\nopt = dict(a=1)\n",
    "train.py": (
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"
        "    from .other import lr, opt\nimport torch.optim as optim\nfrom torch.optim import SGD\n"
        "model.update(dict(head=dict(k=[3])))\nmodel.head.n = 7\nmodel['new'] = dict(type=SGD)\npipe[1].x = 5\n"
        "pipe.append(dict(type=optim.AdamW, lr=lr))\nwrapper = dict(optimizer=dict(type=optim.Adam), conv=Conv2d)\n"
        "opt.merge(dict(a=dict(_delete_=True, b=1)))\nboth = {**model.head, 'z': 1}\n"
    ),
}


def test_new_style_configs_load_equal(tmp_path: Path) -> None:
    from mmengine.config import Config as Reference

    for name, text in NEW_STYLE.items():
        (tmp_path / name).write_text(text)
    ours, theirs = (kind.fromfile(str(tmp_path / "train.py")).to_dict() for kind in (Config, Reference))
    assert ours == theirs


def random_table(random: Random, depth: int = 0) -> dict[str, Any]:
    """A nested dict with `_delete_` sprinkled in, below the top."""
    table = {random.choice("abcd"): random_value(random, depth) for _ in range(random.randint(0, 3))}
    if depth and random.random() < 0.2:
        table["_delete_"] = random.choice([True, False])
    return table


def random_value(random: Random, depth: int) -> Any:
    chance = random.random()
    if chance < 0.5 and depth < 3:
        return random_table(random, depth + 1)
    if chance < 0.7:
        items = [random_value(random, depth + 1) for _ in range(random.randint(0, 2))]
        return items if chance < 0.6 else tuple(items)
    return random.choice([1, 2.5, "s", None, True])


@pytest.mark.parametrize("seed", range(40))
def test_random_chains_merge_equal(tmp_path: Path, seed: int) -> None:
    from mmengine.config import Config as Reference

    random, base = Random(seed), ""
    for name in ("a.py", "b.py", "c.py"):
        lines = [f"{key} = {value!r}\n" for key, value in random_table(random).items()]
        (tmp_path / name).write_text("".join([base, *lines]))
        base = f"_base_ = '{name}'\n"
    try:
        theirs = Reference.fromfile(str(tmp_path / "c.py")).to_dict()
    except TypeError:
        with pytest.raises(TypeError):
            Config.fromfile(tmp_path / "c.py")
        return
    assert same(Config.fromfile(tmp_path / "c.py").to_dict(), theirs)


@pytest.mark.parametrize("seed", range(60))
def test_random_overrides_merge_equal(seed: int) -> None:
    from mmengine.config import Config as Reference

    random = Random(seed)
    values, options = random_table(random), {}
    for _ in range(random.randint(1, 3)):
        options[".".join(random.choice("abcd01") for _ in range(random.randint(1, 3)))] = random_value(random, 1)
    ours, theirs = Config(deepcopy(values)), Reference(deepcopy(values))
    try:
        theirs.merge_from_dict(deepcopy(options))
    except (TypeError, KeyError, AttributeError):
        return  # where the reference fails, ours may do better
    ours.merge_from_dict(options)
    assert same(ours.to_dict(), theirs.to_dict())
