"""Constructors: from a model and a config to an OptimWrapper whose groups follow `paramwise_cfg`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer

from seg_optim.checks import check_arguments
from seg_optim.groups.checks import check_model, check_paramwise, report_unmatched
from seg_optim.groups.collect import bare_model, fuse, members, parameter_names, with_names
from seg_optim.groups.rules import NO_WEIGHT_DECAY, Decision, Rules, Subject, names_without_decay
from seg_optim.groups.split_optimizer import SplitOptimizer, hidden_matrices, split_groups
from seg_optim.unwrap import unwrap
from seg_optim.wrappers.amp import AmpOptimWrapper, ApexOptimWrapper
from seg_optim.wrappers.optimizers import check_group_options, find, is_muon, make_optimizer, optimizer_options
from seg_optim.wrappers.state_layout import Order
from seg_optim.wrappers.wrapper import OptimWrapper

__all__ = ["DefaultOptimWrapperConstructor", "ForceDefaultOptimWrapperConstructor"]

logger = logging.getLogger("seg_optim")
WRAPPERS = {cls.__name__: cls for cls in (OptimWrapper, AmpOptimWrapper, ApexOptimWrapper)}
NOTHING = Decision()
"""What rules say about a parameter that they do not touch."""
Group = dict[str, Any]
Groups = list[Group]


class DefaultOptimWrapperConstructor:
    """Makes an OptimWrapper for a model, with multipliers on learning rate and weight decay by rule.

    Args:
        optim_wrapper_cfg: `type` (default `OptimWrapper`), `optimizer=dict(type=..., lr=...)`, `implementation`
            (`auto`, `fused`, `foreach`, `plain`, `torch`), and arguments of the wrapper. `optimizer` may have
            `rest=dict(type='AdamW', lr=...)` for the parameters that Muon cannot take, or be a ready optimizer, which
            is then only wrapped.
        paramwise_cfg: rules, see below. None or empty: one group with all parameters, the frozen ones included.

    Keys of `paramwise_cfg`, as in MMEngine:
        custom_keys: `{part of a name: dict(lr_mult=, decay_mult=, ...)}`. The longest key that matches wins and
            switches the other rules off; further entries of its dict go into the group.
        bias_lr_mult, bias_decay_mult: biases (the first not those of norms).
        norm_decay_mult: batch, instance, group and layer norms.
        dwconv_decay_mult: depthwise convolutions.
        flat_decay_mult: all one-dimensional parameters.
        dcn_offset_lr_mult: offsets of deformable convolutions.
        bypass_duplicate: take a parameter that two modules share once instead of refusing it.

    And ours:
        compose: each field is decided by the most specific rule that mentions it.
        match: how custom keys are compared: `substring`, `glob`, `regex`, `exact`.
        strict: True: a custom key that matches nothing is an error instead of one log line. False: a key of
            `paramwise_cfg` that is not known is one log line instead of an error.
        no_weight_decay: True: no weight decay for what the model lists in `no_weight_decay()` or means by
            `no_weight_decay_keywords()`, unless a custom key gives one.
        fuse: False makes one group per tensor, as MMEngine does; the updates are the same, only slower.

    Subclasses may override `add_params` or `__call__`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        >>> constructor = DefaultOptimWrapperConstructor(
        ...     dict(optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05)),
        ...     paramwise_cfg=dict(norm_decay_mult=0.0))
        >>> [(g["name"], len(g["params"])) for g in constructor(net).optimizer.param_groups]
        [('base', 4), ('no_decay', 2)]
    """

    own_keys: ClassVar[tuple[str, ...]] = ()
    forced: ClassVar[bool] = False

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if not isinstance(optim_wrapper_cfg, Mapping):
            raise TypeError(f"optim_wrapper is a {type(optim_wrapper_cfg).__name__}, a dict is needed")
        self.optim_wrapper_cfg: dict[str, Any] = dict(optim_wrapper_cfg)
        if "optimizer" not in self.optim_wrapper_cfg:
            raise ValueError("optim_wrapper has no 'optimizer': add optimizer=dict(type='AdamW', lr=1e-4)")
        self.optimizer_cfg: Any = self.optim_wrapper_cfg.pop("optimizer")
        if isinstance(self.optimizer_cfg, Optimizer):
            if paramwise_cfg:
                raise ValueError(
                    "optim_wrapper.paramwise_cfg cannot change the groups of an optimizer object: give "
                    "optimizer=dict(type=..., lr=...) instead"
                )
            return
        self.factory, self.optimizer_options = optimizer_options(self.optimizer_cfg)
        self.rest = self.optimizer_options.pop("rest", None)
        if self.rest is not None and not is_muon(self.factory):
            raise ValueError("optim_wrapper.optimizer.rest: only Muon shares the parameters with a second optimizer")
        self.base_lr = self.optimizer_cfg.get("lr")
        self.base_wd = self.optimizer_cfg.get("weight_decay")
        self.paramwise_cfg: dict[str, Any] = {} if paramwise_cfg is None else paramwise_cfg  # type: ignore[assignment]
        self._validate_cfg()

    def _validate_cfg(self) -> None:
        check_paramwise(self.paramwise_cfg, self.base_lr, self.base_wd, self._known_keys())
        custom = self.paramwise_cfg.get("custom_keys") or {}
        check_group_options(self.factory, self.optimizer_options, custom, "optim_wrapper.paramwise_cfg.custom_keys")

    def _known_keys(self) -> tuple[str, ...] | None:
        """Return the keys beyond the common ones; None where a class of somebody else may know any."""
        ours = type(self).__module__.startswith("seg_optim.")
        return self.own_keys if ours or type(self).own_keys else None

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Make the wrapper for a model."""
        if isinstance(self.optimizer_cfg, Optimizer):
            return self._wrapper(self.optimizer_cfg)
        model = unwrap(model)
        check_model(model)
        if not self.paramwise_cfg:
            everything = list(model.parameters())
            return self.wrap(model, [{"params": everything}], parameter_names(model), Order.of([everything]))
        wishes = names_without_decay(model) if self.paramwise_cfg.get("no_weight_decay") else ()
        self.rules = Rules(self.paramwise_cfg, bool(self.paramwise_cfg.get("compose")), self.forced, wishes)
        self._bare = bare_model(model)
        self._seen: dict[int, str] = {}
        self._frozen: list[str] = []
        groups, reference = self._collected(model)
        names = self._seen if type(self).add_params is _ADD_PARAMS else parameter_names(model) | self._seen
        report_unmatched(self.rules, names.values(), strict=bool(self.paramwise_cfg.get("strict")))
        if self._frozen:
            logger.info("frozen, so in no parameter group: %s", ", ".join(self._frozen))
        return self.wrap(model, groups, names, reference)

    def add_params(
        self, params: Groups, module: nn.Module, prefix: str = "", is_dcn_module: bool | int | float | None = None
    ) -> None:
        """Append a group per parameter of `module` and, through itself, of its children.

        Args:
            params: the groups so far.
            module: whose parameters to add.
            prefix: dotted path of the module.
            is_dcn_module: whether the module lies in a deformable convolution.
        """
        params += [{"params": [p], **self._rates(v)} for p, v in self._own(module, prefix, bool(is_dcn_module))]
        for name, child, deformable in self._children(module, prefix):
            self.add_params(params, child, name, deformable)

    def _collected(self, model: nn.Module) -> tuple[Groups, Order]:
        """Return groups, and the order in which MMEngine would have grouped the parameters.

        They are collected setting by setting; with `fuse=False`, or where `add_params` is overridden, one by one.
        """
        if not self.paramwise_cfg.get("fuse", True) or type(self).add_params is not _ADD_PARAMS:
            listed: Groups = []
            self.add_params(listed, model)
            return listed, Order.of(map(members, listed))
        found: dict[int, tuple[Decision, list[nn.Parameter]]] = {}
        order: list[nn.Parameter] = []
        ahead = [("", model, False)]
        while ahead:
            prefix, module, deformable = ahead.pop()
            if module._parameters:
                for parameter, decision in self._own(module, prefix, deformable):
                    order.append(parameter)
                    if id(decision) in found:
                        found[id(decision)][1].append(parameter)
                    else:
                        found[id(decision)] = (decision, [parameter])
            if module._modules:
                ahead += reversed(self._children(module, prefix))
        return [{"params": params, **self._rates(decision)} for decision, params in found.values()], Order(order)

    def _own(self, module: nn.Module, prefix: str, in_deformable: bool) -> Iterator[tuple[nn.Parameter, Decision]]:
        """Yield a module's own parameters that take part, with what the rules say about each."""
        start = f"{prefix}." if prefix else ""
        seen, rules = self._seen, self.rules
        subject = None if rules.names_decide and prefix else Subject("", prefix, 0, module, in_deformable)
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            full = start + name
            new = seen.setdefault(id(parameter), full) is full
            if (new and parameter.requires_grad) or self._takes(full, parameter):
                if subject is None:  # the short way, for this loop is what building costs
                    yield parameter, rules.by_name(full)
                    continue
                subject.name, subject.ndim = name, parameter.ndim
                yield parameter, rules.decide(subject)
            elif self.forced and not parameter.requires_grad:
                yield parameter, NOTHING

    def _children(self, module: nn.Module, prefix: str) -> list[tuple[str, nn.Module, bool]]:
        """Return path, child and whether it lies in a deformable convolution; one registered twice comes once."""
        start, deformable = f"{prefix}." if prefix else "", self.rules.is_deformable(module)
        children = [(name, child) for name, child in module._modules.items() if child is not None]
        found = [("" if child is self._bare else start + name, child, deformable) for name, child in children]
        if len({id(child) for child in module._modules.values()}) == len(module._modules):
            return found
        firsts = {id(child): (name, child, inside) for name, child, inside in reversed(found)}
        return [place for place in found if firsts[id(place[1])][0] == place[0]]

    def _takes(self, name: str, parameter: nn.Parameter) -> bool:
        """Tell whether a parameter that was seen before, or does not learn, takes part all the same."""
        first = self._seen[id(parameter)]
        if first != name:
            if self.paramwise_cfg.get("bypass_duplicate"):
                logger.info("%s is the same parameter as %s, and is used once", name, first)
                return False
            raise ValueError(
                f"{name} and {first} are one parameter, which cannot be in two groups. "
                "Set optim_wrapper.paramwise_cfg.bypass_duplicate=True to take it once, by the rules for its first name"
            )
        if parameter.requires_grad or getattr(parameter, "unfreezes_at", None) is not None:
            return True
        self._frozen.append(name)
        return False

    def _rates(self, decision: Decision) -> dict[str, Any]:
        rates: dict[str, Any] = {}
        if decision.lr_mult is not None and (self.base_lr is not None or decision.lr_mult != 1):
            rates["lr"] = self._base(self.base_lr, "lr", decision.lr_rule) * decision.lr_mult
        if decision.decay_mult is not None and self.base_wd is not None:
            rates["weight_decay"] = self.base_wd * decision.decay_mult
        elif decision.decay_rule == NO_WEIGHT_DECAY:
            rates["weight_decay"] = 0.0
        return rates | decision.extra

    def _base(self, value: float | None, key: str, rule: str) -> float:
        if value is None:
            raise ValueError(
                f"optim_wrapper.paramwise_cfg.{rule} multiplies {key}, but optim_wrapper.optimizer has no {key}: add it"
            )
        return value

    def wrap(self, model: nn.Module, groups: Groups, names: dict[int, str], reference: Order) -> OptimWrapper:
        """Make the wrapper over `groups`, fused and named; it remembers the `reference`, the layout of checkpoints."""
        optimizer = self.optimizer(model, self.fused(groups), names)
        wrapper = self._wrapper(optimizer)
        if hasattr(wrapper, "describe"):
            own = Order.of(group["params"] for group in optimizer.param_groups)
            wrapper.describe(names, own if self.rest else reference)
        if hasattr(wrapper, "watch"):
            wrapper.watch(model, complete=True)
        return wrapper

    def _wrapper(self, optimizer: Optimizer) -> OptimWrapper:
        options = {key: value for key, value in self.optim_wrapper_cfg.items() if key not in ("type", "implementation")}
        kind = self.optim_wrapper_cfg.get("type", OptimWrapper)
        kind = find("optim_wrapper.type", kind, "seg_engine.optim_wrappers", WRAPPERS)
        check_arguments(f"optim_wrapper: {getattr(kind, '__name__', kind)}", kind, options)
        return kind(optimizer=optimizer, **options)  # type: ignore[no-any-return]

    def optimizer(self, model: nn.Module, groups: Groups, names: dict[int, str]) -> Optimizer:
        """Make the optimizer over fused groups; two in one where `rest` names a second."""
        how = self.optim_wrapper_cfg.get("implementation", "auto")
        if self.rest is None:
            return make_optimizer(self.factory, groups, self.optimizer_options, model, how)
        factory, options = optimizer_options(self.rest, "optim_wrapper.optimizer.rest")
        rates = {"lr": (self.base_lr, options.get("lr")), "weight_decay": (self.base_wd, options.get("weight_decay"))}
        main, others = split_groups(groups, names, hidden_matrices(model), rates)
        parts = [(self.factory, main, self.optimizer_options), (factory, others, options)]
        made = [make_optimizer(kind, part, given, model, how) for kind, part, given in parts if part]
        if len(made) == 2:
            return SplitOptimizer(made[0], made[1], model)
        logger.warning(
            "optim_wrapper.optimizer: %s gets no parameter of this model, %s gets all of them",
            *(("Muon", type(made[0]).__name__) if others else ("rest", "Muon")),
        )
        return made[0]

    def fused(self, params: Groups) -> Groups:
        """Return as few groups as there are settings, named; with `fuse=False` as they are."""
        if not self.paramwise_cfg.get("fuse", True):
            return params
        return with_names(fuse(params, self._defaults()), self.base_lr, self.base_wd)

    def _defaults(self) -> dict[str, Any]:
        given = {"lr": self.base_lr, "weight_decay": self.base_wd}
        return {key: value for key, value in given.items() if value is not None}


_ADD_PARAMS = DefaultOptimWrapperConstructor.add_params


class ForceDefaultOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """The default constructor, but with `force_default_settings=True` custom keys do not switch the other rules off.

    The rules on biases, norms, depthwise convolutions and flat parameters then run after a custom key and win.
    Frozen parameters stay in a group of the base options. (`compose=True` is the finer tool.)
    """

    own_keys = ("force_default_settings",)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Make the wrapper for a model."""
        self.forced = bool(self.paramwise_cfg.get("force_default_settings"))  # type: ignore[misc]
        return super().__call__(model)
