"""What a captured step takes for granted, looked at before each step; and what it changes besides tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

__all__ = ["Notes", "Settings", "changed_in_python"]

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PLAIN = frozenset({bool, float, int, str, type(None)})


class Settings:
    """What the kernels of a captured step depend on: where another is found, the step must be captured anew.

    That are the modes of modules (`train()`, frozen norms), their fractional settings (`p` of dropout, the weight of a
    loss) and, of modules that are not torch's own, all numbers, texts, switches and tensors that they hold by name;
    which parameters are trained and where their memory lies, the options of the optimizer but for its rates, and its
    state, which a loaded checkpoint replaces. Other modules than at the start, and what lies in a module's lists and
    dicts, are not noticed.

    Args:
        model: The model.
        optimizer: Its optimizer.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._optimizer, self._state = optimizer, optimizer.state  # kept, so that no other lies where it was
        self._modules = list(model.modules())
        self._tensors = [*model.parameters(), *model.buffers()]
        self._hooks = [own[name] for own in map(vars, self._modules) for name in HOOKS if name in own]
        self._values = [
            (vars(module), name)
            for module in self._modules
            for name, value in vars(module).items()
            if _set(module, value)
        ]

    def now(self) -> tuple[Any, ...]:
        """Return them as they are; two of these are equal where nothing has changed."""
        return (
            [module.training for module in self._modules],
            [value if type(value := own.get(name)) in PLAIN else id(value) for own, name in self._values],
            [(tensor.data_ptr(), tensor.requires_grad) for tensor in self._tensors],
            [_options(group) for group in self._optimizer.param_groups],
            self._optimizer.state is self._state,
            len(self._state),
        )

    def hooked(self) -> str:
        """Return why no step can be captured now: a hook on a module, whose Python a graph would leave out."""
        if not any(self._hooks):  # torch's own tables, empty as a rule: quicker than to ask each module
            return ""
        hooked = next(one for one in self._modules if any(vars(one).get(name) for name in HOOKS))
        return f"a {type(hooked).__name__} has a hook, whose Python a graph would not run"


def _set(module: nn.Module, value: object) -> bool:
    """Tell whether a value in a module may be a setting that somebody changes; torch's own have hundreds that stay."""
    own = not type(module).__module__.startswith("torch.nn.")
    return type(value) is float or (own and (type(value) in PLAIN or isinstance(value, torch.Tensor)))


def _options(group: Mapping[str, Any]) -> list[Any]:
    """Return the options of a group but for its rate, and how many parameters it has."""
    options = [value for name, value in group.items() if name not in ("params", "lr", "initial_lr")]
    return [len(group["params"]), *options]


class Notes:
    """What a step leaves in the attributes of the objects round it: it must be there after a repeated step, too.

    A wrapper counts its steps and keeps the norm of the gradients; a hook on the optimizer keeps what it saw. Whole
    numbers go on by as much as in the captured step; tensors are those of the repeated one.

    Args:
        objects: The objects.

    Attributes:
        tensors: Those that the step has put there.
    """

    def __init__(self, objects: Iterable[object]) -> None:
        self._objects = [one for one in objects if hasattr(one, "__dict__")]
        self._before = [dict(vars(one)) for one in self._objects]
        self._counts: list[tuple[object, str, int]] = []
        self._places: list[tuple[object, str]] = []
        self.tensors: list[torch.Tensor] = []

    def compare(self) -> None:
        """Look at what the step has changed, right after it."""
        for one, before in zip(self._objects, self._before, strict=True):
            for name, value in vars(one).items():
                old = before.get(name)
                if type(value) is int and type(old) is int and value != old:
                    self._counts.append((one, name, value - old))
                elif isinstance(value, torch.Tensor) and value is not old:
                    self._places.append((one, name))
                    self.tensors.append(value)

    def repeat(self, tensors: Iterable[torch.Tensor], counts: bool = True) -> None:
        """Change the objects as the step did; `tensors` stand for its own, and `counts` says whether numbers go on."""
        for one, name, more in self._counts if counts else ():
            setattr(one, name, getattr(one, name) + more)
        for (one, name), tensor in zip(self._places, tensors, strict=True):
            setattr(one, name, tensor)


def changed_in_python(model: nn.Module, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return buffers, other tensors and numbers that modules hold; with `before`, those that are others now.

    A graph repeats what is done to tensors. A buffer that was replaced instead of written to, or a count in Python,
    would stay for ever what it was.
    """
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        own = vars(module)
        for name, value in [*own.items(), *module._buffers.items()]:
            if type(value) in (int, float) or isinstance(value, torch.Tensor):
                found[f"{path}.{name}" if path else name] = value
    if before is None:
        return found
    return {name: value for name, value in found.items() if _is_another(before.get(name), value)}


def _is_another(old: object, new: object) -> bool:
    return new is not old if isinstance(new, torch.Tensor) else new != old
