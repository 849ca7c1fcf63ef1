"""A subclass of MMEngine's Runner becomes one of ours: its `super()` means ours, and what is not called is refused."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from seg_runner.mmengine.runner_classes import as_runner


class Theirs:
    """MMEngine's Runner, as a subclass of it sees it."""

    def train(self) -> str:
        return "theirs"

    def call_hook(self, name: str) -> None:
        """Nobody calls it here."""

    def _after_all(self) -> None:
        """Ours has no such method."""


class Ours:
    """Our Runner, likewise."""

    def __init__(self) -> None:
        self.made = True

    def train(self) -> str:
        return "ours"

    def call_hook(self, name: str) -> None:
        """There is one."""

    @classmethod
    def build(cls) -> Any:
        return cls()


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mmengine.runner")
    module.Runner = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.runner", module)


def test_super_means_ours_over_several_classes() -> None:
    class First(Theirs):
        word = "first"

        def train(self) -> str:
            return f"{self.word} {super().train()}"

        @property
        def twice(self) -> str:
            return 2 * __class__.__name__  # type: ignore[name-defined]

    class Second(First):
        def train(self) -> str:
            return f"second {super().train()}"

        @classmethod
        def build(cls) -> Any:
            made = super().build()  # type: ignore[misc]
            made.built = cls.__name__
            return made

        @staticmethod
        def plain(value: int) -> int:
            return value + 1

    made = as_runner(Second, Ours).build()
    assert isinstance(made, Ours)
    assert not isinstance(made, Theirs)
    assert (made.train(), made.twice, made.built, made.plain(1)) == ("second first ours", "FirstFirst", "Second", 2)
    assert Second.__mro__[2] is Theirs  # the class itself is as it was
    assert made.made


def test_their_runner_itself_and_other_classes() -> None:
    class Unrelated:
        """A runner of somebody else's."""

    assert as_runner(Theirs, Ours) is Ours
    assert as_runner(Unrelated, Ours) is Unrelated


def test_what_is_not_called_here_is_refused_with_what_to_do() -> None:
    class Calls(Theirs):
        def call_hook(self, name: str) -> None:
            """Never called."""

    class Private(Theirs):
        def _after_all(self) -> None:
            """Never called."""

    with pytest.raises(TypeError, match=r"overrides call_hook of MMEngine's Runner, .*: write a hook"):
        as_runner(Calls, Ours)
    with pytest.raises(TypeError, match=r"overrides _after_all"):
        as_runner(Private, Ours)


class Names(Theirs):
    """Names the class in a method."""

    def train(self) -> str:
        return Theirs.train(self)


def test_a_method_that_names_their_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Names.train .* names the class Theirs, .* super\(\) without arguments"):
        as_runner(Names, Ours)


def test_without_their_engine_there_is_nothing_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmengine.runner")
    assert as_runner(Names, Ours) is Names
