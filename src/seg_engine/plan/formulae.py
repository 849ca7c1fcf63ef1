"""What a step on many devices sends, what a device holds, how long a checkpoint takes, and how often to make one.

Sizes are bytes, times are seconds, rates are bytes a second. Sources:

* ring collectives: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009;
  the same factors stand in nccl-tests, doc/PERFORMANCE.md ("bus bandwidth")
* what each strategy sends and holds: Rajbhandari et al., "ZeRO", arXiv:1910.02054, sections 5 and 7
* buckets and overlap: Li et al., "PyTorch Distributed", arXiv:2006.15704; the docs of DistributedDataParallel
* backward pass twice the forward pass: Kaplan et al., arXiv:2001.08361, section 2.1
* when to save: Young 1974, and Daly, "A higher order estimate of the optimum checkpoint interval", 2006
* gloo's ring: gloo/allreduce.cc
* failures of devices: Llama 3, arXiv:2407.21783, section 3.3.4: 419 interruptions in 54 days of 16,384 devices
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "Failures",
    "Links",
    "Model",
    "Storage",
    "asking_time",
    "exposed",
    "memory",
    "pass_over",
    "save_every",
    "sent",
    "sync_norm_time",
    "wait",
]

BACKWARD = 2 / 3
"""The part of a step's computing that is the backward pass."""
BUCKET = 25 * 2**20
"""Bytes that DDP collects before it sends them (`bucket_cap_mb`)."""
WORD = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
        parameters: How many numbers are trained.
        units: Parts of about equal size that FSDP gathers one after another: blocks.
        norms: Layers of synced batch normalisation.
        channels: Their channels together.
    """

    parameters: float
    units: int = 24
    norms: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Links:
    """How devices are connected: `per_node` of them within a machine, machines by a network.

    Attributes:
        per_node: Devices of a machine.
        within: Rate of one device to the others of its machine.
        across: Rate of a whole machine to the others, which its devices share.
        latency_within: Time of one hop within a machine.
        latency_across: Time of one hop between machines.
        latency_tcp: Time of one hop over TCP, which gloo sends by.
    """

    per_node: int
    within: float
    across: float
    latency_within: float = 3e-6
    latency_across: float = 10e-6
    latency_tcp: float = 30e-6

    def ring(self, devices: int) -> float:
        """Return the time of a few bytes on their way round all devices and back (gloo's all-reduce), over TCP."""
        return 2 * (devices - 1) * self.latency_tcp

    def split(self, devices: int) -> tuple[int, int]:
        """Return how many devices a machine has of so many, and how many machines there are.

        Raises:
            ValueError: the last machine would not be full.
        """
        inside = min(devices, self.per_node)
        if devices % inside:
            raise ValueError(f"{devices} devices fill no whole machines of {self.per_node}")
        return inside, devices // inside


def sent(strategy: str, size: float, devices: int, inside: int = 1) -> float:
    """Return the bytes that a device sends in a step, for gradients (or weights) of `size` bytes.

    Args:
        strategy: `ddp`: one all-reduce. `fsdp`: two all-gathers and a reduce-scatter. `hsdp`: the same within a
            machine of `inside` devices, and an all-reduce of a device's part between machines.
        size: Bytes of all gradients in the type in which they are sent.
        devices: How many there are.
        inside: How many of them are in a machine.

    >>> sent("ddp", 100, 4), sent("fsdp", 100, 4), sent("hsdp", 100, 8, 4)
    (150.0, 225.0, 250.0)
    """
    if strategy == "ddp":
        return 2 * (devices - 1) / devices * size
    if strategy == "fsdp":
        return 3 * (devices - 1) / devices * size
    nodes = devices // inside
    return 3 * (inside - 1) / inside * size + 2 * (nodes - 1) / nodes * size / inside


def pass_over(size: float, devices: int, links: Links, calls: float = 1) -> float:
    """Return the time of an all-gather or a reduce-scatter; an all-reduce takes one of each.

    First between machines, where each device moves the part of its place in the machine and all share the network, then
    within each machine. Latency is that of a tree, as NCCL builds it, once for each of the `calls`.
    """
    inside, nodes = links.split(devices)
    moving = (inside - 1) / inside * size / links.within + (nodes - 1) / nodes * size / links.across
    hops = (inside - 1) * links.latency_within + math.ceil(math.log2(nodes)) * links.latency_across
    return moving + calls * hops


def wait(strategy: str, model: Model, width: int, devices: int, links: Links) -> tuple[float, float]:
    """Return the times of communication in a step's forward and in its backward pass.

    With `ddp` gradients go out in buckets of 25 MiB; the others gather and scatter unit by unit.

    Args:
        strategy: As of `sent`; `hsdp` within each machine.
        model: How large it is.
        width: Bytes of a number that is sent.
        devices: How many there are.
        links: How they are connected.
    """
    size = width * model.parameters
    if strategy == "ddp":
        return 0.0, 2 * pass_over(size, devices, links, math.ceil(WORD * model.parameters / BUCKET))
    if strategy == "fsdp":
        once = pass_over(size, devices, links, model.units)
        return once, 2 * once
    inside, nodes = links.split(devices)
    once = pass_over(size, inside, links, model.units)
    hops = model.units * math.ceil(math.log2(nodes)) * links.latency_across
    return once, 2 * once + 2 * ((nodes - 1) / nodes * size / links.across + hops)


def exposed(strategy: str, model: Model, width: int, devices: int, links: Links, compute: float) -> float:
    """Return how much of the communication is not hidden behind `compute`, the time of a step on one device.

    What goes on beside a pass takes no time of its own until it takes longer than that pass. Never hidden are the last
    bucket of `ddp`, and the first gathering and the last scattering of the others.
    """
    if devices == 1:
        return 0.0
    forward, backward = wait(strategy, model, width, devices, links)
    over = max(0.0, forward - (1 - BACKWARD) * compute) + max(0.0, backward - BACKWARD * compute)
    if strategy == "ddp":
        last = min(WORD * model.parameters, BUCKET) * width / WORD
        return max(over, 2 * pass_over(last, devices, links))
    return max(over, backward / model.units)


def sync_norm_time(model: Model, devices: int, links: Links) -> float:
    """Return what synced batch normalisation waits for in a step; nothing hides it.

    torch gathers two numbers a channel and a count from every device in the forward pass, and adds two numbers a
    channel over all in the backward pass.
    """
    if devices == 1 or not model.norms:
        return 0.0
    gathered = WORD * (2 * model.channels + model.norms) * devices
    added = WORD * 2 * model.channels
    return pass_over(gathered, devices, links, model.norms) + 2 * pass_over(added, devices, links, model.norms)


def asking_time(devices: int, links: Links, compute: float) -> float:
    """Return what a step waits for the question whether a signal has come to a rank.

    It is asked every quarter of a second, after a whole number of steps, and where it takes long so seldom that it
    takes a two hundredth of the time.
    """
    once = links.ring(devices)
    every = max(0.25, 200 * once, compute)
    return once * compute / every


def memory(strategy: str, model: Model, devices: int, inside: int = 1) -> float:
    """Return the bytes of weights, gradients and AdamW's two moments on a device, all float32; no activations.

    `ddp` holds every gradient twice, in a bucket too (`gradient_as_bucket_view=True` saves that). The others hold a
    part, and two whole units with their gradients while these are used.

    >>> memory("ddp", Model(100), 8), memory("fsdp", Model(100, units=10), 8)
    (2000.0, 360.0)
    """
    whole = 4 * WORD * model.parameters
    if strategy == "ddp":
        return float(whole + WORD * model.parameters)
    parts = devices if strategy == "fsdp" else inside
    return whole / parts + 2 * 2 * WORD * model.parameters / model.units


@dataclass(frozen=True)
class Storage:
    """Where checkpoints go.

    Attributes:
        stage: Rate at which a state is copied aside while training waits.
        write: Rate at which one process writes.
        disk: Rate at which the shared disk takes what all write together.
        settle: Seconds that training waits for any checkpoint, however small: the ranks agree on it.
    """

    stage: float
    write: float
    disk: float
    settle: float = 0.05

    def blocked(self, size: float, writers: int) -> float:
        """Return how long training stands still for a checkpoint of `size` bytes, saved beside it (`async_save`)."""
        return self.settle + size / writers / self.stage

    def until_whole(self, size: float, writers: int) -> float:
        """Return how long it is until all files are there."""
        return size / min(writers * self.write, self.disk)


@dataclass(frozen=True)
class Failures:
    """How often a run is broken off.

    Attributes:
        device_hours: Hours from one failure to the next of one device, with all that it needs.
        restart: Seconds from a failure to the next step.
    """

    device_hours: float = 50_677.0
    restart: float = 300.0

    def between(self, devices: int) -> float:
        """Return the seconds from one failure of the run to the next, where any device ends it."""
        return self.device_hours * 3600 / devices

    def lost(self, every: float, blocked: float, devices: int) -> float:
        """Return the part of the time that is lost: to saving, to steps made again, to restarts."""
        return blocked / every + (every / 2 + self.restart) / self.between(devices)


def save_every(blocked: float, between: float, until_whole: float = 0.0) -> float:
    """Return the seconds from one checkpoint to the next that lose least, after Young and Daly.

    Args:
        blocked: What one checkpoint costs training.
        between: Seconds from one failure to the next.
        until_whole: How long one is being written: the next does not begin before.

    >>> save_every(2.0, 3600.0)
    120.0
    """
    return max(math.sqrt(2 * blocked * between), until_whole)
