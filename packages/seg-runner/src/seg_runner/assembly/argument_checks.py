"""What the value of each key of a runner must be: a wrong one is told at once, not in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from seg_runner.checks import MOST, flag, number, text, whole
from seg_runner.errors import did_you_mean, origin_of
from seg_runner.process.randomness import Randomness

__all__ = ["LOAD_OPTIONS", "check_values"]

Check = Callable[[Any], bool]
LOAD_OPTIONS = ("key", "revise_keys", "strict", "unsafe")


def check_values(parts: Mapping[str, Any]) -> None:
    """Refuse values that cannot be meant; which objects fit is left to whoever uses them.

    Raises:
        TypeError: A value of the wrong kind.
        ValueError: A number out of range.
    """
    for key, (fits, expected) in EXPECTED.items():
        value = parts[key]
        if isinstance(value, Dataset) and not isinstance(value, IterableDataset) and key.endswith("dataloader"):
            raise TypeError(
                f"{key} is a data set, {type(value).__name__}, which gives samples and not batches: give "
                f"torch.utils.data.DataLoader(..., batch_size=...) of it, or dict(dataset=..., batch_size=...)"
            )
        if value is not None and not fits(value):
            raise TypeError(f"{key}{origin_of(parts['cfg'], key)} must be {expected}, not {_shown(value)}")
    whole(parts["log_interval"], f"log_interval{origin_of(parts['cfg'], 'log_interval')}", 1)
    _check_load_options(parts["load_options"] or {})
    origin = origin_of(parts["cfg"], "auto_scale_lr")
    _check_names(parts["auto_scale_lr"] or {}, ("enable", "base_batch_size"), f"auto_scale_lr{origin}")
    for key, name in (("auto_scale_lr", "enable"), ("checkpoint", "async_save")):
        if name in (parts[key] or {}):
            flag(parts[key][name], f"{key}.{name}")
    scaling = parts["auto_scale_lr"] or {}
    if scaling.get("enable") and scaling.get("base_batch_size") is not None:
        number(scaling["base_batch_size"], f"auto_scale_lr.base_batch_size{origin}", most=MOST, above=0)


def _check_names(options: Mapping[str, Any], takes: Iterable[str], key: str) -> None:
    for name in options:
        if name not in takes:
            raise TypeError(f"{key} takes no {name!r}.{did_you_mean(str(name), takes)} It takes {', '.join(takes)}")


def _check_load_options(options: Mapping[str, Any]) -> None:
    _check_names(options, LOAD_OPTIONS, "load_options")
    for name in ("strict", "unsafe"):
        flag(options.get(name, False), f"load_options.{name}")
    text(options.get("key"), "load_options.key")
    pairs = options.get("revise_keys") or []
    if not _is_listed(pairs) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in pairs):
        raise TypeError(
            f"load_options.revise_keys must be a list of pairs (pattern, replacement), such as [('^module', '')], not "
            f"{_shown(pairs)}"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_listed(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or (_is_listed(value) and all(isinstance(item, str) for item in value))


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def _is_loader(value: Any) -> bool:
    return not isinstance(value, str) and any(hasattr(value, name) for name in ("__iter__", "__getitem__"))


def _is_schedule(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_schedule, value))
    return _is_dict(value) or callable(getattr(value, "step", None))


def _can(*methods: str) -> Check:
    return lambda value: _is_dict(value) or all(callable(getattr(value, name, None)) for name in methods)


LOADER: tuple[Check, str] = (_is_loader, "an iterable of batches, or a dict such as dict(dataset=..., batch_size=...)")
FLAG: tuple[Check, str] = (_is_flag, "True or False")
NAMES: tuple[Check, str] = (_is_words, "the name of a module, or a list of names")
BUILDER = "an object with get(kind, name) and build(kind, cfg)"
EXPECTED: dict[str, tuple[Check, str]] = {
    "train_dataloader": LOADER,
    "val_dataloader": LOADER,
    "test_dataloader": LOADER,
    "param_scheduler": (_is_schedule, "a scheduler, a list of them, or their configs such as dict(type='PolyLR')"),
    "loss": (
        lambda value: _is_dict(value) or (callable(value) and not isinstance(value, type)),
        "a function loss(logits, labels), an object such as torch.nn.CrossEntropyLoss(), or its config",
    ),
    "sync_bn": (lambda value: value in ("torch", "mmcv"), "'torch', 'mmcv' or None"),
    "default_scope": (lambda value: isinstance(value, str), "the name of a package, such as 'mmseg'"),
    "cfg": (lambda value: callable(getattr(value, "get", None)), "the whole config, a dict"),
    "build": (lambda value: all(callable(getattr(value, name, None)) for name in ("get", "build")), BUILDER),
    "auto_scale_lr": (_is_dict, "a dict such as dict(enable=True, base_batch_size=16)"),
    "default_hooks": (_is_dict, "a dict from the name of a default hook to its config, or None to leave it out"),
    "custom_hooks": (_is_listed, "a list of hooks, or of their configs"),
    "hooks": (_is_listed, "a list of hooks, or of their configs"),
    "load_from": (_is_path, "the path of a checkpoint"),
    "load_options": (_is_dict, f"a dict with some of {', '.join(LOAD_OPTIONS)}"),
    "compile": (lambda value: _is_flag(value) or _is_dict(value), "True, or a dict of torch.compile's arguments"),
    "activation_checkpointing": NAMES,
    "efficient_conv_bn_eval": NAMES,
    "channels_last": FLAG,
    "resume": (lambda value: _is_flag(value) or _is_path(value), "True, False, or the path of a checkpoint"),
    "strict_keys": FLAG,
    "strict_paths": FLAG,
    "overwrite": FLAG,
    "strict_resume": FLAG,
    "resume_data": FLAG,
    "skip_checks": FLAG,
    "checkpoint": (_is_dict, "a dict such as dict(async_save=True)"),
    "signals": (_is_listed, "a list of names, such as ['SIGTERM'], or dict(names=[...], grace=30)"),
    "launcher": (lambda value: isinstance(value, str), "the name of a launcher, such as 'none'"),
    "env_cfg": (_is_dict, "a dict such as dict(cudnn_benchmark=True)"),
    "randomness": (lambda value: _is_dict(value) or isinstance(value, Randomness), "a dict such as dict(seed=0)"),
    "log_processor": (_can("get_log_after_iter", "get_log_after_epoch"), "a LogProcessor, or its config"),
    "log_level": (lambda value: isinstance(value, str), "the name of a level, such as 'INFO'"),
    "visualizer": (_can("add_scalars"), "an object with add_scalars, or its config"),
    "experiment_name": (lambda value: isinstance(value, str), "a name"),
}
