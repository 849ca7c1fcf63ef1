"""Rules: one parameter -> its multipliers. Pure; what the rules of `paramwise_cfg` say about a single parameter."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn import GroupNorm, LayerNorm
from torch.nn.modules.batchnorm import _NormBase

__all__ = [
    "MATCH_MODES",
    "Decision",
    "Rules",
    "Subject",
    "is_deformable",
    "is_norm",
    "names_without_decay",
    "ordered_keys",
    "subjects",
]

NORMS = (_NormBase, GroupNorm, LayerNorm)
KIND_KEYS = (
    "bias_lr_mult",
    "dcn_offset_lr_mult",
    "norm_decay_mult",
    "bias_decay_mult",
    "dwconv_decay_mult",
    "flat_decay_mult",
)
NO_WEIGHT_DECAY = "no_weight_decay"
"""The rule that follows what the model itself says in a method of this name."""
MATCH_MODES = ("substring", "glob", "regex", "exact")


@dataclass(slots=True)
class Subject:
    """What rules look at: a parameter and the module that holds it.

    Attributes:
        name: the parameter's name in its module (`weight`).
        prefix: dotted path of the module; empty at the top.
        ndim: number of dimensions.
        module: the module itself.
        in_deformable: whether the module's parent is a deformable convolution.
    """

    name: str
    prefix: str
    ndim: int
    module: nn.Module
    in_deformable: bool = False

    @property
    def full_name(self) -> str:
        """Return the dotted name from the model down."""
        return full_name(self.prefix, self.name)


@dataclass(slots=True)
class Decision:
    """What the rules decide: None leaves a field to the optimizer's default.

    Attributes:
        lr_mult: factor on the base learning rate.
        decay_mult: factor on the base weight decay.
        extra: further options of the group, from the custom key.
        lr_rule: which rule decided the learning rate.
        decay_rule: which rule decided the weight decay.
    """

    lr_mult: float | None = None
    decay_mult: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    lr_rule: str = ""
    decay_rule: str = ""


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module is a batch, instance, group or layer norm (others, RMSNorm too, are none for MMEngine)."""
    return isinstance(module, NORMS)


def is_deformable(module: nn.Module) -> bool:
    """Tell whether a module is one of mmcv's deformable convolutions, by its name, so that mmcv need not be there."""
    return any(
        kind.__name__ in ("DeformConv2d", "ModulatedDeformConv2d") and kind.__module__.startswith("mmcv")
        for kind in type(module).__mro__
    )


def ordered_keys(keys: Mapping[str, Any]) -> list[str]:
    """Sort the longest first, equally long ones by the alphabet: the first that matches wins."""
    return sorted(sorted(keys), key=len, reverse=True)


def full_name(prefix: str, name: str) -> str:
    """Return the dotted name from the model down."""
    return f"{prefix}.{name}" if prefix else name


def matcher(
    mode: str, where: str = "optim_wrapper.paramwise_cfg.match"
) -> tuple[Callable[[str, str], str], Callable[[str, str], bool]]:
    """Return one match mode as two functions: `(prefix, name) -> text` and `(key, text) -> bool`.

    `substring` looks into `prefix.name`, which for a top-level parameter begins with a dot (MMEngine's way);
    `glob` and `regex` look at the full name; `exact` wants the full name, or that of a module above it.
    """
    if mode == "substring":
        return lambda prefix, name: f"{prefix}.{name}", lambda key, text: key in text
    if mode == "glob":
        return full_name, lambda key, text: fnmatch.fnmatchcase(text, key)
    if mode == "regex":
        return full_name, lambda key, text: re.search(key, text) is not None
    if mode == "exact":
        return full_name, lambda key, text: f"{text}.".startswith(f"{key}.")
    raise ValueError(f"{where}={mode!r}: choose one of {', '.join(MATCH_MODES)}")


class Rules:
    """The rules of one `paramwise_cfg`, ready to be asked about parameters.

    Args:
        cfg: `paramwise_cfg`.
        composing: decide each field by the most specific rule that mentions it, instead of letting a custom key
            switch all other rules off.
        forced: let the rules on kinds of layers run after a custom key as well, and win.
        spared: names of parameters without weight decay, unless a custom key says otherwise.

    Attributes:
        hit: custom keys that matched at least one parameter so far.
        names_decide: whether parts of a parameter's name are all that counts.
    """

    def __init__(
        self, cfg: Mapping[str, Any], composing: bool = False, forced: bool = False, spared: Iterable[str] = ()
    ) -> None:
        self.cfg = cfg
        self._spared = frozenset(spared)
        self.composing, self.forced = composing, forced
        self.custom: Mapping[str, Mapping[str, Any]] = cfg.get("custom_keys") or {}
        self.keys = ordered_keys(self.custom)
        self.text, self.matches = matcher(cfg.get("match", "substring"))
        self._firsts = self._plain_firsts()
        self._any_kind = any(cfg.get(key) is not None for key in KIND_KEYS)
        self.names_decide = self._firsts is not None and not self._any_kind and not self._spared
        self.hit: set[str] = set()
        self._decisions: dict[tuple[Any, ...], Decision] = {}
        self._norms: dict[type, bool] = {}
        self._deformable: dict[type, bool] = {}

    def decide(self, subject: Subject) -> Decision:
        """Return the multipliers of one parameter. Equal decisions are one object."""
        text = f"{subject.prefix}.{subject.name}"
        if self.names_decide:
            return self.by_name(text)
        found = self._found(subject) if self._firsts is None else self._first(text)
        rate = decay = ""
        if self._any_kind and (not found or self.composing or self.forced):
            norm = self._is_norm(subject.module)
            rate, decay = self._rate_rule(subject, norm), self._decay_rule(subject, norm)
        if self._spared and subject.full_name in self._spared and not self._says_decay(found):
            decay = NO_WEIGHT_DECAY
        decision = self._decisions.get((found, rate, decay) if rate or decay else found)
        return self._decided(found, rate, decay) if decision is None else decision

    def by_name(self, text: str) -> Decision:
        """Return the same from `prefix.name` alone, where `names_decide` says that this is enough."""
        found = self._first(text)
        decision = self._decisions.get(found)
        return self._decided(found, "", "") if decision is None else decision

    def _first(self, text: str) -> tuple[str, ...]:
        for key, first in self._firsts or ():
            if key in text:
                return first
        return ()

    def _decided(self, found: tuple[str, ...], rate: str, decay: str) -> Decision:
        self.hit.update(found)
        decision = self._composed(found, rate, decay) if self.composing else self._single(found, rate, decay)
        self._decisions[(found, rate, decay) if rate or decay else found] = decision
        return decision

    def _says_decay(self, found: Iterable[str]) -> bool:
        return any(option in self.custom[key] for key in found for option in ("decay_mult", "weight_decay"))

    def _plain_firsts(self) -> list[tuple[str, tuple[str, ...]]] | None:
        """Return each key with what `_found` gives for it, in the usual mode, which then needs no call per key."""
        usual = self.cfg.get("match", "substring") == "substring" and not self.composing
        return [(key, (key,)) for key in self.keys] if usual else None

    def _found(self, subject: Subject) -> tuple[str, ...]:
        """Return the custom keys that count: all that match when composing, else the first."""
        text = self.text(subject.prefix, subject.name)
        matching = (key for key in self.keys if self.matches(key, text))
        return tuple(matching) if self.composing else tuple(itertools.islice(matching, 1))

    def _single(self, found: tuple[str, ...], rate: str, decay: str) -> Decision:
        decision = Decision()
        if found:
            options, rule = self.custom[found[0]], f"custom_keys[{found[0]!r}]"
            decision = Decision(options.get("lr_mult", 1.0), options.get("decay_mult", 1.0), dict(options), rule, rule)
        self._by_kind(decision, rate, decay)
        return decision

    def _composed(self, found: tuple[str, ...], rate: str, decay: str) -> Decision:
        decision = Decision()
        self._by_kind(decision, rate, decay)
        for key in reversed(found):
            options, rule = self.custom[key], f"custom_keys[{key!r}]"
            decision.extra.update(options)
            if "lr_mult" in options:
                decision.lr_mult, decision.lr_rule = options["lr_mult"], rule
            if "decay_mult" in options:
                decision.decay_mult, decision.decay_rule = options["decay_mult"], rule
        return decision

    def _by_kind(self, decision: Decision, rate: str, decay: str) -> None:
        if rate:
            decision.lr_mult, decision.lr_rule = self.cfg[rate], rate
        if decay:
            decision.decay_mult, decision.decay_rule = 0.0 if decay == NO_WEIGHT_DECAY else self.cfg[decay], decay

    def _rate_rule(self, subject: Subject, norm: bool) -> str:
        cfg = self.cfg
        offset = subject.in_deformable and "conv_offset" in subject.prefix and isinstance(subject.module, nn.Conv2d)
        if offset and cfg.get("dcn_offset_lr_mult") is not None:
            return "dcn_offset_lr_mult"
        plain_bias = subject.name == "bias" and not norm and not subject.in_deformable
        return "bias_lr_mult" if plain_bias and cfg.get("bias_lr_mult") is not None else ""

    def _decay_rule(self, subject: Subject, norm: bool) -> str:
        cfg, module = self.cfg, subject.module
        if norm and cfg.get("norm_decay_mult") is not None:
            return "norm_decay_mult"
        if subject.name == "bias" and not subject.in_deformable and cfg.get("bias_decay_mult") is not None:
            return "bias_decay_mult"
        depthwise = isinstance(module, nn.Conv2d) and module.in_channels == module.groups
        if depthwise and cfg.get("dwconv_decay_mult") is not None:
            return "dwconv_decay_mult"
        flat = subject.ndim == 1 and not subject.in_deformable
        return "flat_decay_mult" if flat and cfg.get("flat_decay_mult") is not None else ""

    def is_deformable(self, module: nn.Module) -> bool:
        """Tell the same as `is_deformable`, worked out once per class."""
        kind = type(module)
        if kind not in self._deformable:
            self._deformable[kind] = is_deformable(module)
        return self._deformable[kind]

    def _is_norm(self, module: nn.Module) -> bool:
        kind = type(module)
        if kind not in self._norms:
            self._norms[kind] = is_norm(module)
        return self._norms[kind]


def subjects(model: nn.Module, rules: Rules) -> dict[str, Subject]:
    """Return what rules look at, for each parameter of a model by its name."""
    found: dict[str, Subject] = {}
    parents = {id(child): module for module in model.modules() for child in module.children()}
    for prefix, module in model.named_modules():
        parent = parents.get(id(module))
        inside = parent is not None and rules.is_deformable(parent)
        for name, parameter in module.named_parameters(recurse=False):
            subject = Subject(name, prefix, parameter.ndim, module, inside)
            found[subject.full_name] = subject
    return found


def names_without_decay(model: nn.Module) -> set[str]:
    """Return the names that the model, or a part, lists in `no_weight_decay()` or by `no_weight_decay_keywords()`."""
    names = [name for name, _ in model.named_parameters()]
    found: set[str] = set()
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        listed, keywords = (getattr(module, name, None) for name in ("no_weight_decay", "no_weight_decay_keywords"))
        if callable(listed):
            found.update(start + name for name in listed())
        words = tuple(keywords()) if callable(keywords) else ()
        found.update(name for name in names if name.startswith(start) and any(word in name for word in words))
    return found
