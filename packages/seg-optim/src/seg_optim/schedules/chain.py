"""Schedulers that act on the same option of the same optimizer know one another through their Chain."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from seg_optim.protocols import HasGroups

__all__ = ["Chain", "Ticks", "chain_of"]

logger = logging.getLogger("seg_optim")
LOOK_AHEAD = 20000
"""How many steps of an overlap are looked at, so that a long run does not wait for it at its start."""
_ATTRIBUTE = "_seg_schedule_chains"


@runtime_checkable
class CountsSteps(Protocol):
    """A wrapper that counts the steps of its optimizer."""

    step_count: int


@runtime_checkable
class HasStepHooks(Protocol):
    """A torch optimizer, which calls back after each step."""

    def register_step_post_hook(self, hook: Callable[..., None], /) -> object:
        """Call `hook` after each step."""


class Window(Protocol):
    """In which steps a scheduler acts, and from which values on."""

    begin: int
    end: int
    by_epoch: bool
    unit: str
    base_values: list[float]


class Moves(Protocol):
    """Where a scheduler stands, and how it gets on."""

    last_step: int
    _global_step: int
    _late: list[int]

    def _take_in(self) -> None: ...

    def _advance(self) -> None: ...


class Writes(Protocol):
    """The groups of a scheduler, and what it sets in them."""

    optimizer: HasGroups
    _floors: list[float]

    @property
    def values(self) -> list[float]: ...

    def _prepare(self) -> None: ...

    def _write(self, values: list[float], groups: list[dict[str, Any]]) -> None: ...


class Member(Window, Moves, Writes, Protocol):
    """A scheduler, as the others on its option see it."""


class Follower(Protocol):
    """A scheduler that lowers values now and then."""

    def reapply(self) -> None: ...


class Ticks:
    """How many steps an optimizer has been told to take.

    A wrapper counts them itself: those that a gradient scaler left out are among them, as only the device knows which
    they are. The steps of an optimizer without a wrapper are counted by a hook.
    """

    def __init__(self, optimizer: HasGroups) -> None:
        self._wrapper = optimizer if isinstance(optimizer, CountsSteps) else None
        self._counted = 0
        if self._wrapper is None:
            if not isinstance(optimizer, HasStepHooks):
                raise TypeError(
                    f"unit='step' counts the optimizer's steps, which {type(optimizer).__name__} does not report: it "
                    "has neither register_step_post_hook(...) nor a step_count"
                )
            optimizer.register_step_post_hook(self._tick)

    @property
    def count(self) -> int:
        """Return the steps so far."""
        return self._counted if self._wrapper is None else int(self._wrapper.step_count)

    def _tick(self, *_: object) -> None:
        self._counted += 1


class Chain:
    """The schedulers of one option in the order in which they were made; they are held weakly.

    Attributes:
        replaying: whether a state was loaded that differs from its scheduler, so that values are worked out anew.
    """

    def __init__(self, param_name: str) -> None:
        self.param_name = param_name
        self._members: list[weakref.ref[Member]] = []
        self.replaying = False
        self._afterwards: list[weakref.ref[Follower]] = []
        self._ticks: Ticks | None = None
        self._warned: set[str] = set()

    @property
    def members(self) -> list[Member]:
        """Return the schedulers that still exist."""
        return [member for reference in self._members if (member := reference()) is not None]

    def join(self, scheduler: Member) -> None:
        """Add a scheduler that has taken its step 0."""
        self._members = [reference for reference in self._members if reference() is not None]
        self._members.append(weakref.ref(scheduler))
        self.warn_once(self._exceeds(scheduler))

    def warn_once(self, text: str) -> None:
        """Log a line, if there is one, once."""
        if text and text not in self._warned:
            self._warned.add(text)
            logger.warning("%s", text)

    def follow(self, scheduler: Follower) -> None:
        """Add one that is not stepped, but lowers the values now and then; its `reapply` runs after each replay."""
        self._afterwards.append(weakref.ref(scheduler))

    def _exceeds(self, scheduler: Member) -> str:
        """Return a line if schedules that overlap with this one drive the value above its base."""
        partners = [m for m in self.members if m is scheduler or (m.begin < scheduler.end and scheduler.begin < m.end)]
        partners = [m for m in partners if (m.by_epoch, m.unit) == (scheduler.by_epoch, scheduler.unit)]
        ours = all(type(m).__module__.startswith("seg_optim.") and not hasattr(m, "eta_max") for m in partners)
        if len(partners) < 2 or not ours:
            return ""
        start, end = sorted(m.begin for m in partners)[-1], min(m.end for m in partners)
        base = scheduler.base_values[0]
        step, highest = _highest(partners, self.param_name, base, start, min(end, start + LOOK_AHEAD))
        if highest <= base * (1 + 1e-9) or base == 0:
            return ""
        names = " and ".join(type(m).__name__ for m in partners)
        return (
            f"{names} overlap in steps {start} to {end}: {self.param_name} rises to {highest:.4g} at step {step}, "
            f"{highest / base:.3g} times its base {base:.4g}. Let one begin where the other ends (begin={end})"
        )

    def ticks(self, optimizer: HasGroups) -> Ticks:
        """Return the counter of the optimizer's steps, made on first use."""
        if self._ticks is None:
            self._ticks = Ticks(optimizer)
        return self._ticks

    def loaded(self, different: bool) -> None:
        """Follow a member that took over a position; once one differs from its state, values are worked out anew."""
        self.replaying = self.replaying or different
        if self.replaying:
            self.replay()

    def replay(self) -> None:
        """Set the values that a run up to the members' positions would have left in the groups.

        Groups that were added meanwhile keep theirs: they were not there from the beginning.
        """
        members = self.members
        for member in members:
            member._take_in()
        first, groups = members[0], members[0].optimizer.param_groups
        late = {index: first.values[index] for member in members for index in member._late}
        positions = [(member._global_step, member.last_step) for member in members]
        for group, base in zip(groups, first.base_values, strict=True):
            group[self.param_name] = base
        for member in members:
            member._global_step = member.last_step = -1
            member._advance()
        for step in range(1, max(position for position, _ in positions) + 1):
            for member, (last, _) in zip(members, positions, strict=True):
                if step <= last:
                    member._advance()
        for member, (step, last) in zip(members, positions, strict=True):
            member._global_step, member.last_step = step, last
        for reference in self._afterwards:
            follower = reference()
            if follower is not None:
                follower.reapply()
        if late:
            first._write([late.get(index, value) for index, value in enumerate(first.values)], groups)


def base_optimizer(optimizer: object) -> object:
    """Return the torch optimizer inside a wrapper, or the optimizer itself."""
    return getattr(optimizer, "optimizer", optimizer)


def chain_of(optimizer: HasGroups, param_name: str) -> Chain:
    """Return the chain of an optimizer's option; it lives on the optimizer, so that a wrapper finds the same."""
    chains: dict[str, Chain] = vars(base_optimizer(optimizer)).setdefault(_ATTRIBUTE, {})
    return chains.setdefault(param_name, Chain(param_name))


class _TrialOptimizer:
    """One group on which schedules are tried out."""

    def __init__(self, name: str, base: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{name: base, f"initial_{name}": base, "betas": (base, 0.999)}]


def _highest(members: list[Member], name: str, base: float, start: int, end: int) -> tuple[int, float]:
    """Return step and value of the highest point that schedules reach together in `[start, end)`."""
    optimizer = _TrialOptimizer(name, base)
    trial = [copy.copy(member) for member in members]
    for member in trial:
        member.optimizer, member.base_values, member._floors = optimizer, [base], [0.0]
        member._global_step = member.last_step = -1
        member._prepare()
    best = (0, 0.0)
    for step in range(end):
        for member in trial:
            member._advance()
        value = optimizer.param_groups[0][name]
        if step >= start and value > best[1]:
            best = (step, value)
    return best
