from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from seg_runner.signals import StopSignals, exit_code


def test_a_signal_is_remembered_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGUSR1)
    with StopSignals() as stop:
        assert stop.requested is None
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_only_the_named_signals_are_taken():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals(["SIGUSR1"]):
        assert signal.getsignal(signal.SIGINT) == before
    with StopSignals([]) as stop:
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert stop.requested is None


def test_codes():
    assert [exit_code(name) for name in ("SIGTERM", "SIGINT", "SIGUSR1")] == [143, 130, 138]


@pytest.mark.parametrize("name", ["SIGKILL", "TERM", "SIGNOTHING"])
def test_what_cannot_be_handled_is_refused(name):
    with pytest.raises(ValueError, match=name):
        StopSignals([name])


def test_another_thread_installs_nothing():
    before = signal.getsignal(signal.SIGUSR1)
    found = []

    def run():
        with StopSignals() as stop:
            found.append((stop.requested, signal.getsignal(signal.SIGUSR1)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(None, before)]


def test_a_second_interrupt_leaves_at_once():
    code = """
import signal
from seg_runner.signals import StopSignals
with StopSignals():
    signal.raise_signal(signal.SIGINT)
    print("still here", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("never here")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "still here\n"
    assert done.returncode == 130
    assert "leaving at once" in done.stderr
