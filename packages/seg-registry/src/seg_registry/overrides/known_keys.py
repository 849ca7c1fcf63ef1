"""Keys that are no typos although they look like one: what the Runner takes, and what a named class takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["RUNNER_KEYS", "is_known_key"]

_RUNNER_KEYS = """
    model work_dir train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg auto_scale_lr
    optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor
    load_from resume launcher env_cfg log_processor log_level visualizer default_scope randomness experiment_name
    cfg model_wrapper_cfg custom_imports vis_backends tta_model tta_pipeline compile sync_bn find_unused_parameters
    strict_keys strict_paths seg
"""
RUNNER_KEYS = frozenset(_RUNNER_KEYS.split())


def is_known_key(table: Mapping[Any, Any], key: object, *, top: bool) -> bool:
    """Tell whether the Runner (at the top level) or the class that this dict names takes this key."""
    if top:
        return key in RUNNER_KEYS
    target = table.get("type")
    found = _class_of(target) if isinstance(target, str) else target
    return isinstance(found, type) and any(key in _parameters(each) for each in found.__mro__)


def _class_of(name: str) -> Any:
    from seg_registry.registry.catalog import KINDS

    for kind in KINDS.values():
        found = kind.registry.find_here(name)
        if found is not None:
            return found
    return None


def _parameters(owner: type) -> frozenset[str]:
    from inspect import signature

    try:
        return frozenset(signature(vars(owner)["__init__"]).parameters) if "__init__" in vars(owner) else frozenset()
    except (TypeError, ValueError):
        return frozenset()
