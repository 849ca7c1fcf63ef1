"""The state of a run as a list of named parts: what each writes into a checkpoint, and how each goes on from one.

`Runner.state_parts` lists them. A new part is one line there: `State("sampler", sampler)` for anything that has
`state_dict` and `load_state_dict`, else an object of a class with the three members of `Part`:

    class Temperature:
        key = "temperature"  # the name under which it lies in the file

        def __init__(self, model):
            self.model = model

        def save(self):
            return {"value": self.model.temperature}  # tensors and plain values; None: nothing to keep

        def restore(self, checkpoint, report):
            if self.key in checkpoint:
                self.model.temperature = checkpoint[self.key]["value"]
                report.restored.append("temperature")
            else:
                report.not_restored.append("temperature: not in the checkpoint")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeGuard

from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.report import ResumeReport
from seg_runner.protocols import Stateful

__all__ = ["Part", "State", "gather_state", "is_stateful", "restore_state"]


class Part(Protocol):
    """One named part of a checkpoint."""

    @property
    def key(self) -> str:
        """Return the name under which the part lies in the file."""

    def save(self) -> object:
        """Return what goes into the file: tensors and plain values; None leaves the key out."""

    def restore(self, checkpoint: Mapping[str, object], report: ResumeReport) -> None:
        """Go on from a checkpoint, and report what came back.

        The whole checkpoint is given, as files of MMEngine and of older versions keep some things elsewhere.
        """


def gather_state(parts: Iterable[Part], *, optimizer: bool = True, schedulers: bool = True) -> dict[str, Any]:
    """Return everything that a run needs to go on, under MMEngine's keys, and ours beside them.

    Args:
        parts: The parts of the run; those that have nothing to save are left out.
        optimizer: Whether the optimizer's state (and gradients of an unfinished accumulation) go in.
        schedulers: Whether the schedulers' states go in.
    """
    left_out = [] if optimizer else ["optimizer", "grads"]
    left_out += [] if schedulers else ["param_schedulers"]
    state: dict[str, Any] = {}
    for part in parts:
        saved = None if part.key in left_out else part.save()
        if saved is not None:
            state[part.key] = saved
    return state


def restore_state(parts: Iterable[Part], checkpoint: Mapping[str, object], *, strict: bool = False) -> ResumeReport:
    """Put a run where a checkpoint stands; the hooks' `after_load_checkpoint` has run before.

    Args:
        parts: The parts of the run, which are restored in this order.
        checkpoint: From `read_checkpoint`; MMEngine's files lack some parts, and the report says so.
        strict: Raise unless the resumed run is the same run.

    Raises:
        ValueError: The checkpoint says nothing about where its run stood.
        RuntimeError: No weight fits the model, and `load_options.strict` is not False.
        ResumeError: With `strict`, when something is not restored or changed without a reason.
    """
    report = ResumeReport()
    for part in parts:
        part.restore(checkpoint, report)
    if strict:
        report.check()
    return report


def is_stateful(value: object) -> TypeGuard[Stateful]:
    """Tell whether an object has a state to keep."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


class State:
    """What `state_dict` and `load_state_dict` of an object keep; nothing where it has none.

    Args:
        key: The name under which it lies in the file; the report uses it, too.
        holder: The object.
        expected: Report a checkpoint in which it is missing.
    """

    def __init__(self, key: str, holder: object, *, expected: bool = False) -> None:
        self.key, self.holder, self.expected = key, holder, expected

    def save(self) -> object:
        """Return its state, unless that is empty."""
        return (dict(self.holder.state_dict()) or None) if is_stateful(self.holder) else None

    def restore(self, checkpoint: Mapping[str, object], report: ResumeReport) -> None:
        """Hand the object its state, in memory of its own."""
        if not is_stateful(self.holder):
            return
        if self.key in checkpoint:
            self.holder.load_state_dict(own(checkpoint[self.key]))
            report.restored.append(self.key.replace("_", " "))
        elif self.expected:
            report.not_restored.append(f"{self.key}: not in the checkpoint")
