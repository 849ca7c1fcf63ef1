"""What constructors and wrappers ask of models and loops: satisfied by shape."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

__all__ = ["HasGroups", "KnowsDepth", "NoSync"]


class HasGroups(Protocol):
    """A torch optimizer, or a wrapper of one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups with their options."""


@runtime_checkable
class KnowsDepth(Protocol):
    """A model that can say at which depth a parameter lies."""

    def get_layer_id(self, name: str) -> int:
        """Return the depth of the parameter called `name`: 0 for the embedding."""


@runtime_checkable
class NoSync(Protocol):
    """A model wrapper that can leave out the exchange of gradients (DDP)."""

    def no_sync(self) -> AbstractContextManager[Any]:
        """Return the context in which gradients stay local."""
