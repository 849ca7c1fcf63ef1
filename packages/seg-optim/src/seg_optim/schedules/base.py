"""ParamScheduler: the driver that all schedules share (window, position, resume), for any option of the groups."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from numbers import Integral
from operator import attrgetter
from typing import Any, ClassVar

from seg_optim.checks import unknown_key
from seg_optim.protocols import HasGroups
from seg_optim.schedules.arguments import (
    INF,
    POSITIONS,
    Checks,
    ClassSignature,
    check_common,
    in_iterations,
    window_length,
)
from seg_optim.schedules.chain import Chain, chain_of

__all__ = ["ParamScheduler"]

logger = logging.getLogger("seg_optim")


class ParamScheduler:
    """Changes one option of every parameter group (`lr`, `momentum`, `weight_decay`, ...) step by step.

    Constructing a scheduler takes its step 0. After that, `step()` is called once per iteration (`by_epoch=False`) or
    epoch, and moves the value on from what stands in the group, so schedulers on one option compose. Outside
    `[begin, end)` the value is left alone. A group that is added meanwhile (`optimizer.add_param_group`) takes part
    from then on: it begins at its own value and goes the way of the others from there.

    Args:
        optimizer: A torch optimizer, or a wrapper with `param_groups`.
        param_name: The option that is scheduled.
        begin: First step of the window.
        end: First step after the window.
        last_step: Position inside the window; -1 for a new run.
        by_epoch: Whether `step()` is called per epoch. Only noted here, for whoever calls.
        verbose: Log every new value.
        unit: `'call'` counts calls of `step()`; `'step'` counts the optimizer's steps instead, so that gradient
            accumulation does not shorten a warm-up. `begin` and `end` are then in optimizer steps.
        resume_schedule: What holds when a loaded state differs from the arguments: `'config'` (the arguments for
            what lies ahead, the position from the state) or `'checkpoint'` (everything from the state).

    To write your own schedule, subclass this and name its formula (see `formulae.py`), or override `_get_value()`,
    which returns one value per group.

    Raises:
        TypeError: `optimizer` has no parameter groups, or a count is not a number.
        ValueError: `end <= begin`, or an unknown `unit`.
        KeyError: A group lacks `param_name`, or `last_step` is given and a group has no `initial_<param_name>`.

    Example:
        >>> import torch
        >>> class Halving(ParamScheduler, formula=lambda t: 0.5 if t else None):
        ...     pass
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> scheduler = Halving(optimizer, "lr", by_epoch=False)
        >>> scheduler.step()
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """

    __signature__ = ClassSignature()
    need_val_args: ClassVar[bool] = False
    _formula: ClassVar[Callable[..., float | None] | None] = None
    _inputs: ClassVar[tuple[str, ...]] = ()
    """Attributes that the formula is called with, after the position."""
    _read: ClassVar[Callable[[ParamScheduler], tuple[Any, ...]]]
    """Reads the position and these attributes off a scheduler."""
    _shape: ClassVar[tuple[str, ...]] = ()
    """Attributes that say which way the values go, the formula's by default: where they differ, so do the values."""
    _checks: ClassVar[Checks] = {}
    """What the class's own arguments must be."""
    _epoch_keys: ClassVar[Mapping[str, bool]] = {}
    """Arguments that count epochs where `by_epoch` is True, and whether only whole steps are ever met."""
    _positions: ClassVar[tuple[str, ...]] = POSITIONS
    """Arguments that may follow the class's own by position."""
    _filled_in: ClassVar[tuple[str, ...]] = ()
    """Arguments that the class gives itself."""
    _hidden: ClassVar[frozenset[str]] = frozenset({"optimizer", "unit", "resume_schedule"})
    """Attributes that a state leaves out."""

    def __init_subclass__(cls, formula: Callable[..., float | None] | None = None, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if formula is not None:
            cls._formula, cls._inputs = staticmethod(formula), tuple(inspect.signature(formula).parameters)[1:]
            names = ("last_step", *cls._inputs)  # one name alone would give no tuple
            cls._read = attrgetter(*names) if cls._inputs else lambda scheduler: (scheduler.last_step,)
            if "_shape" not in vars(cls):
                cls._shape = (*cls._inputs, *cls._shape)

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        name = type(self).__name__
        if not isinstance(getattr(optimizer, "param_groups", None), list):
            raise TypeError(f"{name}: optimizer is a {type(optimizer).__name__}, not an optimizer or a wrapper of one")
        length = window_length(name, begin, end)
        if "total_iters" in self._inputs:  # the last step of the window, as the formulae count them
            self.total_iters = length - 1
        for key, check in self._checks.items():
            check(f"{name}: {key}", getattr(self, key))
        check_common(name, last_step, by_epoch, verbose, unit, resume_schedule)
        self.optimizer = optimizer
        self.param_name, self.begin, self.end = param_name, begin, end
        self.by_epoch, self.verbose = by_epoch, verbose
        self.unit, self.resume_schedule = unit, resume_schedule
        self.last_step = last_step
        self._global_step = -1
        new = last_step == -1
        self.base_values: list[float] = [self._base(group, index, new) for index, group in enumerate(self._groups)]
        self._late: list[int] = []  # indices of groups that were added after step 0
        self._floors: list[float] = [0.0] * len(self._groups)  # what the values of each group go down to
        self._prepare()
        self._chain: Chain = chain_of(optimizer, param_name)
        self._ticks = self._chain.ticks(optimizer) if unit == "step" else None
        self._seen = 0  # optimizer steps that were followed, with `unit='step'`
        self._start()

    # -- what subclasses say -------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Work out what depends on the base values (called once, before step 0, and when groups are added)."""

    def _get_value(self) -> list[float]:
        """Return the value of each group at `last_step`."""
        if self._formula is None:
            raise NotImplementedError(f"{type(self).__name__} has no formula, and does not override _get_value()")
        factor = self._formula(*type(self)._read(self))
        if factor is None:
            return self.values
        name, pairs = self.param_name, zip(self.optimizer.param_groups, self._floors, strict=True)
        return [(group[name] - floor) * factor + floor for group, floor in pairs]

    # -- stepping ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Move on by one iteration or epoch (with `unit='step'`: by the optimizer steps since the last call)."""
        if self._ticks is None:
            self._advance()
            return
        while self._seen < self._ticks.count:
            self._seen += 1
            self._advance()

    def _start(self) -> None:
        self._advance()
        self._chain.join(self)
        if self._ticks is not None:
            self._seen = self._ticks.count

    def _advance(self) -> None:
        self._global_step += 1
        if not self.begin <= self._global_step < self.end:
            return
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_values):
            self._take_in()
        self.last_step += 1
        self._write(self._get_value(), groups)
        if self.verbose:
            logger.info("%s: step %d, %s = %s", type(self).__name__, self.last_step, self.param_name, self.values)

    def _take_in(self) -> None:
        """Let groups that were added since the last step take part.

        They stand behind the other groups, but before the one that a wrapper adds at the end (`base_groups`).
        """
        groups, known = self.optimizer.param_groups, len(self.base_values)
        if len(groups) == known:
            return
        if len(groups) < known:
            raise ValueError(
                f"{type(self).__name__}: the optimizer has {len(groups)} parameter groups, {known} when the scheduler "
                "was made. Groups may be added, not taken away: make a new scheduler, or freeze their parameters"
            )
        extra = len(getattr(self.optimizer, "base_groups", ()))
        added = range(known - extra, len(groups) - extra)
        self.base_values[known - extra : known - extra] = [self._base(groups[i], i, new=True) for i in added]
        self._late += added
        self._floors = [0.0] * len(groups)
        self._prepare()

    def _write(self, values: list[float], groups: list[dict[str, Any]]) -> None:
        if len(values) != len(groups):
            raise ValueError(
                f"{type(self).__name__}._get_value() gave {len(values)} values for {len(groups)} parameter groups: "
                "one for each is needed (self.values has the current ones)"
            )
        name = self.param_name
        for group, value in zip(groups, values, strict=True):
            group[name] = value

    @property
    def _groups(self) -> list[dict[str, Any]]:
        """Ask for the groups anew each time: loading a state puts new dicts in place of the old ones."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    @property
    def values(self) -> list[float]:
        """Return what stands in the groups now, one value per group."""
        name = self.param_name
        return [group[name] for group in self.optimizer.param_groups]

    def get_last_value(self) -> list[float]:
        """Return what this or another scheduler set last, one value per group."""
        self._take_in()
        return self.values

    # -- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return shape and position as plain values, with `base_values` in MMEngine's order of groups."""
        self._take_in()
        state = {key: value for key, value in vars(self).items() if key[0] != "_" and key not in self._hidden}
        unfold = getattr(self.optimizer, "unfold", list)
        if "base_values" in state:
            state["base_values"] = unfold(self.base_values)
        state.update(_global_step=self._global_step, _last_value=unfold(self.values), unit=self.unit)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the position; see `resume_schedule` for what happens to the shape.

        A state of MMEngine's scheduler of the same name loads too. Where the shape differs and the arguments win,
        the values in the groups are worked out anew for the position, from every scheduler on this option.

        Raises:
            ValueError: this is no state, or it counts epochs and this scheduler iterations (or the other way round),
                or it belongs to another number of groups.
        """
        if not isinstance(state_dict, Mapping) or not {"_global_step", "last_step"} <= state_dict.keys():
            raise ValueError(f"{type(self).__name__}: this is not the state of a scheduler: it has no '_global_step'")
        self._take_in()
        shape = {key: state_dict[key] for key in (*self._shape, "begin", "end", "by_epoch") if key in state_dict}
        bases = self._fold(state_dict.get("base_values", []))
        different = self._differences(shape, bases)
        if self.resume_schedule == "checkpoint":
            vars(self).update(shape)
            self.base_values = bases or self.base_values
            self._global_step, self.last_step = state_dict["_global_step"], state_dict["last_step"]
            self._prepare()
            return
        if shape.get("by_epoch", self.by_epoch) != self.by_epoch:
            raise ValueError(
                f"{type(self).__name__} counts {'epochs' if self.by_epoch else 'iterations'}, but the checkpoint's "
                "does not, so its position cannot be used. Keep by_epoch, or give resume_schedule='checkpoint'"
            )
        self._global_step = state_dict["_global_step"]
        self.last_step = self._position(self._global_step) if different else state_dict["last_step"]
        if different:
            logger.warning("%s: %s", type(self).__name__, _resume_line(different, self._global_step))
            for group, base in zip(self._groups, self.base_values, strict=True):
                group[f"initial_{self.param_name}"] = base
        self._chain.loaded(bool(different))

    def seek(self, step: int) -> None:
        """Go to the position after `step` calls and set the groups' values for it, as a run up to there would."""
        self._global_step, self.last_step = step, self._position(step)
        self._chain.replay()

    def _position(self, step: int) -> int:
        return -1 if step < self.begin else min(step, self.end - 1) - self.begin

    def _fold(self, bases: list[float]) -> list[float]:
        if len(bases) == len(self._groups) or not bases:
            return list(bases)
        fold = getattr(self.optimizer, "fold", None)
        folded = fold(bases) if fold is not None else None
        if folded is None or len(folded) != len(self._groups):
            raise ValueError(
                f"{type(self).__name__}: the state has {len(bases)} base values, the optimizer {len(self._groups)} "
                "groups. Load it into a scheduler of an optimizer built by the same constructor, with the same groups "
                "added."
            )
        return list(folded)

    def _differences(self, shape: dict[str, Any], bases: list[float]) -> dict[str, tuple[Any, Any]]:
        own = {key: getattr(self, key) for key in shape}
        different = {key: (shape[key], own[key]) for key in shape if shape[key] != own[key]}
        if bases and bases != self.base_values:
            pair = next((old, new) for old, new in zip(bases, self.base_values, strict=True) if old != new)
            different[f"initial_{self.param_name}"] = pair
        return different

    # -- construction --------------------------------------------------------------------------------------------

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, epoch_length: int | None = None, begin: float = 0, end: float = INF, **kwargs: Any
    ) -> ParamScheduler:
        """Make a scheduler that counts iterations, from arguments that count epochs.

        Args:
            *args: Positional arguments of the class.
            epoch_length: Iterations in an epoch.
            begin: In epochs.
            end: In epochs; the default never ends.
            **kwargs: The class's other arguments, in epochs.

        Raises:
            ValueError: `by_epoch=False` was given, or no positive `epoch_length`.
        """
        if kwargs.pop("by_epoch", True) not in (True,):
            raise ValueError("convert_to_iter_based needs arguments in epochs: leave out by_epoch=False")
        if isinstance(epoch_length, bool) or not isinstance(epoch_length, Integral) or epoch_length <= 0:
            raise ValueError(f"epoch_length={epoch_length!r}: a positive whole number of iterations is needed")
        length = int(epoch_length)
        window_length(cls.__name__, begin, end)
        kwargs.update(by_epoch=False, begin=int(begin * length), end=INF if end == INF else int(end * length))
        for key, whole in cls._epoch_keys.items():
            if kwargs.get(key) is not None:
                kwargs[key] = in_iterations(f"{cls.__name__}: {key}", kwargs[key], length, whole)
        return cls(*args, **kwargs)

    def _base(self, group: dict[str, Any], index: int, new: bool) -> float:
        name, initial = self.param_name, f"initial_{self.param_name}"
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: param_name={name!r}, the name of a group's option is needed")
        if name not in group:
            raise KeyError(unknown_key(name, group, f"{type(self).__name__}: an option of parameter group {index}"))
        if new:
            group.setdefault(initial, group[name])
        elif initial not in group:
            raise KeyError(
                f"{initial!r} is not in parameter group {index}: last_step={self.last_step} needs a resumed optimizer"
            )
        if isinstance(group[initial], tuple | list):
            raise TypeError(
                f"{type(self).__name__}: {name!r} of parameter group {index} is {group[initial]!r}, not one number"
            )
        return float(group[initial])


def _resume_line(different: dict[str, tuple[Any, Any]], step: int) -> str:
    pairs = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in different.items())
    return (
        f"the checkpoint's schedule differs from the config's ({pairs}); the config's holds from step {step} on "
        "(resume_schedule='checkpoint' keeps the checkpoint's)"
    )
