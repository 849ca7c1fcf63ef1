"""ConfigDict and Config: access, misses that explain themselves, copies, merging in code."""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict
from typing import Any

import pytest
from seg_registry import Config, ConfigDict, ConfigKeyError, ConfigTypeError

MODEL: dict[str, Any] = {"model": {"type": "A", "depth": 4, "parts": [{"n": 1}, ({"m": 2},)]}, "items": 3}


@pytest.fixture
def cfg() -> ConfigDict:
    return ConfigDict(MODEL)


def test_attributes_and_items(cfg: ConfigDict) -> None:
    assert cfg.model.depth == cfg["model"]["depth"] == 4
    assert cfg.model.parts[0].n == 1
    assert cfg.model.parts[1][0].m == 2
    cfg.model.depth = 5
    cfg["new"] = OrderedDict(x={"y": 1})
    assert (cfg.model["depth"], cfg.new.x.y) == (5, 1)
    del cfg.model.depth
    assert "depth" not in cfg.model
    assert "model" in dir(cfg)


def test_what_goes_in_is_copied(cfg: ConfigDict) -> None:
    cfg.model.parts.append(3)
    assert len(MODEL["model"]["parts"]) == 2


def test_a_miss_names_the_nearest(cfg: ConfigDict) -> None:
    with pytest.raises(AttributeError, match="no key 'dept' in 'model' of this config; did you mean 'depth'"):
        cfg.model.dept
    with pytest.raises(KeyError, match="did you mean 'model'"):
        cfg["modle"]
    with pytest.raises(KeyError, match="did you mean 'depth'"):
        cfg.model.pop("dept")
    with pytest.raises(AttributeError, match="did you mean 'depth'"):
        del cfg.model.dept
    assert cfg.get("modle") is None
    assert cfg.pop("modle", None) is None
    assert not hasattr(cfg, "modle")
    assert getattr(cfg, "modle", 7) == 7


def test_a_key_named_like_a_method_is_reached_by_item(cfg: ConfigDict) -> None:
    assert callable(cfg.items)
    assert cfg["items"] == 3
    cfg["items"] = 4
    assert cfg["items"] == 4
    with pytest.raises(AttributeError, match="is a method"):
        cfg.items = 5  # type: ignore[method-assign,assignment]


def test_update_is_deep_and_takes_pairs(cfg: ConfigDict) -> None:
    cfg.update({"model": {"depth": 9}}, extra=1)
    cfg.update([("z", {"a": 1})])
    assert (cfg.model.type, cfg.model.depth, cfg.extra, cfg.z.a) == ("A", 9, 1, 1)


def test_or(cfg: ConfigDict) -> None:
    both = cfg | {"model": {"depth": 9}}
    assert (both.model.depth, both.model.type, cfg.model.depth) == (9, "A", 4)
    assert isinstance({"x": 1} | cfg, ConfigDict)
    cfg |= {"y": 1}
    assert cfg.y == 1
    with pytest.raises(TypeError):
        cfg | 3


def test_merge_honours_delete(cfg: ConfigDict) -> None:
    cfg.merge({"model": {"parts": [1], "sub": {"x": 1}}})
    cfg.merge({"model": {"_delete_": True, "type": "B"}})
    assert cfg.model.to_dict() == {"type": "B"}


def test_setdefault_gives_the_wrapped_value(cfg: ConfigDict) -> None:
    assert cfg.setdefault("new", {"a": 1}).a == 1
    assert cfg.setdefault("new", 5).a == 1


def test_copies(cfg: ConfigDict) -> None:
    shallow, deep = copy.copy(cfg), copy.deepcopy(cfg)
    cfg.model.depth = 1
    assert (shallow.model.depth, deep.model.depth) == (1, 4)
    assert isinstance(shallow, ConfigDict)
    restored = pickle.loads(pickle.dumps(deep))
    assert restored == deep
    assert restored.model.parts[0].n == 1


def test_it_is_a_dict_for_everyone_else(cfg: ConfigDict) -> None:
    assert isinstance(cfg, dict)
    assert cfg == MODEL
    assert json.loads(json.dumps(cfg))["model"]["depth"] == 4
    assert dict(**cfg)["items"] == 3
    plain = cfg.to_dict()
    assert type(plain["model"]) is dict
    assert type(plain["model"]["parts"][1][0]) is dict
    assert ConfigDict({1: 2})[1] == 2


def test_dunder_names_are_not_keys() -> None:
    with pytest.raises(AttributeError):
        ConfigDict().__array__


def test_config_wraps_a_dict() -> None:
    cfg = Config(MODEL)
    assert (cfg.model.depth, cfg["items"], len(cfg), list(cfg), "model" in cfg) == (4, 3, 2, ["model", "items"], True)
    cfg.lr = 1
    cfg["wd"] = 2
    del cfg.lr
    del cfg["wd"]
    assert cfg.to_dict() == MODEL
    assert dict(cfg.items()) == MODEL
    assert dict(**cfg) == MODEL
    assert list(cfg.values())[1] == 3
    assert cfg.get("nothing", 5) == 5
    assert cfg.filename is None
    assert not Config()
    with pytest.raises(KeyError, match="did you mean 'model'"):
        del cfg["modle"]
    with pytest.raises(AttributeError, match="did you mean 'model'"):
        cfg.modle


def test_config_copies_compare_and_pickle() -> None:
    cfg = Config(MODEL)
    for other in (cfg.copy(), copy.copy(cfg), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert other == cfg
        assert isinstance(other, Config)
    deep = copy.deepcopy(cfg)
    deep.model.depth = 0
    assert deep != cfg
    assert cfg != 3
    assert "depth" in repr(cfg)


def test_reserved_names_and_wrong_types() -> None:
    with pytest.raises(ConfigKeyError, match="'filename'"):
        Config({"filename": 1})
    with pytest.raises(KeyError, match="'text'"):
        Config().text = "x"  # type: ignore[misc]
    with pytest.raises(KeyError, match="'pretty_text'"):
        Config()["pretty_text"] = "x"
    with pytest.raises(KeyError, match="'filename"):
        Config().merge_from_dict({"filename.x": 1})
    with pytest.raises(ConfigTypeError, match="must be a dict"):
        Config([1])  # type: ignore[arg-type]
