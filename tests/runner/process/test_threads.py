"""How many threads torch gets, and why."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from seg_runner.process import threads
from seg_runner.process.environment import set_up_process
from seg_runner.process.threads import set_threads, told_threads, usable_cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine of eight cores, whose torch notes what it is told; nothing is set in the environment."""
    told = [8]
    for name in threads.CHOSEN_BY_USERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setattr(threads, "_torchs_own", lambda: {8, 16})
    monkeypatch.setattr(torch, "get_num_threads", lambda: told[-1])
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    return told


def test_each_core_gets_a_thread(eight_cores: list[int]) -> None:
    assert set_threads() == "8 (cores: 8)"
    assert eight_cores == [8]


def test_hardware_threads_that_torch_counted_become_cores(eight_cores: list[int]) -> None:
    eight_cores.append(16)
    assert set_threads() == "8 (cores: 8)"
    assert eight_cores[-1] == 8


def test_the_processes_of_a_machine_share_its_cores(eight_cores: list[int]) -> None:
    assert set_threads(processes=3) == "2 (cores: 8, processes: 3)"
    assert eight_cores[-1] == 2
    assert set_threads(processes=3) == "2 (cores: 8, processes: 3)"  # a second runner finds what the first has set
    eight_cores.append(8)
    assert set_threads(processes=100).startswith("1 ")


@pytest.mark.parametrize("name", threads.CHOSEN_BY_USERS)
def test_the_environment_is_obeyed(eight_cores: list[int], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "5")
    eight_cores.append(5)
    assert set_threads(processes=2, exact=True) == f"5 ({name})"
    assert eight_cores == [8, 5]


@pytest.mark.parametrize("odd", ["0", "-3", "all", "2.5", " "])
def test_what_openmp_does_not_take_is_as_if_it_were_not_there(
    eight_cores: list[int], odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", odd)
    assert set_threads(exact=True).startswith("1 (world='exact'")
    assert eight_cores[-1] == 1


def test_the_program_is_obeyed(eight_cores: list[int]) -> None:
    eight_cores.append(3)
    assert set_threads(processes=4) == "3 (set by the program)"
    assert eight_cores == [8, 3]


def test_the_config_beats_all(eight_cores: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert set_threads(6, processes=4, exact=True) == "6 (env_cfg.mp_cfg.torch_num_threads)"
    assert eight_cores[-1] == 6


def test_an_exact_run_has_one(eight_cores: list[int]) -> None:
    assert set_threads(exact=True).startswith("1 (world='exact'; OMP_NUM_THREADS sets another number")
    assert eight_cores[-1] == 1


def test_the_config_names_a_number() -> None:
    assert told_threads(None) is None
    assert told_threads({"mp_cfg": None}) is None
    assert told_threads({"mp_cfg": {"torch_num_threads": 3}}) == 3


@pytest.mark.parametrize("wrong", [0, -1, "many", 1.5, 10**6])
def test_a_number_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"env_cfg\.mp_cfg\.torch_num_threads"):
        set_up_process({"mp_cfg": {"torch_num_threads": wrong}})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
def test_affinity_counts() -> None:
    """In a process of its own, as affinity belongs to a process."""
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); from seg_runner.process.threads import *; "
    code += "print(set_threads())"
    free = {name: value for name, value in os.environ.items() if name not in threads.CHOSEN_BY_USERS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert done.stdout == "1 (cores: 1)\n"


def test_two_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        (folder := tmp_path / f"cpu{number}/topology").mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    assert threads._whole_cores({0, 1, 2, 3}, tmp_path) == 2
    assert threads._whole_cores({0, 2}, tmp_path) == 1
    assert threads._whole_cores({0, 1}, tmp_path / "none") == 2


GROUPS = {
    "none": ({}, math.inf),
    "no limit": ({"cpu.max": "max 100000"}, math.inf),
    "two and a half": ({"cpu.max": "250000 100000"}, 2.5),
    "the group above has less": ({"pod/one/cpu.max": "400000 100000", "pod/cpu.max": "150000 100000"}, 1.5),
    "version 1": ({"cpu,cpuacct/pod/cpu.cfs_quota_us": "300000", "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"}, 3),
    "version 1 without": ({"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, math.inf),
}


@pytest.mark.parametrize(("files", "cores"), GROUPS.values(), ids=GROUPS)
def test_the_time_that_a_container_may_use_counts(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.write_text("3:memory:/else\n2:cpu,cpuacct:/pod/one\n0::/pod/one\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert threads._time_allowed(tmp_path, told) == cores


def test_a_share_of_a_core_is_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_time_allowed", lambda root, told: 0.5)
    assert usable_cores() == 1
