"""Which files of tests come first where several processes share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

__all__ = ["slowest_first"]


class HasId(Protocol):
    """A collected test."""

    nodeid: str


T = TypeVar("T", bound=HasId)


def slowest_first(tests: list[T], seconds: Mapping[str, float]) -> list[T]:
    """Order tests by how long their files take, the longest first; what is not known comes last, as it was.

    A long file that comes last has all other processes wait for its end.
    """
    return sorted(tests, key=lambda test: -seconds.get(test.nodeid.partition("::")[0], 0.0))
