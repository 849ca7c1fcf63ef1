"""Global instances of an engine that keeps them as MMEngine does: this run's own while it runs, none of it afterwards.

The package below has the same names, and a dict of instances for each class. tests/parity compares with the real one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import Runner
from seg_runner.model.wrapping import unwrap
from torch import nn

SOURCES = {
    "__init__.py": "",
    "tables.py": """
        class Meta(type):
            def __init__(cls, *args):
                super().__init__(*args)
                cls._instance_dict = {}

        class Kept(metaclass=Meta):
            def __init__(self, name='', **more):
                self.instance_name = name
                self.__dict__.update(more)

            @classmethod
            def get_instance(cls, name, **more):
                if name not in cls._instance_dict:
                    cls._instance_dict[name] = cls(name, **more)
                return cls._instance_dict[name]

            @classmethod
            def get_current_instance(cls):
                return next(reversed(cls._instance_dict.values()), None)
        """,
    "logging.py": """
        from mmengine.tables import Kept

        class MessageHub(Kept): ...
        class MMLogger(Kept): ...
        """,
    "registry.py": """
        from mmengine.tables import Kept

        class DefaultScope(Kept): ...
        """,
    "visualization.py": """
        from mmengine.tables import Kept

        class Visualizer(Kept): ...
        class Drawer(Visualizer): ...
        class FallbackVisualizer(Visualizer): ...
        """,
}


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the package lies; at the end its modules are gone, and nothing listens to imports."""
    folder = tmp_path / "engine" / "mmengine"
    folder.mkdir(parents=True)
    for name, text in SOURCES.items():
        (folder / name).write_text("\n".join(line[8:] for line in text.splitlines()))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmengine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield
    assert [one for one in sys.meta_path if type(one).__module__.startswith("seg_runner")] == []
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmengine"]:
        del sys.modules[name]


KINDS = {"logging": ("MessageHub", "MMLogger"), "registry": ("DefaultScope",), "visualization": ("Visualizer",)}


def kinds() -> dict[str, Any]:
    return {name: getattr(import_module(f"mmengine.{module}"), name) for module in KINDS for name in KINDS[module]}


def current() -> dict[str, Any]:
    return {name: kind.get_current_instance() for name, kind in kinds().items()}


def tables() -> list[list[tuple[str, Any]]]:
    more = import_module("mmengine.visualization")
    return [[*kind._instance_dict.items()] for kind in (*kinds().values(), more.Drawer, more.FallbackVisualizer)]


class Asks(nn.Module):
    """A network that imports the engine when it is made, as an import of MMSegmentation's registry does."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 1)
        self.seen = current()
        if fail:
            raise RuntimeError("on purpose")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body(image)


class Looks:
    """A hook that looks in the middle of a run, and does what it is told to do there."""

    def __init__(self, does: Any = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.does = does

    def after_train_iter(self, runner: Any) -> None:
        self.seen.append(current())
        if self.does is not None:
            self.does(runner)


def mine(runner: Any, seen: dict[str, Any]) -> bool:
    """Whether what was seen is this run's own."""
    scope = seen["DefaultScope"]
    assert (scope.instance_name, scope.scope_name) == (runner.experiment_name, "mmseg")
    assert seen["MessageHub"].instance_name == seen["MMLogger"].instance_name == runner.experiment_name
    return seen["MessageHub"] is runner.message_hub and seen["MMLogger"] is runner.logger


def started(make_runner: Any, **more: Any) -> Any:
    return make_runner(default_scope="mmseg", default_hooks={"checkpoint": None}, **more)


def built(work_dir: Path, **options: Any) -> Runner:
    """A run that makes its model itself."""
    return Runner(model={"type": Asks, **options}, work_dir=work_dir, default_scope="mmseg")


def test_a_model_that_imports_the_engine_while_it_is_built_gets_this_runs_own(tmp_path: Path) -> None:
    runner = built(tmp_path / "out")
    seen = unwrap(runner.model).seen
    assert mine(runner, seen)
    assert seen["Visualizer"] is runner.visualizer
    assert tables() == [[]] * 6
    loader = import_module("mmengine.logging").__spec__
    assert loader is not None
    assert type(loader.loader).__module__.startswith(("importlib", "_frozen_importlib"))


def test_a_hook_that_imports_it_at_the_first_step_gets_them(make_runner: Any) -> None:
    looks = Looks()
    runner = started(make_runner, hooks=[looks])
    assert "mmengine" not in sys.modules
    runner.train()
    assert all(mine(runner, seen) for seen in looks.seen)
    assert tables() == [[]] * 6


def test_what_was_current_before_is_current_again_after_each_of_two_runs(make_runner: Any) -> None:
    owners = kinds()
    for kind in owners.values():
        kind.get_instance("first")
        kind.get_instance("second")
    before = tables()
    hooks = [Looks(), Looks()]
    runners = [started(make_runner, hooks=[hook]) for hook in hooks]
    for runner, hook in [*zip(runners, hooks, strict=True)][::-1]:
        runner.train()
        assert all(mine(runner, seen) for seen in hook.seen)
        assert tables() == before


def test_a_run_inside_of_a_run_gives_back_the_outer_ones(make_runner: Any) -> None:
    inner, looks = Looks(), Looks()
    found: list[Any] = []

    def run_another(runner: Any) -> None:
        if not found:
            found.append(started(make_runner, hooks=[inner]))
            found[0].train()

    looks.does = run_another
    outer = started(make_runner, hooks=[looks])
    outer.train()
    assert all(mine(outer, seen) for seen in looks.seen)
    assert all(mine(found[0], seen) for seen in inner.seen)
    assert tables() == [[]] * 6


def test_a_run_inside_of_a_run_may_be_the_first_to_import_it(make_runner: Any) -> None:
    """Both runs listen for the import, and neither asks the other for the module."""
    inner, seen = Looks(), []

    class Starts:
        def before_train_iter(self, runner: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                started(make_runner, hooks=[inner]).train()
                logging = import_module("mmengine.logging")
                seen.append(logging.MMLogger.get_current_instance() is runner.logger)
                assert type(logging.__spec__.loader).__module__.startswith(("importlib", "_frozen_importlib"))

    started(make_runner, hooks=[Starts()]).train()
    assert inner.seen
    assert seen == [True]
    assert tables() == [[]] * 6


@pytest.mark.parametrize("when", ["building", "training"])
def test_an_error_leaves_nothing(make_runner: Any, tmp_path: Path, when: str) -> None:
    kinds()["MessageHub"].get_instance("first")
    before = tables()

    def fail(*args: Any) -> Any:
        raise RuntimeError("on purpose")

    calls = {
        "building": lambda: built(tmp_path / "out", fail=True),
        "training": lambda: started(make_runner, hooks=[Looks(fail)]).train(),
    }
    with pytest.raises(RuntimeError, match="on purpose"):
        calls[when]()
    assert tables() == before


def test_an_instance_that_has_the_name_of_the_run_is_back_afterwards(make_runner: Any) -> None:
    looks = Looks()
    runner = started(make_runner, hooks=[looks])
    theirs = kinds()["MMLogger"].get_instance(runner.experiment_name)
    runner.train()
    assert mine(runner, looks.seen[0])
    assert current()["MMLogger"] is theirs


def test_a_visualizer_made_in_the_run_is_the_runs_and_a_log_of_the_users_stays(make_runner: Any) -> None:
    made: list[Any] = []

    def make(runner: Runner) -> None:
        if not made:
            made.append(import_module("mmengine.visualization").Drawer.get_instance("mine"))
            made.append(kinds()["MMLogger"].get_instance("my log"))
        assert import_module("mmengine.visualization").Drawer.get_instance("mine") is made[0]
        assert kinds()["MMLogger"].get_instance("my log") is made[1]

    kinds()["MMLogger"].get_instance("first")
    runner = started(make_runner, hooks=[Looks(make)])
    runner.train()
    assert import_module("mmengine.visualization").Drawer._instance_dict == {}
    assert [*kinds()["MMLogger"]._instance_dict] == ["my log", "first"]
    runner.train_loop._max_iters = runner.train_loop.max_iters + 1
    runner.train()  # and asks for both again


def test_a_class_of_the_same_name_as_our_visualizer_gives_it_too(make_runner: Any) -> None:
    seen: list[Any] = []

    def look(runner: Any) -> None:
        drawers = import_module("mmengine.visualization")
        seen.append((drawers.FallbackVisualizer.get_current_instance(), drawers.Drawer.get_current_instance()))

    runner = started(make_runner, hooks=[Looks(look)])
    runner.train()
    assert seen[0] == (runner.visualizer, None)
