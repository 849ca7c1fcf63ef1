"""The table of a plan: a row for each figure, a column for each number of devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seg_engine.plan.formulae import (
    WORD,
    Failures,
    Links,
    Model,
    Storage,
    asking_time,
    exposed,
    memory,
    save_every,
    sent,
    sync_norm_time,
)

__all__ = ["Plan", "Training", "as_text"]

SENT_AS = {"float32": 4, "bf16": 2}
"""Bytes of a number that is sent."""


@dataclass(frozen=True)
class Training:
    """What is trained on, and how.

    Attributes:
        compute: Seconds of a step on one device.
        batch: Samples of a device in a step.
        base_batch: Samples of all devices together that the learning rate was chosen for (`base_batch_size`).
        base_iters: Steps of the run with that.
        sample_bytes: What is read from the disk for a sample.
        sample_seconds: CPU time of reading and preparing a sample.
    """

    compute: float
    batch: int
    base_batch: int
    base_iters: int
    sample_bytes: float
    sample_seconds: float


@dataclass(frozen=True)
class Saving:
    """What checkpoints cost.

    Attributes:
        blocked: Seconds that training waits for one.
        until_whole: Seconds until it is written.
        every: Seconds from one to the next.
        lost: The part of the time that is lost to saving, to steps made again and to restarts.
    """

    blocked: float
    until_whole: float
    every: float
    lost: float


@dataclass(frozen=True)
class Plan:
    """All that is assumed."""

    model: Model
    links: Links
    training: Training
    storage: Storage
    failures: Failures
    ema: bool = False

    @property
    def checkpoint(self) -> float:
        """Return the bytes of a checkpoint: weights, AdamW's two moments, averaged weights if there are any."""
        return (3 + self.ema) * WORD * self.model.parameters

    def exposed(self, strategy: str, width: str, devices: int) -> float:
        """Return the seconds of communication in a step that are not hidden."""
        return exposed(strategy, self.model, SENT_AS[width], devices, self.links, self.training.compute)

    def saving(self, devices: int, writers: int) -> Saving:
        """Return what checkpoints cost that so many processes write."""
        blocked = self.storage.blocked(self.checkpoint, writers)
        whole = self.storage.until_whole(self.checkpoint, writers)
        every = save_every(blocked, self.failures.between(devices), whole)
        return Saving(blocked, whole, every, self.failures.lost(every, blocked, devices))

    def inside(self, devices: int) -> int:
        """Return how many devices a machine has of so many."""
        return self.links.split(devices)[0]


KINDS = (("ddp", "float32"), ("ddp", "bf16"), ("fsdp", "float32"), ("fsdp", "bf16"), ("hsdp", "bf16"))
"""Strategies, and in which type they send; `hsdp` is `fsdp` with `shard_size` of a machine."""


def rows_of(plan: Plan, devices: Sequence[int]) -> list[list[str]]:
    """Return the rows; one with a title alone begins a part."""
    return [row for rows in (_sent, _speed, _memory, _checkpoints, _data) for row in rows(plan, devices)]


def _row(name: str, values: Iterable[float], digits: int = 0) -> list[str]:
    return [f"  {name}", *(f"{value:,.{digits}f}" for value in values)]


def _sent(plan: Plan, devices: Sequence[int]) -> Iterator[list[str]]:
    yield ["sent by a device in a step, MB"]
    for kind, width in KINDS:
        size = SENT_AS[width] * plan.model.parameters
        yield _row(f"{kind}, {width}", (sent(kind, size, n, plan.inside(n)) / 1e6 for n in devices))


def _speed(plan: Plan, devices: Sequence[int]) -> Iterator[list[str]]:
    model, compute = plan.model, plan.training.compute
    norms = [sync_norm_time(model, n, plan.links) for n in devices]
    asking = [asking_time(n, plan.links, compute) for n in devices]
    besides = [norm + asked for norm, asked in zip(norms, asking, strict=True)]
    yield ["not hidden behind computing, ms a step"]
    for kind, width in KINDS:
        yield _row(f"{kind}, {width}", (1e3 * plan.exposed(kind, width, n) for n in devices), 1)
    yield _row("synced batch norm, besides", (1e3 * each for each in norms), 1)
    yield _row("asking whether a signal came, besides", (1e3 * each for each in asking), 1)
    yield ["speed, % of that of so many single devices"]
    for kind, width in KINDS:
        steps = (compute + more + plan.exposed(kind, width, n) for n, more in zip(devices, besides, strict=True))
        yield _row(f"{kind}, {width}", (100 * compute / step for step in steps), 1)


def _memory(plan: Plan, devices: Sequence[int]) -> Iterator[list[str]]:
    yield ["weights, gradients, AdamW on a device, GB"]
    for kind in ("ddp", "fsdp", "hsdp"):
        yield _row(kind, (memory(kind, plan.model, n, plan.inside(n)) / 1e9 for n in devices), 2)


def _checkpoints(plan: Plan, devices: Sequence[int]) -> Iterator[list[str]]:
    yield [f"checkpoint of {plan.checkpoint / 1e9:.2f} GB"]
    yield _row("hours from failure to failure of the run", (plan.failures.between(n) / 3600 for n in devices))
    for name in ("whole", "sharded"):
        found = [plan.saving(n, n if name == "sharded" else 1) for n in devices]
        yield _row(f"{name}: training waits, s", (each.blocked for each in found), 3)
        yield _row(f"{name}: until all is written, s", (each.until_whole for each in found), 1)
        yield _row(f"{name}: save every so many minutes", (each.every / 60 for each in found), 1)
        yield _row(f"{name}: time lost, %", (100 * each.lost for each in found), 2)


def _data(plan: Plan, devices: Sequence[int]) -> Iterator[list[str]]:
    run = plan.training
    at_once = [n * run.batch for n in devices]
    yield ["data and batch"]
    yield _row("samples in a step, of all devices", at_once)
    yield _row("samples read a second", (each / run.compute for each in at_once))
    yield _row("read from the disk, MB/s", (each / run.compute * run.sample_bytes / 1e6 for each in at_once))
    yield _row("workers a device, at the least", (run.batch * run.sample_seconds / run.compute for _ in devices), 1)
    yield _row("learning rate times (auto_scale_lr)", (each / run.base_batch for each in at_once), 1)
    yield _row("steps for as many samples", (run.base_iters * run.base_batch / each for each in at_once))


def as_text(plan: Plan, devices: Sequence[int]) -> str:
    """Return the table as lines of text, without blanks at their ends."""
    rows = [["devices", *(f"{count:,}" for count in devices)], *rows_of(plan, devices)]
    first = max(len(row[0]) for row in rows if len(row) > 1)
    width = max(len(cell) for row in rows for cell in row[1:])
    lines = [row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell in row[1:]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
