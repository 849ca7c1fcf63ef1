"""What one training step runs through, and that `./run trace-step` counts it right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts/trace_step.py"
OWN = ("seg_hooks/", "seg_optim/")
"""Packages whose files in a step are a hook's, the wrapper's or the schedule's own."""

LIMITS = {"from a config": (17, 53, 9), "examples/02_objects.py": (10, 41, 10)}
"""Files, functions, and files that are not in `OWN`. A larger number needs a reason that outweighs a reader's time.

The last was raised for `data/seeds.py`, which leaves generators alone that no sample draws from: some 20 us a step.
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    command = [sys.executable, str(SCRIPT), "--json"]
    folder = tmp_path_factory.mktemp("trace")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return {name.partition(",")[0]: files for name, files in found.items()}


@pytest.mark.checkout
@pytest.mark.parametrize("run", LIMITS)
def test_a_step_runs_through_few_files_and_functions(run: str, steps: dict[str, dict[str, list[str]]]) -> None:
    files = steps[run]
    counts = len(files), sum(map(len, files.values())), sum(not path.startswith(OWN) for path in files)
    assert all(count <= limit for count, limit in zip(counts, LIMITS[run], strict=True)), (counts, files)


@pytest.mark.checkout
@pytest.mark.parametrize("run", LIMITS)
def test_what_a_step_must_do_is_in_the_trace(run: str, steps: dict[str, dict[str, list[str]]]) -> None:
    functions = {name for names in steps[run].values() for name in names}
    assert {"IterBasedTrainLoop.run", "TrainLoop.step", "LogitsModel.train_step", "Point.__call__"} <= functions
    assert next(iter(steps[run])) == "seg_runner/loop/train.py"


LOOP = """
import functools
from helps_a_traced_step import helped

def run(optimizer):
    for _ in range(8):
        step(optimizer)

def step(optimizer):
    optimizer.step()
    helped()
    [functools.partial(helped)() for _ in range(2)]
    (lambda: within(optimizer))()

def within(optimizer):
    def inner():
        return sorted([1], key=str)
    return inner()

def unused():
    pass
"""


def test_each_function_of_ours_counts_once_and_the_loop_is_one(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop/train.py").write_text(LOOP)
    (tmp_path / "helps_a_traced_step.py").write_text("def helped(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)

    def train() -> None:
        run_path(str(tmp_path / "loop/train.py"))["run"](optimizer)

    found = run_path(str(SCRIPT), run_name="trace_step")["trace"](train, [tmp_path])
    assert {path: sorted(names) for path, names in found.items()} == {
        "loop/train.py": ["run", "step", "step.<locals>.<lambda>", "within", "within.<locals>.inner"],
        "helps_a_traced_step.py": ["helped"],
    }
    assert next(iter(found)) == "loop/train.py"
