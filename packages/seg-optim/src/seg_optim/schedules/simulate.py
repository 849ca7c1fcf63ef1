"""What schedules do over a whole run, worked out without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from seg_optim.checks import check_count, check_flag, check_number
from seg_optim.protocols import HasGroups
from seg_optim.schedules import learning_rate, momentum
from seg_optim.wrappers.optimizers import find

__all__ = ["Probe", "make_schedulers", "simulated"]

Config = Mapping[str, Any]


class Scheduler(Protocol):
    """A schedule of ours or of somebody else, as a runner calls it."""

    by_epoch: bool
    need_val_args: ClassVar[bool]

    def step(self) -> None:
        """Move on."""


class Probe:
    """Looks like an optimizer to a scheduler: groups with a rate each, and steps that can be counted."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        if not rates:
            raise ValueError("lr has no groups: a number, or a dict of at least one name and rate, is needed")
        for name, rate in rates.items():
            check_number(f"lr of {name}", rate)
        self.param_groups: list[dict[str, Any]] = [
            {"name": name, "lr": rate, "momentum": 0.9, "weight_decay": 1.0} for name, rate in rates.items()
        ]
        self.defaults = {"lr": next(iter(rates.values())), "momentum": 0.9}
        self._hooks: list[Callable[..., None]] = []

    def register_step_post_hook(self, hook: Callable[..., None]) -> None:
        """Call `hook` after each step."""
        self._hooks.append(hook)

    def step(self) -> None:
        """Take one optimizer step."""
        for hook in self._hooks:
            hook()


def make_schedulers(
    cfg: Config | Sequence[Config],
    optimizer: HasGroups,
    max_iters: int,
    epoch_length: int,
    accumulative_counts: int = 1,
) -> list[Scheduler]:
    """Make the schedulers of a `param_scheduler`, with `end` and iterations filled in as a runner does.

    Args:
        cfg: one dict or a list of them.
        optimizer: what they act on.
        max_iters: iterations of the run.
        epoch_length: iterations in an epoch.
        accumulative_counts: iterations in an optimizer step.
    """
    steps = -(-max_iters // accumulative_counts)
    schedulers = []
    for where, one in configs_by_place(cfg).items():
        length = steps if one.get("unit") == "step" else max_iters
        try:
            schedulers.append(_scheduler(where, dict(one), optimizer, length, epoch_length))
        except (TypeError, ValueError, KeyError) as error:
            error.add_note(f"in {where}")
            raise
    return schedulers


def configs_by_place(cfg: object) -> dict[str, Config]:
    """Return the dicts of a `param_scheduler` by their place in the config.

    Raises:
        TypeError: it is neither a dict nor a list of dicts.
    """
    listed = {"param_scheduler": cfg}
    if isinstance(cfg, list | tuple):
        listed = {f"param_scheduler[{index}]": one for index, one in enumerate(cfg)}
    found: dict[str, Config] = {}
    for where, one in listed.items():
        if not isinstance(one, Mapping):
            raise TypeError(f"{where} is {one!r}, a dict such as dict(type='PolyLR', power=0.9) is needed")
        found[where] = one
    return found


def _scheduler(where: str, cfg: dict[str, Any], optimizer: HasGroups, length: int, epoch_length: int) -> Scheduler:
    classes = {**vars(learning_rate), **vars(momentum)}
    known = {name: value for name, value in classes.items() if isinstance(value, type) and name[0] != "_"}
    kind = find(f"{where}.type", cfg.pop("type", None), "seg_engine.param_schedulers", known)
    by_epoch = cfg.get("by_epoch", True)
    cfg.setdefault("end", max(1, length // epoch_length) if by_epoch else length)
    check_flag(f"{where}.convert_to_iter_based", convert := cfg.pop("convert_to_iter_based", False))
    made: Scheduler = (
        kind.build_iter_from_epoch(optimizer, epoch_length=epoch_length, **cfg) if convert else kind(optimizer, **cfg)
    )
    return made


def simulated(
    cfg: Config | Sequence[Config],
    rates: Mapping[str, float],
    max_iters: int,
    epoch_length: int = 1,
    accumulative_counts: int = 1,
) -> dict[str, list[float]]:
    """Return the learning rate of each group in each iteration.

    Args:
        cfg: a config's `param_scheduler`.
        rates: base rate of each group by name.
        max_iters: iterations of the run.
        epoch_length: iterations in an epoch, for schedules by epoch.
        accumulative_counts: iterations in an optimizer step, for schedules that count those.
    """
    check_count("max_iters", max_iters)
    check_count("epoch_length", epoch_length)
    check_count("accumulative_counts", accumulative_counts)
    probe = Probe(rates)
    schedulers = make_schedulers(cfg, probe, max_iters, epoch_length, accumulative_counts)
    values: dict[str, list[float]] = {name: [] for name in rates}
    tracks = list(values.values())
    for iteration in range(1, max_iters + 1):
        for group, track in zip(probe.param_groups, tracks, strict=True):
            track.append(group["lr"])
        if iteration % accumulative_counts == 0:
            probe.step()
        for scheduler in schedulers:
            if not scheduler.need_val_args and (not scheduler.by_epoch or iteration % epoch_length == 0):
                scheduler.step()
    return values
