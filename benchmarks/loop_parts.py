"""What each part of our training iteration costs: microseconds of own time.

Run with `./run bench loop_parts`. A run with the six default hooks stops after some iterations and calls each of its
parts by itself many times, always after a bare training step; medians. Beside a part stands what the bare loop does in
its place. `benchmarks/loop.py` has the same iterations as a whole.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _measure import print_table
from loop import EVERY, PLAIN, Blocks, Net, Options, endless, loader, optimizer_of, ours

Call = Callable[[], object]
Row = tuple[str, float, float]
"""Name of a part; microseconds of ours, and of the bare loop."""


class Alone:
    """Times one call at a time, each after a training step of the bare loop, which leaves the caches as a step does.

    Called over and over, the same few lines would seem three to five times as quick as they are in a run.
    """

    def __init__(self, rounds: int = 100) -> None:
        self.rounds = rounds
        net = Net()
        optimizer, images, labels = optimizer_of(net), torch.randn(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)

        def step() -> None:
            net.criterion(net(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

        self._step = step
        self._idle = 0.0
        self._idle = self(lambda: None)

    def __call__(self, call: Call) -> float:
        """Microseconds of one call: the median."""
        found = []
        for _ in range(self.rounds):
            self._step()
            began = time.perf_counter_ns()
            call()
            found.append(time.perf_counter_ns() - began)
        return max(0.0, statistics.median(found) / 1e3 - self._idle)


class Probe:
    """A hook that measures the parts of the run it is in, and then ends it."""

    priority = "HIGHEST"
    total = 4 * EVERY

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Measure in the middle of the run."""
        if batch_idx == self.total // 2:
            runner.train_loop.stop_training = True
            self.rows = list(self.measured(runner, data_batch))

    def measured(self, runner: Any, batch: Any) -> Iterator[Row]:
        """Yield each part: name, ours, the bare loop's."""
        own = Alone()
        loop, wrapper, model = runner.train_loop, runner.optim_wrapper, runner.model
        yield from data_parts(loop, own)
        yield from step_parts(loop, runner, own)
        yield from wrapper_parts(wrapper, model, own)
        yield from hook_parts(runner, batch, own)


def data_parts(loop: Any, own: Alone) -> Iterator[Row]:
    """The batch: its samples, their random numbers and the step's."""
    from seg_runner.data.seeds import seed_step

    batches = loop.batches
    bare = endless(loader())
    yield "data: the next batch, all of it", own(lambda: next(batches)), own(lambda: next(bare))
    source = batches.source
    if hasattr(source, "fetch"):
        yield "  of which its samples, collated", own(source.fetch), 0.0
    if hasattr(source, "last") and source.last:
        key, plain = source.last[0], source.dataset
        yield "  of which one sample", own(lambda: source._dataset[key]), own(lambda: plain[key[1]])
    yield "  of which seeds of the step", own(lambda: seed_step(batches.randomness, 7, 0)), 0.0


def step_parts(loop: Any, runner: Any, own: Alone) -> Iterator[Row]:
    """The loop itself, with a model that does nothing, and no hook."""

    class Nothing:
        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self, *args: Any, **keywords: Any) -> dict[str, Any]:
            return {}

        def __next__(self) -> object:
            return self

    nothing = Nothing()
    kept = loop.batches, runner.model, loop.iter, loop.finished_iters
    loop.batches = runner.model = nothing
    yield "loop: fetching, its guards", own(loop.next_batch), 0.0
    yield "loop: step, its guards", own(lambda: loop.step(nothing, nothing, 1)), 0.0
    loop.batches, runner.model, loop.iter, loop.finished_iters = kept
    yield (
        "loop: signals, saves, validation, the end",
        own(lambda: (runner.check_signals(), loop.validation_is_due(7, 100), loop.over)),
        0.0,
    )


def wrapper_parts(wrapper: Any, model: Any, own: Alone) -> Iterator[Row]:
    """The optimizer's wrapper, with a loss and an optimizer that do nothing."""

    def context() -> None:
        with wrapper.optim_context(model):
            pass

    yield "wrapper: context of the forward pass", own(context), 0.0
    loss = torch.zeros(())
    loss.backward = lambda **_: None  # type: ignore[method-assign,assignment]
    step, wrapper.optimizer.step = wrapper.optimizer.step, lambda: None
    kept, clear = wrapper.inner_count, wrapper.optimizer.zero_grad
    yield "wrapper: update_params, gradients cleared", own(lambda: wrapper.update_params(loss)), own(clear)
    wrapper.optimizer.step = step
    wrapper._inner_count = kept


def hook_parts(runner: Any, batch: Any, own: Alone) -> Iterator[Row]:
    """The hooks, each by itself, and what it takes to call them."""
    from seg_runner.hooks.table import Entry, Point

    outputs = {"loss": torch.ones(())}
    keywords: dict[str, dict[str, Any]] = {
        "before_train_iter": {"batch_idx": 7, "data_batch": batch},
        "after_train_iter": {"batch_idx": 7, "data_batch": batch, "outputs": outputs},
    }
    for point, given in keywords.items():
        live = [entry for entry in getattr(runner.points, point).entries if not isinstance(entry.hook, Probe)]
        for entry in live:
            method = getattr(entry.hook, point)
            yield f"{entry.name}.{point}", own(lambda method=method, given=given: method(runner, **given)), 0.0
        idle = type("Idle", (), {point: lambda self, runner, **more: None})()
        empty = Point(point, runner, [Entry(idle, 50) for _ in live])
        yield f"calling {len(live)} hooks at {point}", own(lambda empty=empty, given=given: empty(**given)), 0.0
    yield "a log point, divided by its interval", own(lambda: runner.log_record("train", 7)) / EVERY, 0.0


def parts_of(stream: str, options: Options) -> list[Row]:
    """Measure one kind of run."""
    probe = Probe()
    silent = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        ours(probe, Path(folder), stream, options)  # type: ignore[arg-type]
    return probe.rows


def main() -> None:
    """Print a table for each stream, and one for many tensors."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    kinds = {"two convolutions": PLAIN, "376 tensors": Options(make=Blocks)}
    for title, options in kinds.items():
        tables = {stream: parts_of(stream, options) for stream in ("sample", "mmengine")}
        other = {name: ours for name, ours, _ in tables["mmengine"]}
        rows = [
            [name, f"{ours:.2f}", f"{other[name]:.2f}" if name in other else "", f"{bare:.2f}" if bare else ""]
            for name, ours, bare in tables["sample"]
        ]
        print_table(f"microseconds of a part; {title}", ["", "ours", "stream=mmengine", "bare"], rows)


if __name__ == "__main__":
    main()
