"""Schedulers that act on the same option of the same optimizer know one another through their Chain."""

from __future__ import annotations

import copy
import logging
import weakref
from typing import Any

__all__ = ["Chain", "Ticks", "chain_of"]

logger = logging.getLogger("seg_optim")
LOOK_AHEAD = 20000
"""How many steps of an overlap are looked at."""
_ATTRIBUTE = "_seg_schedule_chains"


class Ticks:
    """How many steps an optimizer has been told to take.

    A wrapper counts them itself: those that a gradient scaler left out are among them, as only the device knows which
    they are. The steps of an optimizer without a wrapper are counted by a hook.
    """

    def __init__(self, optimizer: Any) -> None:
        self._wrapper = optimizer if hasattr(optimizer, "step_count") else None
        self._counted = 0
        if self._wrapper is None:
            optimizer.register_step_post_hook(self._tick)

    @property
    def count(self) -> int:
        """Steps so far."""
        return self._counted if self._wrapper is None else int(self._wrapper.step_count)

    def _tick(self, *_: Any) -> None:
        self._counted += 1


class Chain:
    """The schedulers of one option in the order in which they were made; they are held weakly.

    Attributes:
        replaying: whether a state was loaded that differs from its scheduler, so that values are worked out anew.
    """

    def __init__(self, param_name: str) -> None:
        self.param_name = param_name
        self._members: list[weakref.ref[Any]] = []
        self.replaying = False
        self._afterwards: list[weakref.ref[Any]] = []
        self._ticks: Ticks | None = None
        self._told: set[str] = set()

    @property
    def members(self) -> list[Any]:
        """Those that still exist."""
        return [member for reference in self._members if (member := reference()) is not None]

    def join(self, scheduler: Any) -> None:
        """Add a scheduler that has taken its step 0."""
        self._members = [reference for reference in self._members if reference() is not None]
        self._members.append(weakref.ref(scheduler))
        self.tell(self._exceeds(scheduler))

    def tell(self, text: str) -> None:
        """Log a line, if there is one, once."""
        if text and text not in self._told:
            self._told.add(text)
            logger.warning("%s", text)

    def follow(self, scheduler: Any) -> None:
        """Add one that is not stepped, but lowers the values now and then; its `reapply` runs after each replay."""
        self._afterwards.append(weakref.ref(scheduler))

    def _exceeds(self, scheduler: Any) -> str:
        """A line if schedules that overlap with this one drive the value above its base."""
        partners = [m for m in self.members if m is scheduler or (m.begin < scheduler.end and scheduler.begin < m.end)]
        partners = [m for m in partners if (m.by_epoch, m.unit) == (scheduler.by_epoch, scheduler.unit)]
        ours = all(type(m).__module__.startswith("seg_optim.") and not hasattr(m, "eta_max") for m in partners)
        if len(partners) < 2 or not ours:
            return ""
        start, end = sorted(m.begin for m in partners)[-1], min(m.end for m in partners)
        base = scheduler.base_values[0]
        step, highest = _highest(partners, base, start, min(end, start + LOOK_AHEAD))
        if highest <= base * (1 + 1e-9) or base == 0:
            return ""
        names = " and ".join(type(m).__name__ for m in partners)
        return (
            f"{names} overlap in steps {start} to {end}: {self.param_name} rises to {highest:.4g} at step {step}, "
            f"{highest / base:.3g} times its base {base:.4g}. Let one begin where the other ends (begin={end})"
        )

    def ticks(self, optimizer: Any) -> Ticks:
        """The counter of the optimizer's steps, made on first use."""
        if self._ticks is None:
            self._ticks = Ticks(optimizer)
        return self._ticks

    def loaded(self, scheduler: Any, different: bool) -> None:
        """A member took over a position; once one differs from its state, the values have to be worked out."""
        if different:
            self.replaying = True
            scheduler._restore_bases()
        if self.replaying:
            self.replay()

    def replay(self) -> None:
        """Set the values that a run up to the members' positions would have left in the groups.

        Groups that were added meanwhile keep theirs: they were not there from the beginning.
        """
        members = self.members
        for member in members:
            member._take_in()
        late = {index: members[0].values[index] for member in members for index in member._late}
        positions = [(member._global_step, member.last_step) for member in members]
        for group, base in zip(members[0]._groups, members[0].base_values, strict=True):
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
            first = members[0]
            first._write([late.get(index, value) for index, value in enumerate(first.values)], first._groups)


def base_optimizer(optimizer: Any) -> Any:
    """The torch optimizer inside a wrapper, or the optimizer itself."""
    return getattr(optimizer, "optimizer", optimizer)


def chain_of(optimizer: Any, param_name: str) -> Chain:
    """The chain of an optimizer's option; it lives on the optimizer, where wrapper and optimizer find the same."""
    chains: dict[str, Chain] = vars(base_optimizer(optimizer)).setdefault(_ATTRIBUTE, {})
    return chains.setdefault(param_name, Chain(param_name))


class _Stand:
    """One group on which schedules are tried out."""

    def __init__(self, name: str, base: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{name: base, f"initial_{name}": base, "betas": (base, 0.999)}]


def _highest(members: list[Any], base: float, start: int, end: int) -> tuple[int, float]:
    """Step and value of the highest point that schedules reach together in `[start, end)`."""
    name = members[0].param_name
    stand = _Stand(name, base)
    trial = [copy.copy(member) for member in members]
    for member in trial:
        member.optimizer, member.base_values, member._floors = stand, [base], [0.0]
        member._global_step = member.last_step = -1
        member._prepare()
    best = (0, 0.0)
    for step in range(end):
        for member in trial:
            member._advance()
        value = stand.param_groups[0][name]
        if step >= start and value > best[1]:
            best = (step, value)
    return best
