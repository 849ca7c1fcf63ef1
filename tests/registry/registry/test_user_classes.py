"""What users register with MMEngine, or with the package of a scope, wins over a part of ours of the same name."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from seg_registry.registry.builder import builder
from seg_registry.registry.catalog import HOOKS, KINDS
from seg_registry.registry.user_classes import has_scope, registered_by_users

HOOK = KINDS["hook"]


def made_class(name: str, module: str) -> type:
    return type(name, (), {"__module__": module})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the registry of hooks of an engine holds, as long as the test runs."""
    held: dict[str, Any] = {}
    module = ModuleType("mmengine.registry")
    module.HOOKS = SimpleNamespace(module_dict=held, get=held.get)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.registry", module)
    return held


def test_a_class_of_a_user_is_taken_instead_of_ours(engine: dict[str, Any]) -> None:
    ours = builder().get("hook", "CheckpointHook") if "CheckpointHook" in HOOKS else None
    engine["CheckpointHook"] = mine = made_class("CheckpointHook", "my_project.hooks")
    assert builder().get("hook", "CheckpointHook") is mine
    engine["CheckpointHook"] = made_class("CheckpointHook", "mmengine.hooks.checkpoint_hook")
    if ours is not None:
        assert builder().get("hook", "CheckpointHook") is ours


def test_the_first_registry_that_has_the_name_decides(engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine["Draws"] = made_class("Draws", "my_project.hooks")
    assert registered_by_users(HOOK, "Draws", "scoped") == (engine["Draws"], "mmengine")
    scope = ModuleType("scoped.registry")
    scope.HOOKS = SimpleNamespace(module_dict={"Draws": made_class("Draws", "scoped.hooks")})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scoped.registry", scope)
    assert registered_by_users(HOOK, "Draws", "scoped") is None


def test_what_this_process_has_registered_with_us_counts_before(engine: dict[str, Any]) -> None:
    engine["OnlyHere"] = made_class("OnlyHere", "my_project.hooks")
    registered = made_class("OnlyHere", "my_project.other")
    HOOKS.register_module(name="OnlyHere", module=registered)
    try:
        assert builder().get("hook", "OnlyHere") is registered
    finally:
        del HOOKS._items["OnlyHere"]
    assert builder().get("hook", "OnlyHere") is engine["OnlyHere"]


def test_what_no_config_may_build_stays_out_of_reach(engine: dict[str, Any]) -> None:
    import subprocess

    engine["Runs"] = type("Runs", (subprocess.Popen,), {"__module__": "my_project.hooks"})
    assert registered_by_users(HOOK, "Runs", "") is None


def test_nothing_is_asked_that_nobody_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmengine.registry", raising=False)
    assert registered_by_users(HOOK, "CheckpointHook", "mmengine") is None


def test_a_registry_that_a_user_made_is_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_scope(KINDS.values(), "necks")
    module = ModuleType("mmengine.registry")
    necks = SimpleNamespace(module_dict={}, children={})
    module.MODELS = SimpleNamespace(module_dict={}, children={"mmseg": SimpleNamespace(children={"necks": necks})})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.registry", module)
    assert has_scope(KINDS.values(), "necks")
    assert has_scope(KINDS.values(), "mmseg")
    assert not has_scope(KINDS.values(), "heads")
