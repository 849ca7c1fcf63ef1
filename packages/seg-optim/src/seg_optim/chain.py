"""Schedulers that act on the same option of the same optimizer know one another through their Chain."""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["Chain", "Ticks", "chain_of"]

_ATTRIBUTE = "_seg_schedule_chains"


class Ticks:
    """How many steps an optimizer has taken since the counting began."""

    def __init__(self, optimizer: Any) -> None:
        self.count = 0
        optimizer.register_step_post_hook(self._tick)

    def _tick(self, *_: Any) -> None:
        self.count += 1


class Chain:
    """The schedulers of one option in the order in which they were made; they are held weakly."""

    def __init__(self, param_name: str) -> None:
        self.param_name = param_name
        self._members: list[weakref.ref[Any]] = []
        self._replaying = False
        self._ticks: Ticks | None = None

    @property
    def members(self) -> list[Any]:
        """Those that still exist."""
        return [member for reference in self._members if (member := reference()) is not None]

    def join(self, scheduler: Any) -> None:
        """Add a scheduler that has taken its step 0."""
        self._members = [reference for reference in self._members if reference() is not None]
        self._members.append(weakref.ref(scheduler))

    def ticks(self, optimizer: Any) -> Ticks:
        """The counter of the optimizer's steps, made on first use."""
        if self._ticks is None:
            self._ticks = Ticks(base_optimizer(optimizer))
        return self._ticks

    def loaded(self, scheduler: Any, different: bool) -> None:
        """A member took over a position; once one differs from its state, the values have to be worked out."""
        if different:
            self._replaying = True
            scheduler._restore_bases()
        if self._replaying:
            self.replay()

    def replay(self) -> None:
        """Set the values that a run up to the members' positions would have left in the groups."""
        members = self.members
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


def base_optimizer(optimizer: Any) -> Any:
    """The torch optimizer inside a wrapper, or the optimizer itself."""
    return getattr(optimizer, "optimizer", optimizer)


def chain_of(optimizer: Any, param_name: str) -> Chain:
    """The chain of an optimizer's option; it lives on the optimizer, where wrapper and optimizer find the same."""
    chains: dict[str, Chain] = vars(base_optimizer(optimizer)).setdefault(_ATTRIBUTE, {})
    return chains.setdefault(param_name, Chain(param_name))
