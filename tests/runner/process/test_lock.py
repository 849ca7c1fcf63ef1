from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from seg_runner.process.lock import LOCK, only_run

HOLDER = """
import sys
from pathlib import Path
from seg_runner.process.lock import only_run
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


def test_another_run_is_named_and_the_second_one_refused(tmp_path, holder):
    with pytest.raises(RuntimeError, match=f"process {holder.pid} on .*give another folder"), only_run(tmp_path):
        raise AssertionError("it runs")
    assert (tmp_path / LOCK).exists(), "the lock is the other run's"


def test_a_network_folder_that_denies_the_lock_is_understood(tmp_path, monkeypatch):
    def denied(file, how):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "lockf", denied)
    with pytest.raises(RuntimeError, match="another run is training in"), only_run(tmp_path):
        raise AssertionError("it runs")


def test_a_killed_run_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    with only_run(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_forked_worker_that_outlives_its_run_does_not_hold_the_lock(tmp_path):
    code = """
import os, sys
from pathlib import Path
from seg_runner.process.lock import only_run
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


def test_the_end_of_one_run_leaves_the_lock_of_another_of_the_same_process(tmp_path):
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / LOCK)]
    with only_run(tmp_path):
        with only_run(tmp_path):
            pass
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True, check=False).stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_locked_changes_nothing(tmp_path):
    with only_run(tmp_path / "absent"):
        pass
    with pytest.raises(ZeroDivisionError), only_run(tmp_path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_in_a_folder_where_another_trains_is_refused(make_runner, tmp_path, options):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "iter_3.pth").write_bytes(b"")
    runner = make_runner(**options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=f"another run is training in .*process {process.pid}"):
            runner.train()
        process.stdin.close()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != LOCK] == ["iter_3.pth"]
    if not options:
        runner.val()  # measuring is nobody's rival
