"""OptimWrapper: what a training step needs round an optimizer (accumulation, clipping, rates, state)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any, Required, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import LBFGS, Optimizer

from seg_optim.protocols import NoSync
from seg_optim.wrappers.clipping import clipper
from seg_optim.wrappers.exchange import knows_graph
from seg_optim.wrappers.not_trained import Watch
from seg_optim.wrappers.state_layout import OWN_KEYS, Layout, Order, check_shapes, sizes

__all__ = ["OptimWrapper"]

logger = logging.getLogger("seg_optim")

NOTHING = nullcontext()
"""One for all steps: it keeps no state."""


class WrapperArguments(TypedDict, total=False):
    """Arguments of `OptimWrapper`, for wrappers that hand them on."""

    optimizer: Required[Optimizer]
    accumulative_counts: int
    clip_grad: Mapping[str, Any] | None


class OptimWrapper:
    """An optimizer with gradient accumulation and clipping.

    Every call of `update_params` is one micro-step: forward and backward of one batch. Every `accumulative_counts`-th
    one, and the last of the run, also clips, steps and clears the gradients.

    Args:
        optimizer: any torch optimizer.
        accumulative_counts: micro-steps per optimizer step.
        clip_grad: `dict(max_norm=1.0)`, or with `type='value'` a `clip_value`; other keys go to torch's function.
            All gradients are clipped together. 0 is taken as off: it would freeze the model.

    Attributes:
        grad_norm: norm before clipping in the last step, a tensor still on its device; None without clipping by norm.
        step_count: optimizer steps tried so far.
        layout: parameter names by group in MMEngine's layout, set by a constructor; None for plain optimizers.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> wrapper = OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1), accumulative_counts=2)
        >>> for _ in range(4):
        ...     with wrapper.optim_context(net):
        ...         loss = net(torch.ones(1, 2)).mean()
        ...     wrapper.update_params(loss)
        >>> wrapper.inner_count, wrapper.step_count
        (4, 2)
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: Mapping[str, Any] | None = None
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer")
        self.optimizer = optimizer
        self._accumulative_counts = _whole_number(accumulative_counts)
        self._clip = None if clip_grad is None else clipper(clip_grad)
        self.clip_grad_kwargs = None if clip_grad is None else {k: v for k, v in clip_grad.items() if k != "type"}
        self._takes_closure = isinstance(optimizer, LBFGS)
        if self._takes_closure and self._accumulative_counts > 1:
            raise ValueError(
                f"accumulative_counts={accumulative_counts}: LBFGS evaluates its closure several times per step and "
                "cannot accumulate; use 1"
            )
        self.grad_norm: Tensor | None = None
        self.step_count = 0
        self._inner_count = 0
        self._max_counts = -1
        self._remainder_counts = -1
        self._known_layout: Layout | None = None
        self._described: tuple[Mapping[int, str], Order] | None = None
        self.base_groups = [self._base_group()] if len(optimizer.param_groups) > 1 else []
        self._clear_plainly = type(optimizer).zero_grad is Optimizer.zero_grad
        self._overridden = self._is_overridden()
        self._watch: Watch | None = None

    def _is_overridden(self) -> bool:
        """Tell whether a subclass, or a patch of a class, decides itself which micro-steps are counted how."""
        return any(getattr(type(self), rule.__name__) is not rule for rule in WINDOW_RULES)

    # -- the training step ---------------------------------------------------------------------------------------

    def update_params(
        self, loss: Tensor, step_kwargs: dict[str, Any] | None = None, zero_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Take one micro-step from a loss: scale, backward and, when the window is full, step and clear.

        Args:
            loss: of this batch alone; it is divided by the number of micro-steps here.
            step_kwargs: for the optimizer's `step`; LBFGS needs `closure=`, which clears, computes and goes backward.
            zero_kwargs: for the optimizer's `zero_grad`.
        """
        own = self.__dict__  # where a method lies that was put on this wrapper, in the middle of a run, too
        windows = self._accumulative_counts > 1 or self._overridden or "should_update" in own or "scale_loss" in own
        if windows:  # else each micro-step is a step
            loss = self.scale_loss(loss)
        self.backward(loss)
        if not windows or self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Divide the loss by the number of micro-steps in its window; the run's last window may be shorter."""
        if self._accumulative_counts == 1:
            return loss
        whole = self._max_counts == -1 or self._inner_count < self._max_counts - self._remainder_counts
        factor = self._accumulative_counts if whole else self._remainder_counts
        if factor <= 0:
            raise RuntimeError(f"micro-step {self._inner_count} is after the last one of the run ({self._max_counts})")
        return loss / factor

    def backward(self, loss: Tensor, **kwargs: object) -> None:
        """Work out the gradients of a scaled loss; counts the micro-step."""
        if not isinstance(loss, Tensor):
            raise TypeError(f"loss is a {type(loss).__name__}, a tensor of one number is needed")
        loss.backward(**kwargs)  # type: ignore[no-untyped-call]
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Clip, then let the optimizer step."""
        if self._takes_closure:
            kwargs["closure"] = self._clipping_closure(kwargs.get("closure"))
        elif self._clip is not None:
            self._clip_grad()
        self.optimizer.step(**kwargs)
        self.step_count += 1
        if self._watch is not None and self.step_count >= self._watch.next_look:
            self._watch.stepped(self.step_count)

    def zero_grad(self, **kwargs: bool) -> None:
        """Forget the gradients."""
        if kwargs or not self._clear_plainly:
            self.optimizer.zero_grad(**kwargs)
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def should_update(self) -> bool:
        """Tell whether the micro-step just done fills its window or ends the run."""
        return self._inner_count % self._accumulative_counts == 0 or self._inner_count == self._max_counts

    def should_sync(self) -> bool:
        """Tell whether the micro-step to come does: only then must ranks exchange gradients."""
        return (self._inner_count + 1) % self._accumulative_counts == 0 or self._inner_count + 1 == self._max_counts

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Put this round preprocessing and forward pass; leaves out needless exchanges of gradients."""
        windows = self._accumulative_counts > 1 or self._overridden or "should_sync" in self.__dict__
        if windows and not self.should_sync() and isinstance(model, NoSync) and knows_graph(model):
            return model.no_sync()
        return NOTHING

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say where the run stands, so that the last, shorter window gets the right divisor.

        Args:
            model: looked at for batch normalisation, which accumulation does not see as one batch.
            init_counts: micro-steps done so far.
            max_counts: micro-steps of the whole run.
        """
        self._inner_count, self._max_counts = init_counts, max_counts
        self._overridden = self._is_overridden()
        self.watch(model)
        counts = self._accumulative_counts
        self._remainder_counts = max_counts % counts
        if counts > 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
            logger.warning("accumulative_counts=%d: batch normalisation still sees each batch alone", counts)
        if init_counts % counts and not any(p.grad is not None for p in self._parameters()):
            logger.warning(
                "starting at micro-step %d inside an accumulation window of %d: the gradients of its first %d are "
                "missing",
                init_counts, counts, init_counts % counts,
            )  # fmt: skip

    def watch(self, model: nn.Module, *, complete: bool = False) -> None:
        """Say in one line which parameters of `model` are not trained, now and later on; costs a step nothing.

        Args:
            model: the model, maybe inside DDP or torch.compile. What an earlier call named stays watched.
            complete: the groups were just made for the whole model; frozen parameters that learn later are told, too.
        """
        if self._watch is None:
            self._watch = Watch(model, self.optimizer, complete=complete)
            if complete:
                return  # there is nothing yet to tell
        self._watch.look()

    @property
    def accumulative_counts(self) -> int:
        """Return the number of micro-steps per optimizer step."""
        return self._accumulative_counts

    @property
    def inner_count(self) -> int:
        """Return the number of micro-steps done so far."""
        return self._inner_count

    # -- clipping ------------------------------------------------------------------------------------------------

    def _parameters(self) -> list[nn.Parameter]:
        """Return all parameters in the order in which MMEngine takes their norm."""
        own = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        layout = self._layout
        return own if layout is None or layout.same else [own[place] for place in layout.places]

    def _clip_grad(self) -> None:
        parameters = [p for p in self._parameters() if p.grad is not None]
        if parameters and self._clip is not None:
            self.grad_norm = self._clip(parameters)

    def _clipping_closure(self, closure: Callable[[], Any] | None) -> Callable[[], Any]:
        if closure is None:
            raise ValueError(
                f"{type(self.optimizer).__name__} needs a closure: update_params(loss, step_kwargs=dict(closure=...)), "
                "where the closure clears the gradients, computes the loss, goes backward and returns the loss"
            )

        def clipped() -> Any:
            with torch.enable_grad():
                loss = closure()
            if self._clip is not None:
                self._clip_grad()
            return loss

        return clipped

    # -- rates and groups ----------------------------------------------------------------------------------------

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the groups; with several, one more that follows the schedule unmultiplied and is never stepped."""
        return [*self.optimizer.param_groups, *self.base_groups]

    @property
    def base_param_settings(self) -> dict[str, Any] | None:
        """Return that further group (MMEngine's name of it), or None."""
        return self.base_groups[0] if self.base_groups else None

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the optimizer's defaults."""
        return self.optimizer.defaults

    def get_lr(self) -> dict[str, list[float]]:
        """Return `{'lr': [one per group]}`, before it `base_lr` where groups differ."""
        rates = {"base_lr": [self.base_groups[0]["lr"]]} if self.base_groups else {}
        return {**rates, "lr": [group["lr"] for group in self.optimizer.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return `{'momentum': [one per group]}`: momentum, or the first beta, or 0."""
        groups = self.optimizer.param_groups
        return {"momentum": [g["momentum"] if "momentum" in g else g.get("betas", (0,))[0] for g in groups]}

    def _base_group(self) -> dict[str, Any]:
        """Return a group without a parameter of the model: schedules write the rate without multipliers into it."""
        return {"params": torch.tensor([0.0]), **self.optimizer.defaults}

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def layout(self) -> list[list[str]] | None:
        """Return the parameter names by group in MMEngine's layout."""
        return None if self._layout is None else self._layout.reference

    @property
    def _layout(self) -> Layout | None:
        """Return both orders of the groups, worked out when first asked for; None once groups were changed by hand."""
        groups = self.optimizer.param_groups
        if self._described is not None:
            names, reference = self._described
            self._described = None
            own = Order.of(group["params"] for group in groups)
            meant = {id(parameter) for parameter in reference.parameters}
            if all(id(p) in names and id(p) in meant for p in own.parameters):
                self._known_layout = Layout(own.named(names), reference.named(names))
        known = self._known_layout
        return known if known is not None and sizes(known.own) == sizes(groups) else None

    def describe(self, names: Mapping[int, str], reference: Order) -> None:
        """Say what the parameters are called, by id, and how MMEngine would have grouped them.

        Called by constructors; from then on states are written in MMEngine's layout.
        """
        self._described = (names, reference)
        self.base_groups = [] if reference.single else [self._base_group()]

    def unfold(self, values: Sequence[Any]) -> list[Any]:
        """Turn values of our groups into values of MMEngine's groups, for checkpoints."""
        return list(values) if self._layout is None else self._layout.unfold(values)

    def fold(self, values: Sequence[Any]) -> list[Any] | None:
        """Go the way back; None if that many values do not fit the layout."""
        return None if self._layout is None else self._layout.fold(values)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state in MMEngine's layout, with `base_param_settings` where groups differ."""
        if self._watch is not None:
            self._watch.look()
        state = self.optimizer.state_dict()
        if self._layout is not None and not self._layout.same:
            state = self._layout.to_reference(state)
        if self.base_groups:
            state["base_param_settings"] = dict(self.base_groups[0])
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state written in MMEngine's layout (by MMEngine, or by us), or in the optimizer's own.

        Raises:
            ValueError: it is no state, its groups do not fit, or another optimizer wrote it; nothing is changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"param_groups", "state"} <= state_dict.keys():
            raise ValueError("this is not the state of an optimizer: it has no 'param_groups' and 'state'")
        state = dict(state_dict)
        base = state.pop("base_param_settings", None)
        before = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self._load(self._in_own_order(state), before)
        told: set[str] = set()
        for group, own in zip(self.optimizer.param_groups, before, strict=True):
            told.update(_other_settings(own, group))
            group.update({key: own[key] for key in OWN_KEYS if key in own})
        if base is not None and self.base_groups:
            self.base_groups = [dict(base)]
        for line in sorted(told):
            logger.warning("optimizer state: %s", line)

    def _load(self, state: dict[str, Any], before: Sequence[Mapping[str, Any]]) -> None:
        """Load a state in our own order, unless another optimizer wrote it."""
        optimizer = self.optimizer
        kept = optimizer.param_groups, optimizer.state
        if type(optimizer).__module__.startswith(("torch.optim", "seg_optim")):  # others may keep other shapes
            check_shapes(state, optimizer.param_groups)
        try:
            optimizer.load_state_dict(state)
            pairs = zip(before, optimizer.param_groups, strict=True)
            lost = {key for own, group in pairs for key in own.keys() & optimizer.defaults if key not in group}
            if lost:
                raise KeyError(", ".join(sorted(lost)))
        except KeyError as error:
            optimizer.param_groups, optimizer.state = kept
            raise ValueError(
                f"the optimizer state was written by another optimizer than {type(optimizer).__name__}: "
                f"it has no {error.args[0]}"
            ) from error

    def _in_own_order(self, state: dict[str, Any]) -> dict[str, Any]:
        groups = state["param_groups"]
        given, own = sizes(groups), sizes(self.optimizer.param_groups)
        layout = self._layout
        if layout is not None and not layout.same and given == sizes(layout.reference):
            for line in layout.disagreements(groups):
                logger.warning("optimizer state: %s; the first is taken", line)
            return layout.from_reference(state)
        if given != own:
            raise ValueError(
                f"the optimizer state has {len(given)} groups of {sum(given)} parameters, this optimizer {len(own)} of "
                f"{sum(own)}: it was written for another model, constructor or paramwise_cfg"
            )
        return state


WINDOW_RULES = (OptimWrapper.scale_loss, OptimWrapper.should_update, OptimWrapper.should_sync)
"""As they are here; nothing calls them where each micro-step is a step, unless somebody put others in their place."""


def _other_settings(own: Mapping[str, Any], loaded: Mapping[str, Any]) -> list[str]:
    """Return lines on settings that differ from what was built and are neither scheduled nor how a step is done."""
    return [
        f"{key} is {own[key]} in the config and {loaded[key]} in the checkpoint, whose value is kept"
        for key in ("weight_decay", "momentum", "betas", "eps", "nesterov", "amsgrad")
        if key in own and key in loaded and f"initial_{key}" not in loaded and "initial_momentum" not in loaded
        if (tuple(own[key]) != tuple(loaded[key]) if isinstance(own[key], tuple | list) else own[key] != loaded[key])
    ]


def _whole_number(counts: float) -> int:
    if isinstance(counts, bool) or not isinstance(counts, Real):
        raise TypeError(f"accumulative_counts={counts!r} is a {type(counts).__name__}, a whole number is needed")
    if not math.isfinite(counts) or counts <= 0 or counts != math.floor(counts):
        raise ValueError(f"accumulative_counts={counts}: a whole number of at least 1 is needed")
    return int(counts)
