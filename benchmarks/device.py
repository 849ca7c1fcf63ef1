"""All that only a GPU can show, checked and measured at once: `./run bench device` where a machine has one.

Waits between log points, throughput of a step of about 30 ms against the bare loop, batches copied beside the
computation, kernels of an optimizer's step and of an average, bf16 and compiled steps at bare speed, captured steps:
their numbers and their speed. Each check has a limit; one that fails is marked, and the exit code is 1. Without a GPU
each is skipped by name, but for the waits: these are counted on a pretend accelerator, whose tensors lie on the CPU.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _measure import print_table
from _networks import SegFormer
from compile import bare, ours
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

GPU = torch.cuda.is_available()
LOG = 10
"""Steps from one log point to the next."""


@dataclass
class Found:
    """What a check has found.

    Attributes:
        value: The figure, in words.
        limit: What it must be, in words.
        good: Whether it is.
    """

    value: str
    limit: str
    good: bool


def run(net: nn.Module, loader: Any, steps: int, hooks: list[Any], **more: Any) -> Any:
    """Train a network by a runner with the hooks that runs have."""
    from seg_hooks import EMAHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook
    from seg_optim import OptimWrapper, PolyLR
    from seg_runner import Runner

    wrapper = OptimWrapper(torch.optim.AdamW(net.parameters(), 1e-4, fused=GPU), clip_grad={"max_norm": 1.0})
    usual = [RuntimeInfoHook(), IterTimerHook(), ParamSchedulerHook(), LoggerHook(interval=LOG), EMAHook()]
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Any] = {
            "loss": nn.CrossEntropyLoss(ignore_index=255),
            "train_dataloader": loader,
            "optim_wrapper": wrapper,
            "param_scheduler": PolyLR(wrapper, end=steps, by_epoch=False),
            "train_cfg": {"max_iters": steps},
            "hooks": usual + hooks,
            "work_dir": folder,
            "log_level": "ERROR",
        }
        runner = Runner(net, **{**parts, **more})
        runner.train()
    return runner


def batches(batch: int, size: int, count: int, workers: int = 0) -> DataLoader[Any]:
    """Pinned batches of noise."""
    data = TensorDataset(torch.randn(count, 3, size, size), torch.randint(0, 19, (count, size, size)))
    return DataLoader(data, batch_size=batch, num_workers=workers, pin_memory=GPU, drop_last=True)


class Strict:
    """A hook that makes each wait for the device an error, but in the steps that end in a log point."""

    priority = "HIGHEST"

    def before_train_iter(self, runner: Any) -> None:
        """Look at the steps after the first log point."""
        quiet = runner.iter > LOG and (runner.iter + 1) % LOG
        torch.cuda.set_sync_debug_mode("error" if quiet else "default")

    def after_train(self, runner: Any) -> None:
        """Look no longer."""
        torch.cuda.set_sync_debug_mode("default")


class Counts:
    """A hook that writes down how many waits there were before each step, on the pretend accelerator."""

    def __init__(self, waits: list[str]) -> None:
        self.waits, self.before = waits, list[int]()

    def before_train_iter(self, runner: Any) -> None:
        """Count."""
        self.before.append(len(self.waits))


def check_no_wait_between_log_points() -> Found:
    """A step must not wait for the device; a log point brings all values over at once."""
    limit = "no wait"
    if GPU:
        try:
            run(SegFormer().cuda(), batches(2, 64, 16), 5 * LOG, [Strict()])
        except RuntimeError as error:
            torch.cuda.set_sync_debug_mode("default")
            return Found(str(error).splitlines()[0], limit, False)
        return Found("none", limit, True)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/device"))
    import sim_device  # type: ignore[import-not-found]  # beside the tests

    counts = Counts(sim_device.WAITS)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 19, 1))
    run(net, batches(4, 8, 12), 3 * LOG, [counts])
    steps = [after - before for before, after in zip(counts.before, counts.before[1:], strict=False)]
    between = sum(number for index, number in enumerate(steps, 1) if index % LOG)
    at = max(number for index, number in enumerate(steps, 1) if not index % LOG)
    return Found(f"{between} (pretend), {at} at a log point", "0, and 1", between == 0 and at <= 1)


class Clock:
    """A hook that takes the time from a step to the end."""

    def __init__(self, start: int) -> None:
        self.start, self.seconds = start, 0.0

    def before_train_iter(self, runner: Any) -> None:
        """Begin."""
        if runner.iter == self.start:
            torch.cuda.synchronize()
            self.seconds = -time.perf_counter()

    def after_train(self, runner: Any) -> None:
        """End."""
        torch.cuda.synchronize()
        self.seconds += time.perf_counter()


@functools.cache
def large_batch() -> int:
    """The batch of 512 x 512 whose step takes about 30 ms here."""
    for batch in (2, 4, 8, 16, 32, 64):
        data = torch.randn(batch, 3, 512, 512, device="cuda"), torch.randint(0, 19, (batch, 512, 512), device="cuda")
        if clocked(bare(SegFormer), data, 5) >= 0.025:
            break
    return batch


def clocked(step: Callable[[Any], object], data: Any, count: int) -> float:
    """Seconds of one of `count` steps that are launched one behind the other."""
    for _ in range(5):
        step(data)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        step(data)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


@functools.cache
def long_runs() -> tuple[float, float, float]:
    """Milliseconds a step: the bare loop, the same with batches on the device already, and ours; medians of three."""
    batch, steps, first = large_batch(), 60, 20
    loader = batches(batch, 512, 4 * batch, workers=2)
    found: list[tuple[float, float, float]] = []
    for _ in range(3):
        step, stream = bare(SegFormer), iter(endless(loader))
        from_host = clocked(lambda _, step=step, stream=stream: step(next(stream)), None, steps)
        resident = next(iter(endless(loader)))
        on_device = clocked(step, resident, steps)
        clock = Clock(first)
        run(SegFormer().cuda(), loader, first + steps, [clock])
        found.append((1000 * from_host, 1000 * on_device, 1000 * clock.seconds / steps))
    return tuple(statistics.median(each) for each in zip(*found, strict=True))  # type: ignore[return-value]


def endless(loader: Any) -> Any:
    """Batches on the device, again and again."""
    while True:
        for images, masks in loader:
            yield images.cuda(non_blocking=True), masks.cuda(non_blocking=True)


def check_throughput_of_a_large_step() -> Found:
    """Ours against the bare loop over the same loader."""
    by_hand, _, own = long_runs()
    return Found(f"{by_hand / own:.3f} of bare ({own:.1f} ms)", "at least 0.99", by_hand / own >= 0.99)


def check_copies_beside_the_computation() -> Found:
    """Ours, whose batches come from the host, against steps on a batch that is there."""
    _, resident, own = long_runs()
    return Found(f"{own / resident:.3f} of resident", "at most 1.03", own / resident <= 1.03)


def launches(function: Callable[[], object]) -> int:
    """How many kernels a function launches."""
    from torch.profiler import ProfilerActivity, profile

    function()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    return sum(event.count for event in profiler.key_averages() if "LaunchKernel" in event.key)


def check_kernels_of_an_optimizer_step() -> Found:
    """Groups that are made for parameter-wise settings, against one group."""
    from seg_optim import DefaultOptimWrapperConstructor

    config = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-4}}
    counts = []
    for rules in ({}, {"norm_decay_mult": 0.0, "custom_keys": {"classify": {"lr_mult": 10.0}}}):
        net = SegFormer().cuda()
        wrapper = DefaultOptimWrapperConstructor(config, rules)(net)
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        counts.append(launches(wrapper.optimizer.step))
        groups = len(wrapper.optimizer.param_groups)
    most = counts[0] + 4 * (groups - 1)
    return Found(f"{counts[1]} in {groups} groups, {counts[0]} in one", f"at most {most}", counts[1] <= most)


def check_kernels_of_an_average() -> Found:
    """One update of the average: at most three for each type, or what one lerp takes and two for the buffers."""
    from seg_hooks import ExponentialMovingAverage

    net = SegFormer().cuda()
    average = ExponentialMovingAverage(net)
    count = launches(functools.partial(average.update_parameters, net))
    kinds = len({tensor.dtype for tensor in [*net.parameters(), *net.buffers()]})
    tensors = list(net.parameters())
    averaged = [one.detach() for one in average.module.parameters()]
    most = max(3 * kinds, 2 + launches(lambda: torch._foreach_lerp_(averaged, tensors, 0.1)))
    return Found(f"{count}", f"at most {most}", count <= most)


def step_data(size: int = 128) -> Any:
    """A small batch on the device."""
    return torch.randn(4, 3, size, size, device="cuda"), torch.randint(0, 19, (4, size, size), device="cuda")


def at_bare_speed(by_hand: Callable[[Any], object], own: Callable[[Any], object]) -> Found:
    """Our step against the one by hand, in turns."""
    data, pairs = step_data(), []
    for _ in range(5):
        pairs.append((clocked(by_hand, data, 20), clocked(own, data, 20)))
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    return Found(f"{ratio:.3f} x bare", "at most 1.05", ratio <= 1.05)


def check_bf16_at_bare_speed() -> Found:
    """Autocast by hand, and by the wrapper."""
    step = bare(SegFormer)

    def by_hand(batch: Any) -> object:
        with torch.autocast("cuda", torch.bfloat16):
            return step(batch)

    return at_bare_speed(by_hand, ours(SegFormer, bf16=True))


def check_compiled_at_bare_speed() -> Found:
    """`torch.compile` by hand, and by the switch."""
    return at_bare_speed(bare(lambda: torch.compile(SegFormer())), ours(SegFormer, compiled=True))


def check_captured_steps_have_the_same_numbers() -> Found:
    """Losses of captured steps with dropout, seeded at each step, and of ordinary ones."""
    data, losses = step_data(64), []
    for compiled in (False, {"mode": "graph", "warm_up": 3}):
        step = ours(SegFormer, compiled=compiled)
        found = []
        for index in range(20):
            torch.manual_seed(index)
            found.append(step(data)["loss"])  # type: ignore[index]
        losses.append(torch.stack(found))
    off = float((losses[0] - losses[1]).abs().max())
    return Found("the same bits" if off == 0 else f"at most {off:.1e} apart", "at most 1e-3", off <= 1e-3)


def check_captured_steps_are_quicker() -> Found:
    """A launch-bound step."""
    data, pairs = step_data(64), []
    plain, captured = ours(SegFormer), ours(SegFormer, compiled={"mode": "graph"})
    for _ in range(5):
        pairs.append((clocked(plain, data, 20), clocked(captured, data, 20)))
    gain = statistics.median(one / other for one, other in pairs)
    return Found(f"{gain:.2f} x as fast", "at least 1.5", gain >= 1.5)


CHECKS = {name.removeprefix("check_"): made for name, made in list(globals().items()) if name.startswith("check_")}
WITHOUT_GPU = ("no_wait_between_log_points",)


def main() -> int:
    """Return 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(CHECKS)}; all without")
    options = parser.parse_args()
    rows, bad = [], 0
    for name, check in CHECKS.items():
        if options.names and name not in options.names:
            continue
        if not GPU and name not in WITHOUT_GPU:
            rows.append([name.replace("_", " "), "skipped: no GPU here", "", ""])
            continue
        try:
            found = check()
        except Exception as error:  # the others are still worth knowing
            found = Found(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", "", False)
        bad += not found.good
        rows.append([name.replace("_", " "), found.value, found.limit, "good" if found.good else "FAILED"])
    where = torch.cuda.get_device_name() if GPU else "no GPU"
    print_table(f"What only a device shows ({where})", ["", "found", "limit", ""], rows)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
