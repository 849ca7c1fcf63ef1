"""Print what one training step runs through: `./run trace-step`, file by file, as a reader would open them.

`--json` prints the same as JSON; `tests/contracts/test_step.py` holds the counts.

Two runs are traced: one from a config with the six default hooks, an OptimWrapper and PolyLR, at a step that logs and
saves nothing, and the one of `examples/02_objects.py`. Counted are the functions of our packages that run between one
call of `optimizer.step()` and the next, on the main thread; comprehensions are part of the function that they stand in.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import TensorDataset

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [*ROOT.glob("packages/*/src"), ROOT / "src"]
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
STEP = 5
"""The trace goes from this update to the next: the first steps build what is built once, and at the updates 1, 2, 4, 8,
16, ... a wrapper looks through the model for parameters that it does not train."""

LOSS = torch.nn.CrossEntropyLoss(ignore_index=255)
CONFIG = {
    "model": {"type": "LogitsModel", "model": torch.nn.Conv2d(3, 2, 1), "loss": LOSS},
    "train_dataloader": {
        "dataset": TensorDataset(torch.zeros(64, 3, 8, 8), torch.zeros(64, 8, 8, dtype=torch.long)),
        "batch_size": 2,
        "num_workers": 0,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
    },
    "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}},
    "param_scheduler": [{"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "begin": 0, "end": 8, "by_epoch": False}],
    "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 8},
    "default_hooks": {
        "runtime_info": {"type": "RuntimeInfoHook"},
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": False},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 8},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
    },
    "work_dir": "out",
}


@dataclass
class Trace:
    """The functions of our packages that one step calls, in the order of their first calls."""

    sources: list[Path]
    functions: dict[CodeType, Path] = field(default_factory=dict)
    steps: int = 0

    def update(self, *_: object) -> None:
        """Count an update; the trace begins with one and ends with the next."""
        self.steps += 1
        if self.steps == STEP:
            sys.setprofile(self._call)
        elif self.steps == STEP + 1:
            sys.setprofile(None)

    def _call(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._add(frame.f_back)  # the loop itself: it was called once, before the first step
            self._add(frame)

    def _add(self, frame: FrameType | None) -> None:
        if frame is None or frame.f_code in self.functions or frame.f_code.co_name in COMPREHENSIONS:
            return
        path = Path(frame.f_code.co_filename)
        if any(path.is_relative_to(source) for source in self.sources):
            self.functions[frame.f_code] = path

    def files(self) -> dict[str, list[str]]:
        """Return the files in order, each with its functions."""
        found: dict[str, list[str]] = {}
        for code, path in self._from_the_loop():
            source = next(source for source in self.sources if path.is_relative_to(source))
            found.setdefault(str(path.relative_to(source)), []).append(code.co_qualname)
        return found

    def _from_the_loop(self) -> list[tuple[CodeType, Path]]:
        """Begin with the loop: the trace begins behind an update, in the middle of a step."""
        every = list(self.functions.items())
        first = next((i for i, (_, path) in enumerate(every) if path.parent.name == "loop"), 0)
        return every[first:] + every[:first]


def of_config() -> None:
    """Train from a config, with everything that MMSegmentation's configs have by default."""
    from seg_runner import Runner

    Runner.from_cfg(CONFIG).train()


def of_objects() -> None:
    """Train as the example does that needs seg-runner alone."""
    runpy.run_path(str(ROOT / "examples/02_objects.py"), run_name="__main__")


def trace(train: Callable[[], None], sources: list[Path] = SOURCES) -> dict[str, list[str]]:
    """Return file -> functions of one step; the run's own words are not shown."""
    found, before = Trace(sources), Path.cwd()
    hook = register_optimizer_step_post_hook(found.update)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            os.chdir(folder)
            try:
                train()
            finally:
                os.chdir(before)
    finally:
        hook.remove()
    return found.files()


RUNS = {
    "from a config, with six default hooks, an OptimWrapper and PolyLR": of_config,
    "examples/02_objects.py": of_objects,
}


def main() -> int:
    """Print both traces."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, train in RUNS.items():
        with contextlib.redirect_stderr(io.StringIO()):
            found[name] = trace(train)
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return 0
    for name, files in found.items():
        print(f"{name}: {len(files)} files, {sum(map(len, files.values()))} functions")
        for path, functions in files.items():
            print(f"  {path}: {', '.join(functions)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
