"""Each hook runs against an object that has the members of its Protocols and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, get_args

import pytest
import seg_hooks
import torch
from seg_hooks import Hook, TrainState
from seg_hooks import protocols as facets

OPTIONS: dict[str, dict[str, Any]] = {
    "EMAHook": {"momentum": 0.1},
    "CheckpointHook": {"interval": 1, "by_epoch": False, "save_best": "mIoU", "max_keep_ckpts": 1},
    "LoggerHook": {"interval": 1},
    "EarlyStoppingHook": {"monitor": "mIoU"},
    "NanGuardHook": {"policy": "skip"},
    "ProgressBarHook": {"kind": "plain"},
    "EmptyCacheHook": {"before_epoch": True, "after_iter": True},
    "RuntimeInfoHook": {"group_rates": True},
}
HOOKS = [
    name
    for name in seg_hooks.__all__
    if isinstance(cls := getattr(seg_hooks, name), type) and issubclass(cls, Hook) and cls is not Hook
]


def members(hook: Hook) -> set[str]:
    """The public members of the Protocols that the hook asks for: those of `Hook[...]`."""
    (runner,) = get_args(type(hook).__orig_bases__[0])  # type: ignore[attr-defined]
    bases = [cls for cls in runner.__mro__ if cls.__module__ == facets.__name__]
    return {name for cls in bases for name in vars(cls) if not name.startswith("_")}


class Limited:
    """Shows a few members of a state and counts everything else as an error."""

    def __init__(self, state: TrainState, names: set[str]) -> None:
        self.__dict__.update(_state=state, _names=names)

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"not in the hook's Protocols: {name}")
        return getattr(self._state, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"hooks set nothing on the runner: {name}")


def test_every_hook_is_covered() -> None:
    assert len(HOOKS) == 14


def test_facets_have_at_most_five_members() -> None:
    for name in facets.__all__:
        assert len([member for member in vars(getattr(facets, name)) if not member.startswith("_")]) <= 5
        assert issubclass(getattr(facets, name), Protocol)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_touches_only_its_facets(name: str, tmp_path: Path) -> None:
    hook = getattr(seg_hooks, name)(**OPTIONS.get(name, {}))
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = TrainState(net, torch.optim.SGD(net.parameters(), 0.1), tmp_path, max_iters=2)
    state.train_dataloader = state.val_dataloader = state.test_dataloader = [torch.ones(2, 2)] * 2
    runner = Limited(state, members(hook))
    for point in ("before_run", "before_train", "before_train_epoch"):
        getattr(hook, point)(runner)
    for index in range(2):
        hook.before_train_iter(runner, batch_idx=index, data_batch=torch.ones(2, 2))
        net(torch.randn(2, 2)).sum().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        hook.after_train_iter(runner, batch_idx=index, data_batch=torch.ones(2, 2), outputs={"loss": torch.ones(())})
        state.iter += 1
    checkpoint: dict[str, Any] = {"state_dict": net.state_dict(), "meta": {}}
    hook.before_save_checkpoint(runner, checkpoint=checkpoint)
    for mode in ("val", "test"):
        getattr(hook, f"before_{mode}")(runner)
        getattr(hook, f"before_{mode}_epoch")(runner)
        getattr(hook, f"before_{mode}_iter")(runner, batch_idx=0, data_batch=None)
        getattr(hook, f"after_{mode}_iter")(runner, batch_idx=0, data_batch=None, outputs=[])
        getattr(hook, f"after_{mode}_epoch")(runner, metrics={"mIoU": 0.5, "names": ["a"]})
        getattr(hook, f"after_{mode}")(runner)
    hook.after_load_checkpoint(runner, checkpoint=checkpoint)
    for point in ("after_train_epoch", "after_train", "after_run"):
        getattr(hook, point)(runner)


@pytest.mark.parametrize("name", HOOKS)
def test_an_unknown_option_names_the_options(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.* has no option 'nonsense_option'"):
        getattr(seg_hooks, name)(**{**OPTIONS.get(name, {}), "nonsense_option": 1})


@pytest.mark.parametrize("name", HOOKS)
def test_a_hooks_state_is_plain_and_comes_back(name: str, tmp_path: Path) -> None:
    hook = getattr(seg_hooks, name)(**OPTIONS.get(name, {}))
    if not hasattr(hook, "state_dict"):
        return
    torch.save(hook.state_dict(), tmp_path / "state.pth")
    again = getattr(seg_hooks, name)(**OPTIONS.get(name, {}))
    again.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert again.state_dict() == hook.state_dict()
