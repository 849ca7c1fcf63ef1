"""How one model is trained on all ranks: the strategies, and which of them a run takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seg_runner.distributed.ddp import DataParallel, SeparateDataParallel, align_ranks
from seg_runner.distributed.fsdp import FullyShardedDataParallel
from seg_runner.distributed.virtual.world import ExactWorld, own_ranks
from seg_runner.distributed.world import World
from seg_runner.distributed.wrapper_cfg import is_own_wrapper, read_wrapper_cfg
from seg_runner.errors import did_you_mean

__all__ = ["OwnWrapper", "Shards", "Strategy", "name_of", "pick_strategy"]


class Strategy(Protocol):
    """Makes of a model the one that is trained on all ranks.

    The model is there on every rank, on its device, with its weights as they begin where `shards` says so. What it
    returns has `train_step`, `val_step` and `test_step` of its own; `unwrap` finds the bare model in it.
    """

    shards: bool
    """Whether a rank keeps only its part of the weights: `shard` is then called once they are initialised."""

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model as it is trained."""

    def align(self, model: nn.Module) -> None:
        """Give all ranks the weights and buffers of rank 0, once they are initialised."""


class Shards(Strategy, Protocol):
    """A strategy that leaves each rank a part of the weights; its `shards` is True."""

    def shard(self, model: nn.Module, optim_wrapper: object) -> None:
        """Leave this rank its part, once the weights are initialised, and let the optimizer hold these."""


class Single:
    """One process: the model stays as it is."""

    shards = False

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model as it is."""
        return model

    def align(self, model: nn.Module) -> None:
        """Do nothing: there is no other rank."""


class OwnWrapper:
    """A class of the user's that `model_wrapper_cfg` names: the run builds it round the model, and it trains that."""

    shards = False

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model as it is: what builds a class by its name has the config."""
        return model

    def align(self, model: nn.Module) -> None:
        """Give all ranks the weights and buffers of rank 0."""
        align_ranks(model)


STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "single": Single,
    "ddp": DataParallel,
    "separate_ddp": SeparateDataParallel,
    "fsdp": FullyShardedDataParallel,
}


def pick_strategy(
    given: object, wrapper_cfg: Mapping[str, Any] | None, world: World, find_unused: bool = False, ranks: int = 0
) -> Strategy:
    """Return the strategy that an argument names, else that of `model_wrapper_cfg`, else `ddp` on several ranks.

    Args:
        given: `strategy` of the run: a name, a dict with the name as its `type`, or an object.
        wrapper_cfg: MMEngine's `model_wrapper_cfg`.
        world: The processes. With one, a strategy for several does nothing, so that a config runs anywhere.
        find_unused: `find_unused_parameters` at the top of a config, for `ddp` where nothing else is said.
        ranks: `randomness.ranks`: where given, virtual ranks train, whatever the strategy.

    Raises:
        TypeError: an option that the strategy does not have.
        ValueError: a name that there is none of, or `single` on several ranks.

    >>> type(pick_strategy(None, None, World(0, 2))).__name__, type(pick_strategy("ddp", None, World())).__name__
    ('DataParallel', 'Single')
    """
    where, notes = "strategy", list[str]()
    if given is None and wrapper_cfg is not None and not ranks and is_own_wrapper(wrapper_cfg):
        return Single() if world.size == 1 else OwnWrapper()
    if given is None and wrapper_cfg is not None and not is_own_wrapper(wrapper_cfg):
        where = "model_wrapper_cfg"
        name, options, notes = read_wrapper_cfg(wrapper_cfg)
        given = {"type": name, **options}
    if given is None:
        given = "single" if world.size == 1 else {"type": "ddp", "find_unused_parameters": find_unused}
    if not isinstance(given, str | Mapping):
        return given  # type: ignore[return-value]  # an object made by the user
    options = {"type": given} if isinstance(given, str) else dict(given)
    name = options.pop("type", None)
    if not isinstance(name, str) or name not in STRATEGIES:
        near = did_you_mean(str(name), STRATEGIES)
        raise ValueError(f"{where} is {name!r}, which there is none of.{near} There are {', '.join(STRATEGIES)}")
    _check_options(where, name, options)
    if ranks:
        return _exact(where, name, ranks, world)
    made = STRATEGIES[name](**options)
    if world.size == 1 and name != "single" and not getattr(made, "alone", False):
        return Single()
    made.notes = notes  # type: ignore[attr-defined]  # told once there is a log
    if world.size > 1 and name == "single":
        raise ValueError(
            f"strategy='single' trains on one process, and there are {world.size} ({world.says}): each would train a "
            "model of its own. Use 'ddp', or start one process"
        )
    return made


def name_of(strategy: Strategy) -> str:
    """Return the name that a config has for a strategy; of one of the user's own, that of its class.

    >>> name_of(DataParallel()), name_of(ExactWorld(8))
    ('ddp', 'virtual ranks')
    """
    if isinstance(strategy, ExactWorld):
        return "virtual ranks"
    return next((name for name, kind in STRATEGIES.items() if kind is type(strategy)), type(strategy).__name__)


def _exact(where: str, name: str, ranks: int, world: World) -> Strategy:
    if name in ("fsdp", "separate_ddp"):
        raise ValueError(
            f"{where} is {name!r}, and randomness.world='exact' adds the gradients itself, over whole models: leave "
            f"{where} out, or leave world='exact' out"
        )
    own_ranks(ranks, world.rank, world.size)
    return ExactWorld(ranks)


def _check_options(where: str, name: str, options: Mapping[str, Any]) -> None:
    takes = inspect.signature(STRATEGIES[name]).parameters.values()
    known = [one.name for one in takes if one.kind is not one.VAR_KEYWORD]
    if len(known) < len(takes):  # it hands others on to torch's DDP
        more = inspect.signature(DistributedDataParallel).parameters
        known += [key for key in more if key not in ("module", *known)]
    for key in options:
        if key not in known:
            near = did_you_mean(key, known)
            raise TypeError(f"{where}: {name} takes no {key!r}.{near} It takes {', '.join(known) or 'none'}")
