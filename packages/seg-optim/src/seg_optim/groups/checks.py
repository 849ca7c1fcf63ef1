"""Checks and reports on models and `paramwise_cfg`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from seg_optim.checks import check_flag, check_given, check_number, did_you_mean
from seg_optim.groups.rules import Rules, matcher

__all__ = ["PARAMWISE_KEYS", "check_model", "check_paramwise", "check_pattern", "report_unmatched"]

logger = logging.getLogger("seg_optim")
MULTIPLIERS = ("lr_mult", "decay_mult")
RATES = ("lr", "weight_decay")
DECAY_KEYS = ("norm_decay_mult", "bias_decay_mult", "dwconv_decay_mult")
PARAMWISE_KEYS = (
    "custom_keys",
    "bias_lr_mult",
    "flat_decay_mult",
    "dcn_offset_lr_mult",
    "bypass_duplicate",
    "compose",
    "match",
    "strict",
    "fuse",
    "no_weight_decay",
    *DECAY_KEYS,
)
FLAGS = ("bypass_duplicate", "compose", "strict", "fuse", "no_weight_decay", "skip_tokens")


def check_model(model: nn.Module) -> None:
    """Raise ValueError for a model that has nothing to train."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, not a torch.nn.Module")
    if any(p.requires_grad or hasattr(p, "unfreezes_at") for p in model.parameters()):
        return
    parameters = list(model.parameters())
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameters, so there is nothing to optimize")
    raise ValueError(f"all {len(parameters)} parameters of {type(model).__name__} are frozen; nothing would be trained")


def check_paramwise(cfg: object, lr: float | None, weight_decay: float | None, own: Sequence[str] | None) -> None:
    """Raise for wrong types, unknown keys (unless `own` is None) and multipliers of something that is not given."""
    where = "optim_wrapper.paramwise_cfg"
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{where} is a {type(cfg).__name__}, a dict is needed")
    known = (*PARAMWISE_KEYS, *(own or ()))
    for key in cfg if own is not None else ():
        if key not in known:
            _unknown(
                f"{where}.{key} is unknown.{did_you_mean(key, known)} Known: {', '.join(sorted(known))}",
                cfg.get("strict"),
            )
    for key in (*DECAY_KEYS, "bias_lr_mult", "flat_decay_mult", "dcn_offset_lr_mult"):
        check_number(f"{where}.{key}", cfg.get(key))
    for key in FLAGS:
        check_flag(f"{where}.{key}", cfg.get(key))
    matcher(cfg.get("match", "substring"))
    custom = {} if cfg.get("custom_keys") is None else cfg["custom_keys"]
    _check_custom(custom, f"{where}.custom_keys", weight_decay)
    _check_patterns(custom, cfg.get("match"), f"{where}.custom_keys")
    _check_options(custom, f"{where}.custom_keys", bool(cfg.get("strict")))
    missing = [key for key in DECAY_KEYS if cfg.get(key) is not None]
    if missing and weight_decay is None:
        raise ValueError(f"{where}.{missing[0]} multiplies weight_decay, but optim_wrapper.optimizer has none: add it")
    if cfg.get("flat_decay_mult") is not None and weight_decay is None:
        logger.warning("%s.flat_decay_mult has no effect: optim_wrapper.optimizer has no weight_decay", where)


def _unknown(text: str, strict: bool | None) -> None:
    """Raise an error, or log a line where `strict=False` was said."""
    if strict is not False:
        raise ValueError(text)
    logger.warning("%s", text)


def _check_custom(custom: object, where: str, weight_decay: float | None) -> None:
    if not isinstance(custom, Mapping):
        raise TypeError(f"{where} is a {type(custom).__name__}, a dict is needed")
    for key, options in custom.items():
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {key!r}, a {type(key).__name__}: part of a name, a text, is needed")
        if not isinstance(options, Mapping):
            raise TypeError(
                f"{where}[{key!r}] is a {type(options).__name__}, a dict such as dict(lr_mult=0.1) is needed"
            )
        for name in MULTIPLIERS:
            check_number(f"{where}[{key!r}].{name}", options.get(name))
        for name in RATES:
            if name in options:
                check_given(f"{where}[{key!r}].{name}", options[name])
        if "params" in options:
            raise ValueError(f"{where}[{key!r}].params is not allowed: the key chooses parameters by name")
        if "decay_mult" in options and weight_decay is None:
            raise ValueError(
                f"{where}[{key!r}].decay_mult multiplies weight_decay, but optim_wrapper.optimizer has none: add it"
            )


def _check_patterns(custom: Mapping[str, Any], match: str | None, where: str) -> None:
    """Raise ValueError for a key that is no regular expression, with `match='regex'`."""
    for key in custom if match == "regex" else ():
        check_pattern(f"{where}[{key!r}]", key)


def check_pattern(where: str, pattern: str) -> None:
    """Raise ValueError for what is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{where} is not a regular expression: {error}") from error


def _check_options(custom: Mapping[str, Mapping[str, Any]], where: str, strict: bool) -> None:
    """Report options that look like a multiplier written wrong (others are options of the group)."""
    for key, options in custom.items():
        for name in options:
            hint = "" if name in MULTIPLIERS else did_you_mean(name, MULTIPLIERS)
            if hint:
                _unknown(f"{where}[{key!r}].{name} is not a multiplier and has no effect.{hint}", strict)


def report_unmatched(rules: Rules, names: Iterable[str], strict: bool) -> None:
    """Say once which custom keys match none of the parameters, with near names; an error if `strict`.

    A key that matches, but never wins against a longer one, is not reported.
    """
    left = [key for key in rules.keys if key not in rules.hit]
    if not left:
        return
    texts = [name if "." in name else rules.text("", name) for name in names]
    if rules.cfg.get("match", "substring") == "substring":
        everything = "\n".join(texts)
        left = [key for key in left if key not in everything]
    else:
        left = [key for key in left if not any(rules.matches(key, text) for text in texts)]
    if not left:
        return
    parts = {part for text in texts for part in text.rpartition(".")[::2]}  # few beside the texts: split those
    words = sorted(word for word in set(".".join(parts).split(".")) if not word.isdigit())
    text = "optim_wrapper.paramwise_cfg.custom_keys: " + " ".join(
        f"{key!r} matches no parameter.{did_you_mean(key, words)}" for key in left
    )
    if strict:
        raise ValueError(text)
    logger.warning("%s", text)
