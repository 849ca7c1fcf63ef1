"""What code written for MMEngine reads off a runner and its loops; `tests/parity` reads every name of MMEngine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seg_runner.mmengine.attributes import INSTEAD, RUNNER, FixedList, give_hub, serves

Made = Callable[..., Any]


class Looks:
    """Reads in the middle of a run."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read, self.found = read, []

    def after_train_iter(self, runner: Any) -> None:
        self.found.append(self.read(runner))


def test_every_name_is_there_before_and_after_a_run(make_runner: Made) -> None:
    runner = make_runner()
    names = [name for name in RUNNER if hasattr(runner, name)]
    assert names == list(RUNNER)
    runner.train()
    assert [name for name in RUNNER if hasattr(runner, name)] == list(RUNNER)


def test_they_say_what_is(make_runner: Made) -> None:
    hook = Looks(lambda run: (run._train_loop is run.train_loop, run.train_loop._iter, run.train_loop._max_iters))
    runner = make_runner(hooks=[hook])
    assert runner._train_loop == runner.arguments["train_cfg"]
    runner.train()
    assert hook.found == [(True, index, runner.max_iters) for index in range(runner.max_iters)]
    assert runner.val_evaluator is runner.val_loop.evaluator
    assert runner.val_interval == runner.train_loop.val_interval
    assert (runner._seed, runner._rank, runner._resume, runner._has_loaded) == (runner.seed, 0, False, False)
    assert runner._work_dir + "/a.pth" == str(runner.work_dir / "a.pth")
    assert runner.optim_wrapper.message_hub is runner.message_hub


def test_the_length_of_a_run_can_be_set_by_either_name(make_runner: Made) -> None:
    runner = make_runner()
    runner.build_training()
    runner.train_loop._max_iters = 3
    runner.train()
    assert (runner.iter, runner.train_loop.max_iters) == (3, 3)


def test_what_nothing_stands_for_says_what_to_use(make_runner: Made) -> None:
    runner = make_runner()
    for name, advice in INSTEAD.items():
        with pytest.raises(AttributeError) as caught:
            getattr(runner, name)
        assert advice in str(caught.value)
        assert not hasattr(runner, name)


def test_what_is_read_only_says_so(make_runner: Made) -> None:
    runner = make_runner()
    with pytest.raises(AttributeError, match="_seed of Runner is read-only"):
        runner._seed = 3


def test_a_change_of_the_list_of_hooks_is_refused(make_runner: Made) -> None:
    hook = Looks(lambda run: None)
    runner = make_runner(hooks=[hook])
    assert hook in runner.hooks
    with pytest.raises(TypeError, match=r"default_hooks=dict\(name=None\)"):
        runner.hooks.remove(hook)
    with pytest.raises(TypeError, match="register_hook"):
        runner._hooks.append(hook)
    assert [*FixedList([1, 2]), 3] == [1, 2, 3]


def test_loops_do_one_iteration_where_they_are_asked_to(make_runner: Made) -> None:
    runner = make_runner()
    runner.train()
    at = runner.iter
    runner.train_loop.run_iter(next(runner.train_loop.dataloader_iterator))
    assert runner.iter == at + 1
    before = [weight.clone() for weight in runner.model.parameters()]
    runner.val_loop.run_iter(0, next(iter(runner.val_dataloader)))
    assert all((one == two).all() for one, two in zip(before, runner.model.parameters(), strict=True))


def test_a_class_keeps_what_it_has_itself() -> None:
    @serves({"mine": lambda one: "table", "other": lambda one: "table"})
    class Holder:
        mine = "own"

    assert (Holder().mine, Holder().other) == ("own", "table")  # type: ignore[attr-defined]


def test_each_of_several_wrappers_gets_the_hub() -> None:
    class Wrapper:
        message_hub: object = None

    one, two = Wrapper(), Wrapper()
    give_hub({"one": one, "two": two}, "hub")
    assert (one.message_hub, two.message_hub) == ("hub", "hub")
    give_hub(None, "hub")
