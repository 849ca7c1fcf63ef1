"""Torch's threads give way where the cores are taken, and come back; how many there are stays."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from seg_runner.process import giving_way as module
from seg_runner.process.giving_way import giving_way, teams_to_hold

CPU = torch.device("cpu")


class Machine:
    """Threads that wait for a core for as long as it is told, and a clock that runs when somebody waits."""

    def __init__(self) -> None:
        self.waited, self.taken = 0, True

    def delays(self) -> dict[str, int]:
        """Nanoseconds of two threads, one of which waits half of the time where the cores are taken."""
        self.waited += 10**12 * self.taken  # longer than any second between two looks
        return {"1": 5, "2": self.waited}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A crowded machine on which seconds are short."""
    made = Machine()
    for name in module.SPINS_AS_TOLD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_delays", made.delays)
    monkeypatch.setattr(module, "_gomps_cores", lambda: 2)
    monkeypatch.setattr(module, "LOOK", 0.001)
    monkeypatch.setattr(module, "PAUSES", (0.001, 0.002))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    return made


def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a team is held; no threads of OpenMP are started."""
    once = threading.Event()

    def hold(free: threading.Event) -> None:
        once.set()
        free.wait()

    monkeypatch.setattr(module, "_hold", hold)
    return once


def ours() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "seg: giving way"]


def test_where_cores_are_taken_teams_are_held_and_a_line_says_so_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, said = held(monkeypatch), list[str]()
    with giving_way(CPU, said.append):
        for _ in range(3):
            assert once.wait(60)
            once.clear()  # and again after a while without
    assert ours() == []
    assert len(said) == 1
    assert "cores of torch's 2 threads" in said[0]
    assert "torch_num_threads" in said[0]


def test_where_cores_are_free_nothing_is_done(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.taken = False
    looked = threading.Semaphore(0)
    monkeypatch.setattr(module, "_delays", lambda: looked.release() or {"1": 7})
    once, said = held(monkeypatch), list[str]()
    with giving_way(CPU, said.append):
        for _ in range(5):
            assert looked.acquire(timeout=60)
    assert not once.is_set()
    assert said == []


def test_the_end_of_a_run_does_not_wait_for_a_pause(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (3600.0, 3600.0))
    once = held(monkeypatch)
    with giving_way(CPU, print):
        assert once.wait(60)
    assert ours() == []


@pytest.mark.parametrize("name", module.SPINS_AS_TOLD)
def test_who_told_openmp_how_to_wait_is_obeyed(machine: Machine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10")
    with giving_way(CPU, print):
        assert ours() == []


def test_on_an_accelerator_nothing_is_watched(machine: Machine) -> None:
    with giving_way(torch.device("meta"), print):
        assert ours() == []


def test_without_libgomp_nothing_is_watched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_gomps_cores", lambda: 0)
    with giving_way(CPU, print):
        assert ours() == []


def test_one_thread_waits_for_nobody(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with giving_way(CPU, print):
        assert ours() == []


def test_teams_make_more_threads_than_cores() -> None:
    for cores in range(1, 65):
        for threads in range(2, cores + 1):
            if teams := teams_to_hold(threads, cores):
                assert threads + teams * (threads - 1) > cores


def test_a_team_is_real_and_goes_with_its_thread() -> None:
    """As many threads of this process as before, once it is let go."""
    before, number = torch.get_num_threads(), len(module._delays())
    torch.set_num_threads(2)
    try:
        torch.zeros(2**18).add_(1)  # this thread's own team
        alone = len(module._delays())
        with module._teams(1):
            for _ in range(600):
                if not number or len(module._delays()) >= alone + 2:
                    break
                time.sleep(0.05)
            else:
                pytest.fail("no team was made")
        result = torch.zeros(2**18).add_(1).sum()
        assert result == 2**18
    finally:
        torch.set_num_threads(before)
