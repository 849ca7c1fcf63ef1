from __future__ import annotations

import os
import subprocess
import sys

import pytest
from seg_runner.run_lock import LOCK, only_run

HOLDER = """
import sys
from pathlib import Path
from seg_runner.run_lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in the folder, until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_run_is_named_and_nothing_is_stopped(tmp_path, holder, caplog):
    ran = []
    with only_run(tmp_path):
        ran.append(1)
    assert ran == [1]
    assert f"process {holder.pid} on " in caplog.text
    assert "another work_dir" in caplog.text
    assert (tmp_path / LOCK).exists(), "the lock is the other run's"


def test_a_killed_run_leaves_no_lock(tmp_path, holder, caplog):
    holder.kill()
    holder.wait()
    with only_run(tmp_path):
        pass
    assert caplog.text == ""
    assert os.listdir(tmp_path) == []


def test_a_forked_worker_that_outlives_its_run_does_not_hold_the_lock(tmp_path, caplog):
    code = """
import os, sys
from pathlib import Path
from seg_runner.run_lock import only_run
with only_run(Path(sys.argv[1])):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    print("held", flush=True)
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait() == -9
        with only_run(tmp_path):
            pass
        process.stdin.close()
    assert caplog.text == ""


def test_a_folder_that_cannot_be_locked_changes_nothing(tmp_path):
    with only_run(tmp_path / "absent"):
        pass
    with pytest.raises(ZeroDivisionError), only_run(tmp_path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_run_in_a_folder_where_another_trains_says_so(make_runner, tmp_path, capsys):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    runner = make_runner()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        runner.train()
        process.stdin.close()
    assert "another run is training in" in capsys.readouterr().out
    assert runner.iter == 6
