"""OptimWrapperDict: several wrappers under names, for models that step them by hand."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from torch import nn

from seg_optim.wrappers.not_trained import Watch
from seg_optim.wrappers.wrapper import OptimWrapper

__all__ = ["OptimWrapperDict"]


class OptimWrapperDict:
    """Wrappers by name, as a model with several optimizers (a GAN, for example) needs them.

    The model's `train_step` uses each by name; what only makes sense for one wrapper raises NotImplementedError.

    Example:
        >>> import torch
        >>> a, b = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        >>> wrappers = OptimWrapperDict(
        ...     a=OptimWrapper(torch.optim.SGD(a.parameters(), lr=0.1)),
        ...     b=OptimWrapper(torch.optim.SGD(b.parameters(), lr=0.2)))
        >>> wrappers.get_lr()
        {'a.lr': [0.1], 'b.lr': [0.2]}
    """

    def __init__(self, **optim_wrappers: OptimWrapper) -> None:
        for name, wrapper in optim_wrappers.items():
            if not isinstance(wrapper, OptimWrapper):
                raise TypeError(f"{name} is a {type(wrapper).__name__}, not an OptimWrapper")
        self.optim_wrappers = optim_wrappers

    def update_params(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: this is each wrapper's own."""
        self._refuse("update_params")

    def backward(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: this is each wrapper's own."""
        self._refuse("backward")

    def step(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: this is each wrapper's own."""
        self._refuse("step")

    def optim_context(self, model: nn.Module) -> AbstractContextManager[None]:
        """Refuse: this is each wrapper's own."""
        self._refuse("optim_context")

    def _refuse(self, method: str) -> NoReturn:
        names = ", ".join(self.optim_wrappers)
        raise NotImplementedError(
            f"call {method} on one of the optimizer wrappers: optim_wrapper['<name>'].{method}(...), with a name of "
            f"{names}"
        )

    def __getattr__(self, name: str) -> NoReturn:
        own = hasattr(OptimWrapper, name) and not name.startswith("_")
        hint = f": each of its wrappers has its own, optim_wrapper['<name>'].{name}" if own else ""
        raise AttributeError(f"{type(self).__name__} has no {name!r}{hint}")

    def zero_grad(self, **kwargs: object) -> None:
        """Forget the gradients of all."""
        for wrapper in self.values():
            wrapper.zero_grad()

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Begin to look for parameters that none of them trains; how often each steps is the model's business."""
        if all(wrapper._watch is None for wrapper in self.values()):
            watch = Watch(model, *(wrapper.optimizer for wrapper in self.values()), complete=False)
            for wrapper in self.values():
                wrapper._watch = watch
        for wrapper in self.values():
            if wrapper._watch is not None:
                wrapper._watch.look()

    def get_lr(self) -> dict[str, list[float]]:
        """Return `<name>.lr` and `<name>.base_lr` of all."""
        return {f"{name}.{key}": rates for name, w in self.items() for key, rates in w.get_lr().items()}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return `<name>.momentum` of all."""
        return {f"{name}.{key}": values for name, w in self.items() for key, values in w.get_momentum().items()}

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return the groups by name."""
        return {name: wrapper.param_groups for name, wrapper in self.items()}

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states by name."""
        return {name: wrapper.state_dict() for name, wrapper in self.items()}

    def load_state_dict(self, state_dict: dict[str, dict[str, Any]]) -> None:
        """Load each state by its name."""
        missing = [name for name in state_dict if name not in self.optim_wrappers]
        if missing:
            raise KeyError(f"no optimizer wrapper is called {missing[0]!r}; there are {', '.join(self.optim_wrappers)}")
        for name, state in state_dict.items():
            self.optim_wrappers[name].load_state_dict(state)

    def items(self) -> ItemsView[str, OptimWrapper]:
        """Return names and wrappers."""
        return self.optim_wrappers.items()

    def values(self) -> ValuesView[OptimWrapper]:
        """Return the wrappers."""
        return self.optim_wrappers.values()

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self.optim_wrappers.keys()

    def __getitem__(self, name: str) -> OptimWrapper:
        return self.optim_wrappers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.optim_wrappers)

    def __contains__(self, name: object) -> bool:
        return name in self.optim_wrappers

    def __len__(self) -> int:
        return len(self.optim_wrappers)
