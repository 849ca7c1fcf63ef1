"""SegVisualizationHook in a run: no way of ending it costs a picture."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STOPPED = """
import os, signal, sys, time
from pathlib import Path
from helpers.tiny import config
from seg_runner import Runner
from seg_vis import BaseVisBackend, SegLocalVisualizer

class Slow(BaseVisBackend):
    def add_image(self, name, image, step=0, **kwargs):
        time.sleep(0.2)
        with open("written", "a") as file:
            file.write(f"{{name}} {{step}}\\n")

class Counting(SegLocalVisualizer):
    def add_datasample(self, name, *args, **kwargs):
        super().add_datasample(name, *args, **kwargs)
        with open("asked", "a") as file:
            file.write(f"{{name}} {{kwargs['step']}}\\n")
        if Path("asked").read_text().count("\\n") == 5:
            {ending}

Runner.from_cfg(config(Path("out"), visualizer={{"type": Counting, "vis_backends": [Slow()]}})).train()
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("raise SystemExit(3)", 3),
    ],
)
def test_a_stopped_run_writes_every_picture_it_has_drawn(tmp_path: Path, ending: str, code: int) -> None:
    """The backend takes 0.2 s a picture, so that several wait when the run is stopped."""
    command = [sys.executable, "-c", STOPPED.format(ending=ending)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert done.returncode == code, done.stderr
    assert len(asked) >= 5
    assert sorted((tmp_path / "written").read_text().splitlines()) == sorted(asked)
