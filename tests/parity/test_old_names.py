"""The table of old names, held against the published packages: new names are there, old ones are not."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any

import pytest
from seg_registry import builder
from seg_registry.registry.catalog import KINDS
from seg_runner.assembly.arguments import CONFIG_KEYS as KEYS

from seg_engine.migrate.old_names import CONFIG_KEYS, MODULES, NAMES, TYPES

if importlib.util.find_spec("mmengine") is None or importlib.util.find_spec("mmcv") is None:
    pytest.skip("mmengine and mmcv are not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
TABLE = {**NAMES, **MODULES}


def find(dotted: str) -> Any:
    """What a dotted name means, or None."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name, None)
        return found
    return None


@pytest.fixture(autouse=True)
def _importable() -> None:
    from seg_engine.mmseg import prepare

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepare()


@pytest.mark.parametrize("old", TABLE)
def test_the_new_name_is_there_and_the_old_one_is_not(old: str) -> None:
    assert find(TABLE[old]) is not None
    assert find(old) is None


def test_keys_and_types_are_those_of_a_run() -> None:
    assert set(CONFIG_KEYS.values()) <= set(KEYS)
    assert not set(CONFIG_KEYS) & set(KEYS)
    known = builder({"default_scope": "mmseg"})
    for old, new in TYPES.items():
        assert any(found_in(known, kind, new) for kind in KINDS), new
        assert not any(found_in(known, kind, old) for kind in KINDS if kind != "model"), old


def found_in(known: Any, kind: str, name: str) -> bool:
    """Whether a registry has a name."""
    try:
        return known.get(kind, name) is not None
    except KeyError:
        return False


def test_operators_that_need_no_compiler_are_there_and_run() -> None:
    import mmcv.ops
    import torch

    from seg_engine.migrate.scopes import OPERATORS

    assert [name for name in OPERATORS if not hasattr(mmcv.ops, name)] == []
    image = torch.rand(1, 8, 4, 4)
    assert mmcv.ops.CrissCrossAttention(8)(image).shape == image.shape
    assert mmcv.ops.point_sample(image, torch.rand(1, 3, 2)).shape == (1, 8, 3)
    assert mmcv.ops.SAConv2d(8, 8, 3, padding=1)(image).shape == image.shape
