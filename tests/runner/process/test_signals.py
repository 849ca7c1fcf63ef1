from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import types

import pytest
from seg_runner.process.signals import StopNow, StopSignals, exit_code, leaving, read_signals
from seg_runner.process.watchdog import Arrivals


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
from seg_runner.process.signals import StopSignals
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_the_end_waits_for_no_child_that_was_forked_meanwhile():
    code = """
import multiprocessing
from seg_runner.process.signals import StopSignals
context = multiprocessing.get_context("fork")
done = context.Event()
with StopSignals():
    child = context.Process(target=done.wait)
    child.start()
print("over, and the child", "lives on" if child.is_alive() else "is gone", flush=True)
done.set()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "over, and the child lives on\n"


def test_while_a_run_waits_the_handler_raises():
    with StopSignals(["SIGUSR1"]) as stop:
        stop.wait()
        with pytest.raises(StopNow):
            signal.raise_signal(signal.SIGUSR1)
        stop.waiting = False
        with pytest.raises(StopNow):
            stop.wait()  # the signal came before
    assert stop.requested == "SIGUSR1"


@pytest.mark.parametrize(
    ("given", "names", "grace"),
    [
        (None, ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"], 30.0),
        (["SIGUSR2"], ["SIGUSR2"], 30.0),
        ({"grace": 5}, ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"], 5.0),
        ({"names": [], "grace": None}, [], None),
    ],
)
def test_signals_are_a_list_of_names_or_a_dict(given, names, grace):
    assert read_signals(given) == {"names": names, "grace": grace}


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"grace": 0}, ValueError, r"signals.grace \(seconds\) must be a number .* more than 0, not 0"),
        ({"grace": float("nan")}, ValueError, "not nan"),
        ({"grace": "30"}, TypeError, "not '30'"),
        ({"graze": 30}, TypeError, "takes no 'graze'. Did you mean 'grace'"),
        ({"names": "SIGTERM"}, TypeError, "must be a list of names"),
    ],
)
def test_other_values_are_refused(given, error, text):
    with pytest.raises(error, match=text):
        read_signals(given)


def test_the_same_signal_twice_at_once_counts_once(monkeypatch):
    """`timeout` sends one to the process and one to its group."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    arrivals = Arrivals()
    assert not arrivals.again(signal.SIGUSR1)
    assert not arrivals.again(signal.SIGTERM), "another kind is not a second one"
    assert not arrivals.again(signal.SIGTERM)
    now[0] = 1.0
    assert arrivals.again(signal.SIGTERM)
    assert arrivals.again(signal.SIGINT)


def test_whoever_listened_before_goes_on_listening():
    import socket

    read, write = socket.socketpair()
    write.setblocking(False)
    read.settimeout(120)
    before = signal.set_wakeup_fd(write.fileno())
    try:
        with StopSignals(["SIGUSR1"]):
            signal.raise_signal(signal.SIGUSR1)
            assert read.recv(1) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(before) == write.fileno()
    finally:
        signal.set_wakeup_fd(before)
        read.close()
        write.close()


@pytest.mark.parametrize(("name", "stays"), [("SIGINT", True), ("SIGTERM", False)])
def test_an_interrupt_at_a_prompt_leaves_the_interpreter_there(name: str, stays: bool) -> None:
    """`code.interact` is a prompt within a program, and `python -i` one of its own."""
    typed = f"from seg_runner.process.signals import leaving\nraise leaving({name!r})\nprint('still ' + 'here')\n"
    for words in (["-i"], ["-c", "import code; code.interact()"]):
        done = subprocess.run([sys.executable, *words], input=typed, capture_output=True, text=True, timeout=300)
        assert ("still here" in done.stdout) is stays
        assert ("KeyboardInterrupt" in done.stderr) is stays


def test_an_interrupt_in_ipython_ends_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", shell)
    shell.get_ipython = lambda: None  # type: ignore[attr-defined]  # imported, but nobody types
    assert isinstance(leaving("SIGINT"), SystemExit)
    shell.get_ipython = lambda: object()  # type: ignore[attr-defined]
    assert isinstance(leaving("SIGINT"), KeyboardInterrupt)
    assert isinstance(leaving("SIGTERM"), SystemExit)


def test_a_terminal_that_is_closed_stops_a_run_unless_it_is_to_go_on() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` leaves it
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested == "SIGHUP"
    finally:
        signal.signal(signal.SIGHUP, before)
