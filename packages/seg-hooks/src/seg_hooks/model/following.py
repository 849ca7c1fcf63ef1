"""How an average follows its model tensor by tensor: pairs by name, tensors and modules replaced or added."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seg_hooks.model.sharded import copyable, here, is_sharded, without_hooks

__all__ = [
    "Extra",
    "Watch",
    "aligned",
    "alike",
    "by_kind",
    "can_average",
    "copied",
    "exchange",
    "extra_pairs",
    "matching",
    "pairs_by_name",
    "take",
    "take_extra",
]

_END = object()

Tensors = dict[str, Any]
Fits = Callable[[Any, Tensor], bool]
Extra = tuple[nn.Module, nn.Module]


class Watch:
    """Notices at small cost that a model no longer holds the same tensor and module objects.

    Example:
        >>> net = nn.BatchNorm1d(2)
        >>> watch = Watch(net)
        >>> net.running_mean.add_(1).sum().item(), watch.changed()
        (2.0, False)
        >>> net.running_mean = net.running_mean + 1
        >>> watch.changed()
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules(remove_duplicate=False))
        held = [part for module in self.modules.values() for part in _held(module)]
        self._empty = [part for part in held if not part]
        # views stay up to date; the end shows one object more or fewer
        self._views: list[Any] = [*(part.values() for part in held if part), (_END,)]
        self._kept = list(chain.from_iterable(self._views))
        self.tied = {one for one, count in Counter(map(id, self._kept)).items() if count > 1}
        self._lazy = any(is_lazy(one) for one in self._kept)

    def changed(self) -> bool:
        """Tell whether an object was replaced, added or taken away; a lazy tensor may have got its shape, too."""
        same = all(map(is_, chain.from_iterable(self._views), self._kept))
        return not same or self._lazy or any(self._empty)

    def replaced(self) -> list[tuple[Any, Any]] | None:
        """Pair each old tensor with the one in its place; None where more than that changed."""
        now = list(chain.from_iterable(self._views))
        pairs = [pair for pair in zip(self._kept, now, strict=False) if pair[0] is not pair[1]]
        if self._lazy or any(self._empty) or len(now) != len(self._kept):
            return None
        if not all(isinstance(old, Tensor) and isinstance(new, Tensor) for old, new in pairs):
            return None
        return pairs

    def renew(self) -> None:
        """Keep the objects that the model has now."""
        self._kept = list(chain.from_iterable(self._views))


def aligned(ours: nn.Module, theirs: nn.Module, before: dict[str, nn.Module], averages_buffers: bool) -> nn.Module:
    """Return `ours` with the modules and tensors that `theirs` has now; values that still fit are kept.

    Args:
        ours: The average of an earlier state of `theirs`; changed in place as far as that is possible.
        theirs: The model that it follows.
        before: The modules of `theirs` by name when they were last looked at.
        averages_buffers: Whether floating-point buffers are averaged, so that their values and kind are kept.
    """
    fits = _fits_averaged if averages_buffers else _fits_copied
    place = next((tensor.device for tensor in chain(ours.parameters(), ours.buffers())), None)
    result = _aligned(ours, theirs, "", before, fits, place)
    _separate(result, theirs)
    return result


def can_average(tensor: Tensor) -> bool:
    """Tell whether the tensor holds numbers that have a mean of their own kind."""
    return tensor.is_floating_point() or tensor.is_complex()


def _held(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    return module._parameters, module._buffers, module._modules


def _aligned(
    ours: nn.Module | None,
    theirs: nn.Module,
    name: str,
    before: dict[str, nn.Module],
    fits: Fits,
    place: torch.device | None,
) -> nn.Module:
    if ours is None or before.get(name, theirs) is not theirs or not _same_kind(ours, theirs):
        return _with_values_of(ours, copied(theirs, place), fits)
    children = {}
    for child, module in theirs._modules.items():
        path, mine = f"{name}.{child}" if name else child, ours._modules.get(child)
        children[child] = None if module is None else _aligned(mine, module, path, before, fits, place)
    ours._modules.clear()  # in their order, in which nn.Sequential runs them
    ours._modules.update(children)
    _align_tensors(ours._parameters, theirs._parameters, _fits_averaged, place)
    _align_tensors(ours._buffers, theirs._buffers, fits, place)
    return ours


def _same_kind(ours: nn.Module, theirs: nn.Module) -> bool:
    """Tell whether the two are of one class with the same names of tensors; pruning and lazy modules change them."""
    return (
        type(ours) is type(theirs)
        and ours._parameters.keys() == theirs._parameters.keys()
        and ours._buffers.keys() == theirs._buffers.keys()
    )


def _align_tensors(ours: Tensors, theirs: Tensors, fits: Fits, place: torch.device | None) -> None:
    for name, source in theirs.items():
        if source is None or not fits(ours[name], source):
            ours[name] = None if source is None else _own(source, place)


def _fits_averaged(mine: Tensor | None, source: Tensor) -> bool:
    """Tell whether an average can go on, in its own data type: both have a mean, and are real or complex both."""
    if mine is None or is_lazy(mine) or is_lazy(source):
        return False
    kind = mine.is_complex() == source.is_complex() and can_average(mine) and can_average(source)
    return mine.shape == source.shape and (kind or mine.dtype == source.dtype)


def _fits_copied(mine: Tensor | None, source: Tensor) -> bool:
    return mine is not None and _fits_averaged(mine, source) and mine.dtype == source.dtype


def _with_values_of(old: nn.Module | None, new: nn.Module, fits: Fits) -> nn.Module:
    """Return `new` with those tensors of `old` that fit by name."""
    known = {} if old is None else dict(old.named_modules(remove_duplicate=False))
    for name, module in new.named_modules(remove_duplicate=False):
        if name in known:
            _keep(known[name]._parameters, module._parameters, _fits_averaged)
            _keep(known[name]._buffers, module._buffers, fits)
    return new


def _keep(old: Tensors, new: Tensors, fits: Fits) -> None:
    new.update({name: old[name] for name, one in new.items() if one is not None and fits(old.get(name), one)})


def copied(module: nn.Module, place: torch.device | None = None) -> nn.Module:
    """Copy a module at any moment of its training, without gradients; lazy tensors and graphs are no hindrance."""
    memo: dict[int, Any] = {id(one): _own(one, place) for one in chain(module.parameters(), module.buffers())}
    for part in module.modules():
        loose = [one for one in vars(part).values() if isinstance(one, Tensor) and not one.is_leaf]
        memo.update({id(one): one.detach().clone() for one in loose})
    wanting = [memo[id(one)].requires_grad_() for one in module.parameters() if one.requires_grad and not is_lazy(one)]
    with copyable(module) as shared:
        made = without_hooks(copy.deepcopy(module, {**memo, **shared}), shared)
    for one in wanting:  # only now: DDP's copy lists the parameters that want gradients, and there must be some
        one.requires_grad_(False)
    return made


def _own(source: Tensor, place: torch.device | None) -> Any:
    """Return a tensor like `source` with its values, in the average's place."""
    if is_lazy(source):
        kind: Any = type(source)
        return kind(requires_grad=False, device=source.device if place is None else place, dtype=source.dtype)
    if is_sharded(source):
        own: Tensor = nn.Parameter(source.detach().clone(), requires_grad=False)
    elif source.is_leaf and not source.is_inference():
        own = copy.deepcopy(source).requires_grad_(False)
        own.grad = None
    else:
        own = source.detach().clone()
    if place is not None and own.device != place:
        own.data = own.data.to(place)
    return own


def _separate(ours: nn.Module, theirs: nn.Module) -> None:
    """Give each tensor of `theirs` one of its own in `ours`: two that were tied need not be so for ever."""
    followed: dict[int, Tensor] = {}
    mine = dict(ours.named_modules(remove_duplicate=False))
    for name, module in theirs.named_modules(remove_duplicate=False):
        held = zip(_held(mine[name])[:2], _held(module)[:2], strict=True) if name in mine else ()
        for own, other in held:
            for key, source in other.items():
                one = own.get(key)
                if one is not None and source is not None and followed.setdefault(id(one), source) is not source:
                    own[key] = _own(one, None)


@torch.inference_mode(False)
@torch.no_grad()
def take(into: Tensor, source: Tensor) -> None:
    """Copy one tensor into another, which takes on its shape."""
    if into.shape != source.shape:
        into.data = into.new_empty(source.shape)
    into.copy_(source)


def extra_pairs(averaged: nn.Module, source: nn.Module) -> list[Extra]:
    """Pair the modules of an average with the model's, where `get_extra_state` holds more than tensors."""
    mine = dict(averaged.named_modules())
    return [(mine[name], one) for name, one in source.named_modules() if _has_extra(one) and _has_extra(mine.get(name))]


def _has_extra(module: nn.Module | None) -> bool:
    kind, names = type(module), ("get_extra_state", "set_extra_state")
    return module is not None and all(getattr(kind, name) is not getattr(nn.Module, name) for name in names)


@torch.no_grad()
def take_extra(pairs: Iterable[Extra]) -> None:
    """Give modules of an average the extra state of the model's, as a copy of their own."""
    for mine, source in pairs:
        mine.set_extra_state(copy.deepcopy(source.get_extra_state()))


_AT_ONCE = 32


@torch.no_grad()
def exchange(groups: Sequence[tuple[list[Tensor], list[Tensor]]]) -> None:
    """Exchange the values of two lists of tensors per group; the extra memory is that of a few tensors."""
    for ours, theirs in groups:
        for start in range(0, len(ours), _AT_ONCE):
            mine, other = ours[start : start + _AT_ONCE], theirs[start : start + _AT_ONCE]
            kept = [tensor.clone() for tensor in other]
            torch._foreach_copy_(other, mine)
            torch._foreach_copy_(mine, kept)


def matching(averaged: nn.Module, source: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Pair the parameters that two modules share by name, as groups of one data type and device."""
    return by_kind(pairs_by_name(averaged.named_parameters(), source.named_parameters()))


def pairs_by_name(
    averaged: Iterable[tuple[str, Tensor]], sources: Iterable[tuple[str, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    """Pair each tensor of an average with the one of its name; a lazy one without a shape yet is left out.

    Of tensors in parts the pair is what this rank has of both: nothing is sent when they are averaged or exchanged.
    """
    found = {name: tensor for name, tensor in sources if not is_lazy(tensor)}
    return [(here(tensor), here(found[name])) for name, tensor in averaged if name in found]


def alike(averaged: Tensor, source: Tensor) -> bool:
    """Tell whether two tensors are of one shape, data type and device."""
    return averaged.shape == source.shape and averaged.dtype == source.dtype and averaged.device == source.device


def by_kind(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Group pairs by data type and device: such lists take the fast path of multi-tensor calls."""
    groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for averaged, source in pairs:
        mine, theirs = groups[averaged.dtype, averaged.device, source.dtype, source.device]
        mine.append(averaged)
        theirs.append(source)
    return list(groups.values())
