"""Which names of a config's `type`s can be built, looked up as the engine does; nothing is built."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["Named", "is_ours", "look_up", "named_types", "quiet"]

KINDS = {
    "model": "model",
    "data_preprocessor": "model",
    "tta_model": "model",
    "dataset": "dataset",
    "pipeline": "transform",
    "transforms": "transform",
    "tta_pipeline": "transform",
    "sampler": "data_sampler",
    "batch_sampler": "data_sampler",
    "collate_fn": "function",
    "optim_wrapper": "optim_wrapper",
    "optimizer": "optimizer",
    "param_scheduler": "param_scheduler",
    "default_hooks": "hook",
    "custom_hooks": "hook",
    "train_cfg": "loop",
    "val_cfg": "loop",
    "test_cfg": "loop",
    "val_evaluator": "metric",
    "test_evaluator": "metric",
    "metrics": "metric",
    "visualizer": "visualizer",
    "vis_backends": "vis_backend",
    "log_processor": "log_processor",
    "init_cfg": "weight_initializer",
}
"""Which registry the parts under a key come from; a part inside one of these belongs to the nearest."""
ROOTS = (
    *("model", "data_preprocessor", "tta_model", "tta_pipeline"),
    *("train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "param_scheduler"),
    *("default_hooks", "custom_hooks", "train_cfg", "val_cfg", "test_cfg", "val_evaluator", "test_evaluator"),
    *("visualizer", "log_processor"),
)
"""Keys of a config that a run builds from; the others are helpers of these."""

OTHERS = {"Albu": "transforms"}
"""Parts that build what lies under a key from another library's names: Albumentations has no registry of ours."""


@dataclass(frozen=True)
class Named:
    """One `type` of a config: its name, the kind of part, the path in the config, and where it stands."""

    name: str
    kind: str
    path: str
    file: str
    line: int
    scope: str


def named_types(cfg: Any) -> Iterator[Named]:
    """Yield the types that a run of a config builds from."""
    from seg_registry.values.origins import chain_of

    scope = cfg.get("default_scope") or ""
    waiting = [(key, key, "", cfg.get(key), scope) for key in reversed(ROOTS) if cfg.get(key)]
    while waiting:
        path, key, kind, value, scope = waiting.pop()
        kind = KINDS.get(key, kind)
        if isinstance(value, list | tuple):
            waiting += [(f"{path}.{at}", "", kind, one, scope) for at, one in reversed(list(enumerate(value)))]
        if not isinstance(value, Mapping):
            continue
        scope = value.get("_scope_") or scope
        name = value.get("type")
        if isinstance(name, str):
            file, line, *_ = (*(chain_of(value, "type") or (("", 0),))[-1],)
            yield Named(name, kind, path, str(file), int(line), str(scope))
        if isinstance(value.get("constructor"), str):
            file, line, *_ = (*(chain_of(value, "constructor") or (("", 0),))[-1],)
            yield Named(value["constructor"], "optim_wrapper_constructor", path, str(file), int(line), str(scope))
        inside = [(key, one) for key, one in value.items() if OTHERS.get(str(name)) != key]
        waiting += [(f"{path}.{key}", str(key), kind, one, scope) for key, one in reversed(inside)]


class LookUp(NamedTuple):
    """What a name means; else why it means nothing, in the engine's words, and the import that failed, if one did."""

    found: Any = None
    why: str = ""
    failed: str = ""


def is_ours(named: Named) -> bool:
    """Tell whether a name means a part of one of our packages.

    >>> is_ours(Named("LoggerHook", "hook", "default_hooks.logger", "", 0, ""))
    True
    """
    from seg_registry.registry.dotted_names import is_own

    found = look_up(named).found
    return found is not None and is_own(str(getattr(found, "__module__", "")))


def look_up(named: Named) -> LookUp:
    """Return what a name means in the registry of its kind, else in any."""
    return _look_up(named.name, named.kind, named.scope)


@lru_cache(maxsize=4096)
def _look_up(name: str, kind: str, scope: str) -> LookUp:
    from seg_registry.registry.catalog import KINDS as ALL

    missed = LookUp()
    for each in dict.fromkeys([kind or "model", *ALL]):
        try:
            return LookUp(_builder(scope).get(each, name))
        except Exception as error:  # an installed package may fail in any way while it is imported
            missed = missed if missed.why else LookUp(None, str(error), failed_import(error))  # of its own kind
    return missed


def failed_import(error: BaseException) -> str:
    """Return which import failed, of those that an error of a look-up names; empty for none."""
    from seg_registry import RegistryError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, RegistryError):
        return failed_import(error.__cause__) if error.__cause__ is not None else ""
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=64)
def _builder(scope: str) -> Any:
    from seg_registry import builder

    return builder({"default_scope": scope} if scope else {})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what packages print and log as they are imported out of the report."""
    import warnings

    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
