"""The command that NanGuardHook prints, as `seg` runs it: the same step again, whatever was saved since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]

POISON = """
class Poison:
    \"\"\"Makes one module give what is not finite, at one step.\"\"\"

    def __init__(self, at):
        self.at = at

    def before_train(self, runner):
        def spoil(module, inputs, output):
            if runner.model.training and runner.iter + 1 == self.at:
                return output * float('inf')
        runner.model.decode_head.register_forward_hook(spoil)
"""
EXTRA = """
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval={interval}),
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False))
custom_hooks = [dict(type='NanGuardHook', policy='{policy}'), dict(type='poison.Poison', at={at})]
"""


def run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("policy", "at", "interval"),
    [("stop", 5, 3), ("stop", 2, 3), ("skip", 5, 3), ("rollback", 5, 3)],
    ids=["stop", "stop before the first save", "skip", "rollback"],
)
def test_the_printed_command_replays_the_step(
    tmp_path: Path, write_config: Write, policy: str, at: int, interval: int
) -> None:
    (tmp_path / "poison.py").write_text(POISON)
    write_config(EXTRA.format(policy=policy, at=at, interval=interval), iters=8)
    first = run(f"{sys.executable} -m seg_engine train run.py --work-dir out --trust-config", tmp_path)
    assert (first.returncode == 0) == (policy != "stop"), first.stdout + first.stderr
    report = json.loads((tmp_path / f"out/nan/iter_{at}/report.json").read_text())
    assert report["replay"] in first.stdout + first.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("iter_*.pth")}
    second = run(report["replay"], tmp_path)
    text = second.stdout + second.stderr
    assert f"Replayed iteration {at}. The random numbers at its start are those of the original run." in text, text
    assert "The first module whose output is not finite: " in text
    assert "decode_head" in text.split("whose output is not finite: ")[1]
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("iter_*.pth")}
