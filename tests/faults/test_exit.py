"""A run always ends: also where a worker hangs, after an exception, and after a signal; nothing of it lives on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
GUARD = "import faulthandler; faulthandler.dump_traceback_later(240, exit=True)"  # for a machine that would hang
RUN = """
import ctypes, multiprocessing, os, signal, sys, threading
from pathlib import Path
from helpers.drill import Crops, make_runner
from torch.utils.data import DataLoader

class Ends:
    def __init__(self, how):
        self.how = how

    def after_train_iter(self, runner):
        if runner.iter == 8 and self.how == "error":
            raise ZeroDivisionError
        if runner.iter == 8 and self.how == "signal":
            os.killpg(0, signal.SIGTERM)

    def before_val_iter(self, runner):
        if self.how == "signal in validation":
            os.killpg(0, signal.SIGTERM)

class Hangs:
    def __call__(self, worker):
        if worker == 1 and how.startswith("hang"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Event().wait() if how == "hang" else ctypes.PyDLL(None).pause()

os.setpgid(0, 0)
how, persistent = sys.argv[2], sys.argv[3] == "True"
val = DataLoader(Crops(3, own=False), 3, num_workers=2, worker_init_fn=Hangs(), persistent_workers=persistent)
total = 4 if how.startswith("hang") else 20
runner = make_runner(Path(sys.argv[1]), total=total, workers=2, persistent=persistent, async_save=True,
                     val_dataloader=val)
runner.register_hook(Ends(how))
try:
    runner.train()
finally:
    alive = [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    print("left:", alive, multiprocessing.active_children(), flush=True)
"""


ENDS = [("", 0), ("error", 1), ("signal", 143), ("signal in validation", 143), ("hang", 0)]
CASES = [(*end, persistent) for end in ENDS for persistent in (False, True)] + [("hang in C", 0, True)]


@pytest.mark.parametrize(("how", "code", "persistent"), CASES)
def test_the_process_ends_and_leaves_nothing_behind(tmp_path, how, code, persistent):
    """`hang`: a worker that has nothing to read hangs at its start; python would wait for it at exit, for ever.

    `in C`: it holds python's lock meanwhile, so that nothing in it can hear that it is to end.
    """
    command = [sys.executable, "-W", "ignore", "-c", f"{GUARD}\n{RUN}", tmp_path / "run", how, str(persistent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.stdout + done.stderr)[-3000:]
    assert "left: [] []" in done.stdout
