"""From a config to the arguments of a Runner, and the words for keys that look misspelt."""

from __future__ import annotations

from typing import Any

from seg_runner.assembly.arguments import ALSO, CONFIG_KEYS, OWN, OWN_KEYS
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.own_keys import COMMON, is_misspelt_own, is_used, own_arguments
from seg_runner.errors import near_key, nearest, origin_of
from seg_runner.hooks.defaults import WITHOUT_EFFECT
from seg_runner.mmengine.runner_classes import as_runner
from seg_runner.protocols import Builder, Config

__all__ = ["arguments_of", "drop_scopes", "misspelt", "runner_class"]

WITHOUT_SCOPE = ("train_cfg", "val_cfg", "test_cfg", "optim_wrapper", "param_scheduler", "log_processor")
"""Keys whose names are looked up here first, whatever the scope: a scope says nothing of them."""


def misspelt(cfg: Config) -> list[str]:
    """Return a line for each top-level key that is probably a misspelt key of a run, and that the config never reads.

    Names that a config may well use for something else are left to `own_lines`.

    >>> misspelt({"modle": {}, "crop_size": 4})
    ["'modle' is no key of a run. Did you mean 'model'?"]
    """
    known = [key for key in (*ALSO, *CONFIG_KEYS, *WITHOUT_EFFECT) if key not in COMMON and key != OWN]
    lines = []
    for key in cfg:
        near = near_key(key, known) if isinstance(key, str) and key not in CONFIG_KEYS else None
        if near is None and is_misspelt_own(cfg, key):
            near = OWN
        if near is not None and not is_used(cfg, key):
            lines.append(f"{key!r}{origin_of(cfg, key)} is no key of a run. Did you mean {near!r}?")
    return lines


def arguments_of(cfg: Config) -> dict[str, Any]:
    """Return the runner's arguments in a config; all other keys are left to whoever knows them.

    Raises:
        KeyError: `model` or `work_dir` is missing.
        TypeError: `seg` holds a key that there is none of.
        ValueError: a loader or evaluator without its `*_cfg`, or a key that looks misspelt.
    """
    own = own_arguments(cfg)
    lines = misspelt(cfg)
    if lines and own.get("strict_keys", True) is True:
        raise ValueError(
            "\n".join(lines) + "\nNothing in the config reads it, so it would have no effect. To keep it anyway: "
            "strict_keys=False"
        )
    for key in ("model", "work_dir"):
        if cfg.get(key) is None:
            near = nearest(key, cfg)
            hint = f" Did you mean it by {near!r}{origin_of(cfg, near)}?" if near is not None and near != key else ""
            raise KeyError(
                f"the config has no {key!r}; Runner.from_cfg needs 'model' and 'work_dir' (--work-dir sets it).{hint}"
            )
    for mode in ("val", "test"):
        if cfg.get(f"{mode}_dataloader") is not None and cfg.get(f"{mode}_cfg") is None:
            raise ValueError(
                f"the config has {mode}_dataloader{origin_of(cfg, f'{mode}_dataloader')} but no {mode}_cfg: "
                f"write {mode}_cfg=dict(type='{mode.title()}Loop'), or set {mode}_dataloader, {mode}_evaluator to None"
            )
    keys = [name for name in ("model", "work_dir", *CONFIG_KEYS) if name not in OWN_KEYS]
    return {name: cfg[name] for name in keys if name in cfg} | own


def drop_scopes(cfg: Any) -> None:
    """Take `_scope_` away where it is no option of the part: a base `mmseg::path` brings it in beside every `type`.

    >>> cfg = {"train_cfg": {"type": "IterBasedTrainLoop", "_scope_": "mmseg"}, "model": {"_scope_": "mmseg"}}
    >>> drop_scopes(cfg)
    >>> cfg
    {'train_cfg': {'type': 'IterBasedTrainLoop'}, 'model': {'_scope_': 'mmseg'}}
    """
    waiting = [cfg[key] for key in WITHOUT_SCOPE if key in cfg]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            value.pop("_scope_", None)
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def runner_class(default: type[Any], cfg: Config, build: Builder | None) -> type[Any]:
    """Return the class that `runner_type` names, else the default."""
    name = cfg.get("runner_type")
    if name is None:
        return default
    return as_runner(Assembler(build, cfg).resolve("runner", name, "runner_type"), default)
