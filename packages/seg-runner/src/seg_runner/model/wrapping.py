"""Wrapped models: how they are unwrapped, and a wrapper that leaves the names in checkpoints alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import nn

__all__ = ["TransparentWrapper", "unwrap", "unwrap_once"]

WRAPPERS = ("DataParallel", "AveragedModel", "ModelWrapper")
"""How the names of classes end that hold the model as `module`: DDP, FSDP, averages, MMEngine's, and what inherits."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model itself, out of DDP, `torch.compile` and other wrappers with `.module`.

    >>> net = nn.Linear(1, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    while (found := unwrap_once(model)) is not None:
        model = found[1]
    return model


def unwrap_once(model: object) -> tuple[str, nn.Module] | None:
    """Return the model that a wrapper (DDP, `torch.compile`, ...) holds, and its name there; None for a bare model.

    >>> net = nn.Linear(1, 1)
    >>> unwrap_once(nn.DataParallel(net)) == ("module", net), unwrap_once(net)
    (True, None)
    """
    compiled = getattr(model, "_orig_mod", None)
    if compiled is not None:
        return "_orig_mod", compiled
    known = any(kind.__name__.endswith(WRAPPERS) for kind in type(model).__mro__)
    module = getattr(model, "module", None) if known and _holds_one_module(model) else None
    return ("module", module) if isinstance(module, nn.Module) else None


def _holds_one_module(model: object) -> bool:
    """Tell whether all weights lie in one part: a net called so that has a head beside its `module` is no wrapper."""
    return isinstance(model, nn.Module) and len(model._modules) == 1 and not model._parameters


class TransparentWrapper(nn.Module):
    """Gives a model further methods, and leaves the names of its parameters, buffers and checkpoint keys alone.

    Of what a subclass adds (a loss, a preprocessor) only parameters go into checkpoints.

    Args:
        model: the model; kept under the name in `model_name`.
    """

    model_name: ClassVar[str] = "model"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"{type(self).__name__} wraps an nn.Module, not {type(model).__name__}")
        self.add_module(self.model_name, model)
        self._register_state_dict_hook(_remove_path)  # type: ignore[no-untyped-call]
        # the public one is there from torch 2.5 on
        self._register_load_state_dict_pre_hook(_add_path, with_module=True)  # type: ignore[no-untyped-call]

    @property
    def model_path(self) -> str:
        """Where the bare model is in here, with dots: the names of wrappers round it are left out of keys, too."""
        path, model = self.model_name, self._modules[self.model_name]
        while (found := unwrap_once(model)) is not None:
            path, model = f"{path}.{found[0]}", found[1]
        return path

    @property
    def compile_target(self) -> nn.Module:
        """What `torch.compile` compiles: the model, not the steps round it."""
        inner: nn.Module = self._modules[self.model_name]  # type: ignore[assignment]
        return getattr(inner, "compile_target", inner)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yield all modules under the model's own names; so parameters and buffers have these names, too."""
        path = f"{prefix}.{self.model_path}" if prefix else self.model_path
        for name, module in super().named_modules(memo, prefix, remove_duplicate):
            if name == path or name.startswith(f"{path}."):
                name = (prefix + name[len(path) :]) if prefix else name[len(path) + 1 :]
            yield name, module

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over weights under the model's own names; what is missing is named so, too.

        Raises:
            RuntimeError: if keys are missing or unexpected and `strict`, or shapes differ.
        """
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        for keys in found:
            keys[:] = [key.removeprefix(f"{self.model_path}.") for key in keys]
        if strict and any(found):
            kinds = zip(("missing", "unexpected"), found, strict=True)
            problems = "; ".join(f"{kind} keys: {', '.join(keys)}" for kind, keys in kinds if keys)
            raise RuntimeError(f"the weights do not fit {type(self._modules[self.model_name]).__name__}: {problems}")
        return found

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or name == "module" or self.model_name not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules[self.model_name], name)


def _remove_path(module: TransparentWrapper, state: dict[str, Any], prefix: str, metadata: object) -> None:
    """Keep the model's own names in a state dict; of everything else keep what is trained, no buffers."""
    lead = f"{prefix}{module.model_path}."
    extra = _own_parameters(module, prefix)
    for key in [key for key in state if key.startswith(prefix)]:
        value = state.pop(key)
        if key.startswith(lead):
            state[prefix + key[len(lead) :]] = value
        elif key in extra:
            state[key] = value


def _add_path(module: TransparentWrapper, state: dict[str, Any], prefix: str, *rest: object) -> None:
    """Give keys with the model's own names back the path to it, before they are loaded."""
    extra = _own_parameters(module, prefix)
    for key in [key for key in state if key.startswith(prefix) and key not in extra]:
        state[f"{prefix}{module.model_path}.{key[len(prefix) :]}"] = state.pop(key)


def _own_parameters(module: TransparentWrapper, prefix: str) -> set[str]:
    """Return the keys of the parameters that are not the model's."""
    others = ((name, child) for name, child in module.named_children() if name != module.model_name)
    return {f"{prefix}{name}.{key}" for name, child in others for key, _ in child.named_parameters()}
