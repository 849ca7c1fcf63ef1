"""Freezing: parameters that do not learn, and whose norms do not gather statistics either."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from torch import nn

from seg_optim.checks import check_count, did_you_mean
from seg_optim.groups.checks import check_pattern
from seg_optim.groups.rules import is_norm, matcher
from seg_optim.unwrap import unwrap

__all__ = ["FreezeHook", "Frozen", "freeze"]

logger = logging.getLogger("seg_optim")


class HoldsModel(Protocol):
    """A runner that has its model."""

    @property
    def model(self) -> nn.Module:
        """Return the model, maybe inside DDP or torch.compile."""


class CountsIterations(Protocol):
    """A runner that counts."""

    @property
    def iter(self) -> int:
        """Return the iterations done so far."""


class _StayInEval:
    """Takes the place of a norm's `train` method; a class, so that models can still be copied and pickled."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        self.module.training = False
        return self.module


class Frozen:
    """What `freeze` froze, and the way to thaw it.

    Attributes:
        names: the frozen parameters.
        norms: the norms that are kept in eval mode.
        until: iteration at which `update` thaws; None: never.
    """

    def __init__(self, model: nn.Module, names: list[str], norms: list[str], until: int | None) -> None:
        self.names, self.norms, self.until = names, norms, until
        self._model = model
        self._parameters = [model.get_parameter(name) for name in names]
        self._modules = [model.get_submodule(name) for name in norms]
        self.frozen = True

    def update(self, iteration: int) -> bool:
        """Thaw once `iteration` reaches `until`; call it before each step. Returns whether it thawed just now."""
        if not self.frozen or self.until is None or iteration < self.until:
            return False
        self.unfreeze()
        logger.info("iteration %d: %d parameters learn again", iteration, len(self.names))
        return True

    def unfreeze(self) -> None:
        """Let the parameters learn and the norms follow the model's mode again; the second time nothing is done.

        What took a frozen parameter's place meanwhile is thawed too: one of the same name, or the parts that a
        parametrization (`weight_norm`) made of it. Names that are gone are told in one line.
        """
        if not self.frozen:
            return
        self.frozen = False
        gone: list[str] = []
        now = dict(self._model.named_parameters(remove_duplicate=False))
        inside = {id(parameter) for parameter in now.values()}
        for name, parameter in zip(self.names, self._parameters, strict=True):
            found = [value for key, value in now.items() if key == name or key.startswith(_parts_of(name))]
            for one in (parameter, *found):
                one.requires_grad_(True)
            if not found and id(parameter) not in inside:
                gone.append(name)
        for module in self._modules:
            vars(module).pop("train", None)
            module.train(self._model.training)
        self._parameters, self._modules = [], []
        if gone:
            logger.warning("freeze: these are no longer in the model, so they do not learn: %s", ", ".join(gone))

    def before_train_iter(self, runner: CountsIterations) -> None:
        """Thaw in time, as a hook of a runner."""
        self.update(runner.iter)


def _parts_of(name: str) -> str:
    """Return how the names begin of what a parametrization made of a parameter."""
    prefix, _, local = name.rpartition(".")
    return f"{prefix}.parametrizations.{local}." if prefix else f"parametrizations.{local}."


def freeze(
    model: nn.Module, patterns: str | Sequence[str], *, match: str = "exact", until: int | None = None
) -> Frozen:
    """Stop parameters from learning, and keep their norms in eval mode through every `model.train()`.

    Call it before the optimizer is made: parameters frozen for good are left out of the groups (with `paramwise_cfg`),
    those with `until` are in them from the start, and are skipped by the optimizer while they have no gradient.
    Under DDP, thawing needs `find_unused_parameters=True`.

    Args:
        model: changed in place; maybe inside DDP or torch.compile.
        patterns: names of parameters or of modules (all below it), or what `match` makes of them.
        match: `exact`, `glob`, `substring` or `regex`, as for custom keys.
        until: iteration at which `Frozen.update` thaws them.

    Raises:
        TypeError: the model, a pattern or `until` is of a wrong type.
        ValueError: a pattern matches nothing, or is not a regular expression where one is needed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        >>> frozen = freeze(net, ["0", "1"], until=100)
        >>> net.train()[1].training, net[0].weight.requires_grad
        (False, False)
        >>> frozen.update(100), net[1].training
        (True, True)
    """
    model = unwrap(model)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, not a torch.nn.Module")
    listed = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(listed, list | tuple) or not all(isinstance(pattern, str) for pattern in listed):
        raise TypeError(f"freeze: patterns={patterns!r}, a name or a list of names is needed")
    if until is not None:
        check_count("freeze: until", until)
    text, matches = matcher(match, "freeze: match")
    for pattern in listed if match == "regex" else ():
        check_pattern(f"freeze: {pattern!r}", pattern)
    split = {name: name.rpartition(".") for name, _ in model.named_parameters()}
    texts = {name: text(prefix, local) for name, (prefix, _, local) in split.items()}
    _check_patterns(list(listed), list(texts.values()), matches, sorted({w for n in texts for w in n.split(".")}))
    names = [name for name in texts if any(matches(pattern, texts[name]) for pattern in listed)]
    norms = _norms(model, set(names))
    for name in names:
        parameter = model.get_parameter(name).requires_grad_(False)
        if until is not None:
            parameter.unfreezes_at = until  # type: ignore[attr-defined]
    for name in norms:
        module = model.get_submodule(name)
        module.eval()
        module.train = _StayInEval(module)  # type: ignore[method-assign]
    return Frozen(model, names, norms, until)


def _check_patterns(
    patterns: list[str], texts: list[str], matches: Callable[[str, str], bool], words: list[str]
) -> None:
    for pattern in patterns:
        if not any(matches(pattern, text) for text in texts):
            raise ValueError(f"freeze: {pattern!r} matches no parameter.{did_you_mean(pattern, [*texts, *words])}")


def _norms(model: nn.Module, frozen: set[str]) -> list[str]:
    """Return the norms all of whose parameters are frozen."""
    found = []
    for name, module in model.named_modules():
        own = {f"{name}.{local}" if name else local for local, _ in module.named_parameters(recurse=False)}
        if is_norm(module) and own and own <= frozen:
            found.append(name)
    return found


class FreezeHook:
    """`freeze` from a config: `custom_hooks=[dict(type='FreezeHook', patterns=['backbone.stem'], until=1000)]`.

    Args:
        patterns: as for `freeze`.
        match: as for `freeze`.
        until: iteration at which the parameters learn again; None: never.
    """

    priority = "VERY_HIGH"

    def __init__(self, patterns: str | Sequence[str], match: str = "exact", until: int | None = None) -> None:
        self.patterns, self.match, self.until = patterns, match, until
        self.frozen: Frozen | None = None

    def before_run(self, runner: HoldsModel) -> None:
        """Freeze before the optimizer is made."""
        self.frozen = freeze(runner.model, self.patterns, match=self.match, until=self.until)
        logger.info("frozen: %d parameters, %d norms", len(self.frozen.names), len(self.frozen.norms))

    def before_train_iter(self, runner: CountsIterations) -> None:
        """Thaw in time."""
        if self.frozen is not None:
            self.frozen.update(runner.iter)
