"""A loader from a config."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from seg_runner.checks import flag, number, whole
from seg_runner.data.named_dataset import DatasetProxy, Samples
from seg_runner.data.samples import pseudo_collate
from seg_runner.data.workers import WorkerInit
from seg_runner.distributed.world import ALONE, World
from seg_runner.errors import add_note, did_you_mean, install_line
from seg_runner.process.randomness import Randomness
from seg_runner.process.threads import usable_cores
from seg_runner.protocols import Builder

__all__ = ["build_dataloader", "choose_num_workers"]

LOG = logging.getLogger("seg_runner")
OWN_KEYS = ("num_batch_per_epoch", "disable_subprocess_warning")
"""Keys of a loader's config beside the arguments of torch's loader."""
LONGEST_WAIT = 7 * 86_400
"""Seconds; a clock of C holds no much longer time."""


def choose_num_workers(cores: int, processes: int = 1) -> int:
    """Return how many workers one loader gets where the config names no number: a share of the cores, at most 8.

    >>> choose_num_workers(32, processes=8), choose_num_workers(1)
    (4, 0)
    """
    share = cores // max(processes, 1)
    return 0 if share < 2 else min(share, 8)


def build_dataloader(
    cfg: object,
    builder: Builder | None,
    randomness: Randomness,
    *,
    world: World = ALONE,
) -> Any:
    """Build a loader from MMEngine's `*_dataloader` dict; anything else is taken for a loader and returned as it is.

    Args:
        cfg: `dataset`, `sampler`, `batch_sampler`, `collate_fn`, `worker_init_fn`, `num_batch_per_epoch`, and any
            argument of `torch.utils.data.DataLoader`. Without `num_workers`, a number is chosen and logged.
        builder: Turns the dicts inside into objects; None where all parts are objects already.
        randomness: Gives samplers their seed.
        world: The processes of the run.

    Raises:
        TypeError: No dataset, a key that there is none of, or a part given as a dict where there is no builder.
        ValueError: `batch_size` or `num_batch_per_epoch` is no positive number.
    """
    if not isinstance(cfg, Mapping):
        return cfg
    options = dict(cfg)
    _check_options(options)
    batch_size = whole(options.pop("batch_size", 1), "batch_size", 1)
    dataset = _dataset(options, builder, batch_size, randomness.ranks or world.size)
    options |= _order_options(options, builder, dataset, batch_size, _sampler_seed(randomness, world))
    options["collate_fn"] = _function(options.get("collate_fn", pseudo_collate), builder, "collate_fn")
    _choose_workers(options, randomness, world)
    init = _function(options.pop("worker_init_fn", None), builder, "worker_init_fn")
    warns = not options.pop("disable_subprocess_warning", False)
    seed = None if randomness.by_sample else options["num_workers"] * world.rank + randomness.seed
    options["worker_init_fn"] = WorkerInit(init, seed, warns)
    return DataLoader(dataset, **options)


def _dataset(options: dict[str, Any], builder: Builder | None, batch_size: int, world_size: int) -> Any:
    given = options.pop("dataset", None)
    if given is None:
        raise TypeError("a dataloader config needs `dataset`: a dataset object, or a dict with its `type`")
    if isinstance(given, list | tuple) and any(map(_is_dataset, given)):
        raise TypeError(
            f"dataset is a list of {len(given)} data sets: write dict(type='ConcatDataset', datasets=[...]) to use one "
            "after the other"
        )
    dataset = _part(given, builder, "dataset")
    if isinstance(given, Mapping) and callable(getattr(dataset, "full_init", None)):
        dataset.full_init()
    if not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
        raise TypeError(f"dataset must be a data set, or a dict with its `type`, not {dataset!r}")
    count = options.pop("num_batch_per_epoch", None)
    if count is None:
        return dataset
    return FirstSamples(dataset, whole(count, "num_batch_per_epoch", 1) * batch_size * world_size)


class FirstSamples(DatasetProxy):
    """The first `size` samples of a data set (`num_batch_per_epoch`)."""

    def __init__(self, dataset: Samples, size: int) -> None:
        super().__init__(dataset)
        self.size = min(size, super().__len__())

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> object:
        return self.dataset[index]


def _is_dataset(sample: object) -> bool:
    """Tell whether this is a data set, or the config of one, and no sample."""
    return hasattr(sample, "full_init") or (isinstance(sample, Mapping) and isinstance(sample.get("type"), str | type))


def _check_options(options: dict[str, Any]) -> None:
    """Refuse keys that neither we nor torch's loader take, what is no sampler, and numbers that cannot be meant."""
    known = [*OWN_KEYS, *inspect.signature(DataLoader).parameters]
    for key in options:
        if key not in known:
            raise TypeError(f"a dataloader config takes no {key!r}.{did_you_mean(key, known)}")
    for key in ("sampler", "batch_sampler", "dataset"):
        given = options.get(key)
        if isinstance(given, str):
            raise TypeError(f"{key} is the text {given!r}: write dict(type={given!r}), or give the object")
        if key != "dataset" and not isinstance(given, Iterable | None):
            raise TypeError(f"{key} must be a sampler, or its dict such as dict(type='DefaultSampler'), not {given!r}")
    for key in ("shuffle", "persistent_workers", "drop_last", "pin_memory"):
        if key in options and not (key == "shuffle" and options[key] is None):  # torch's own default
            options[key] = flag(options[key], key)
    for key in ("num_workers", "prefetch_factor"):
        if options.get(key) is not None:
            options[key] = whole(options[key], key, 1 if key == "prefetch_factor" else 0)
    number(options.get("timeout", 0), "timeout (seconds)", least=0, most=LONGEST_WAIT)


def _order_options(
    options: dict[str, Any], builder: Builder | None, dataset: object, batch_size: int, seed: int
) -> dict[str, Any]:
    sampler = options.pop("sampler", None)
    batch_sampler = options.pop("batch_sampler", None)
    if isinstance(sampler, Mapping):
        sampler = _part(sampler, builder, "data_sampler", dataset=dataset, seed=seed)
    if isinstance(batch_sampler, Mapping):
        batch_sampler = _part(batch_sampler, builder, "data_sampler", sampler=sampler, batch_size=batch_size)
    if batch_sampler is not None:
        return {"batch_sampler": batch_sampler}
    return {"sampler": sampler, "batch_size": batch_size}


def _part(given: object, builder: Builder | None, kind: str, **defaults: object) -> Any:
    if not isinstance(given, Mapping):
        return given
    if isinstance(given.get("type"), type) and builder is None:
        return given["type"](**{**defaults, **{key: value for key, value in given.items() if key != "type"}})
    if builder is None:
        raise TypeError(
            f"{kind} is given as a dict ({dict(given)}), but nothing here builds dicts: give the object itself, "
            f"or {install_line('seg-registry')}"
        )
    return builder.build(kind, given, **defaults)


def _function(given: object, builder: Builder | None, key: str) -> Callable[..., Any] | None:
    if given is None or callable(given):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"type": given}
    function = options.pop("type", None)
    if isinstance(function, str):
        if builder is None:
            raise TypeError(f"{key} is given by name ({function!r}), but nothing here knows names: give the function")
        try:
            function = builder.get("function", function)
        except Exception as error:
            add_note(error, f"in {key}")
            raise
    if not callable(function):
        raise TypeError(f"{key} must be a function, its name, or dict(type=..., ...); got {given!r}")
    return _WithOptions(function, options) if options else function


class _WithOptions:
    """A function with some keywords given; unlike a lambda it can be sent to a spawned worker."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function, self.options = function, options

    def __call__(self, *args: object) -> object:
        return self.function(*args, **self.options)


def _sampler_seed(randomness: Randomness, world: World) -> int:
    """Return the seed of samplers, the same on all ranks: MMEngine draws one where the ranks' own differ."""
    if randomness.by_sample or not randomness.diff_rank_seed:
        return randomness.seed
    return world.share(int(np.random.randint(2**31)))


def _choose_workers(options: dict[str, Any], randomness: Randomness, world: World) -> None:
    if options.get("num_workers") is None:
        local = world.local_size
        count = choose_num_workers(usable_cores(), local) if randomness.by_sample else 0
        options["num_workers"] = count
        LOG.info("num_workers was not given: %d (%d cores, %d processes on this machine)", count, usable_cores(), local)
        if count:
            options.setdefault("persistent_workers", True)
    if options["num_workers"] == 0:
        options["persistent_workers"] = False
        options.pop("prefetch_factor", None)
