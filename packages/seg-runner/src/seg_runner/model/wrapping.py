"""Around: a module round a model whose names show through, so that checkpoints fit with and without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import nn

__all__ = ["Around", "FirstParameter", "inside", "unwrap"]

WRAPPERS = {"DistributedDataParallel", "FullyShardedDataParallel", "ModelWrapper", "BaseAveragedModel"}


def inside(model: Any) -> tuple[str, nn.Module] | None:
    """The model that a wrapper (DDP, `torch.compile`, ...) holds, and under which name; None for a bare model.

    >>> net = nn.Linear(1, 1)
    >>> inside(nn.DataParallel(net)) == ("module", net), inside(net)
    (True, None)
    """
    compiled = getattr(model, "_orig_mod", None)
    if compiled is not None:
        return "_orig_mod", compiled
    known = isinstance(model, nn.DataParallel) or WRAPPERS & {kind.__name__ for kind in type(model).__mro__}
    return ("module", model.module) if known and isinstance(getattr(model, "module", None), nn.Module) else None


class FirstParameter:
    """A model's first parameter as it is now, at little cost: `parameters()` walks through the modules each time.

    Its path is kept, not the tensor: that one may be replaced, and then no longer moves with the model.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1))
        >>> first = FirstParameter()
        >>> first.of(net) is net[0].weight
        True
        >>> net[0].weight = nn.Parameter(net[0].weight.double())
        >>> first.of(net).dtype
        torch.float64
    """

    def __init__(self) -> None:
        self._path: list[str] = []

    def of(self, model: Any) -> Any:
        """The parameter, or None where the model has none."""
        if self._path:
            at = model
            for step in self._path[:-1]:
                at = at._modules.get(step)
                if at is None:
                    break
            found = None if at is None else at._parameters.get(self._path[-1])
            if found is not None:
                return found
        name, parameter = next(model.named_parameters(), ("", None))
        self._path = name.split(".") if name else []
        return parameter


class Around(nn.Module):
    """Gives a model further methods, and leaves the names of its parameters, buffers and checkpoint keys alone.

    Of what a subclass adds (a loss, a preprocessor) only parameters go into checkpoints.

    Args:
        model: the model; kept under the name in `holds`.
    """

    holds: ClassVar[str] = "model"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"{type(self).__name__} wraps an nn.Module, not {type(model).__name__}")
        self.add_module(self.holds, model)
        self._register_state_dict_hook(_strip)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_add)  # type: ignore[no-untyped-call]

    @property
    def held(self) -> str:
        """The name of the bare model in here: a wrapper round it shows in no name either."""
        path, model = self.holds, self._modules[self.holds]
        while (found := inside(model)) is not None:
            path, model = f"{path}.{found[0]}", found[1]
        return path

    @property
    def compile_target(self) -> nn.Module:
        """What `torch.compile` is for: the model, not the steps round it."""
        inner: nn.Module = self._modules[self.holds]  # type: ignore[assignment]
        return getattr(inner, "compile_target", inner)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """All modules under the model's own names; so parameters and buffers have these names, too."""
        held = f"{prefix}.{self.held}" if prefix else self.held
        for name, module in super().named_modules(memo, prefix, remove_duplicate):
            if name == held or name.startswith(f"{held}."):
                name = (prefix + name[len(held) :]) if prefix else name[len(held) + 1 :]
            yield name, module

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over weights under the model's own names; what is missing is told by these names, too.

        Raises:
            RuntimeError: if keys are missing or unexpected and `strict`, or shapes differ.
        """
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        for keys in found:
            keys[:] = [key.removeprefix(f"{self.held}.") for key in keys]
        if strict and any(found):
            kinds = zip(("missing", "unexpected"), found, strict=True)
            told = "; ".join(f"{kind} keys: {', '.join(keys)}" for kind, keys in kinds if keys)
            raise RuntimeError(f"the weights do not fit {type(self._modules[self.holds]).__name__}: {told}")
        return found

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name == "module" or self.holds not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules[self.holds], name)


def _strip(module: Around, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """State-dict hook: the model's own names; of everything else only what is trained, no buffers."""
    lead = f"{prefix}{module.held}."
    extra = _own_parameters(module, prefix)
    for key in [key for key in state if key.startswith(prefix)]:
        value = state.pop(key)
        if key.startswith(lead):
            state[prefix + key[len(lead) :]] = value
        elif key in extra:
            state[key] = value


def _add(module: Around, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Load hook: the other way round."""
    extra = _own_parameters(module, prefix)
    for key in [key for key in state if key.startswith(prefix) and key not in extra]:
        state[f"{prefix}{module.held}.{key[len(prefix) :]}"] = state.pop(key)


def _own_parameters(module: Around, prefix: str) -> set[str]:
    """Keys of the parameters that are not the model's."""
    others = ((name, child) for name, child in module.named_children() if name != module.holds)
    return {f"{prefix}{name}.{key}" for name, child in others for key, _ in child.named_parameters()}


def unwrap(model: Any) -> nn.Module:
    """The model itself, out of DDP, `torch.compile` and other wrappers with `.module`.

    >>> net = nn.Linear(1, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    while (found := inside(model)) is not None:
        model = found[1]
    return model  # type: ignore[no-any-return]
