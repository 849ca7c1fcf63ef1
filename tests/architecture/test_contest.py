"""Contestants of a benchmark take turns, ours in one process; one that is missing or dies is named."""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pytest
from helpers.tree import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import _contest  # type: ignore[import-not-found]
import _environments  # type: ignore[import-not-found]
from _contest import Contest, Contestant, Goal, run  # type: ignore[import-not-found]
from _figures import figures, quarters, rows, table_header  # type: ignore[import-not-found]

SCRIPT = '''"""A benchmark for the tests."""
import os
import sys
from pathlib import Path

sys.path.insert(0, {benchmarks!r})
from _contest import Contest, Contestant, main

LOG = Path({log!r})


def note(word):
    with LOG.open("a") as file:
        print(word, file=file)


def bare():
    print("what a contestant prints does not disturb its turns")
    return lambda: note("bare") or 0.5


def ours(turn):
    for number in range(turn.count + 1):
        turn(2, own=3.0)
        note("ours")


def process():
    return lambda: float(os.getpid())


def dies():
    note("set up")
    return lambda: 1 / 0


def short(turn):
    turn()


CONTESTS = [
    Contest(
        "words",
        {{
            "bare": bare,
            "ours": ours,
            "dies": dies,
            "short": Contestant(short, "os"),
            "theirs": Contestant(bare, "no_such_package"),
        }},
        measure="own",
        unit="s",
        rounds=6,
        least=0.0,
    ),
    Contest("two", {{"bare": bare, "slow": Contestant(bare, rounds=2)}}, rounds=4, least=0.0),
    Contest("peak", {{"bare": lambda: int, "ours": lambda: lambda: bytearray(1 << 26)}}, "peak", "MB", rounds=5),
    Contest(
        "together",
        {{"bare": process, "ours": process, "theirs": Contestant(process, "os")}},
        measure="own",
        unit="s",
        rounds=2,
        least=0.0,
    ),
    Contest("apart", {{"bare": process, "ours": process}}, measure="own", unit="s", rounds=2, least=0.0, apart=True),
]

if __name__ == "__main__":
    main(CONTESTS)
'''


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[Any], subprocess.CompletedProcess[str]]:
    """What the contestants noted, the outcomes, and the script run by itself."""
    folder = tmp_path_factory.mktemp("contest")
    script, log = folder / "script.py", folder / "log"
    script.write_text(SCRIPT.format(benchmarks=str(ROOT / "benchmarks"), log=str(log)), encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(compile(script.read_text(encoding="utf-8"), script, "exec"), namespace)
    outcomes = run(namespace["CONTESTS"], str(script))
    noted = log.read_text(encoding="utf-8").split()
    command = [sys.executable, str(script), "--only", "words"]
    return noted, outcomes, subprocess.run(command, capture_output=True, text=True, check=False)


def test_they_take_turns_in_a_turning_order(played: Any) -> None:
    noted = [word for word in played[0] if word in ("bare", "ours")][: 2 * 6]
    assert {"bare", "ours"} == set(noted)
    assert max(len(list(turns)) for _, turns in groupby(noted)) <= 2  # two meet where the order has turned


def test_each_has_a_figure_and_the_ratio_is_that_of_pairs(played: Any) -> None:
    words = played[1][0].figures()
    assert words["base"] == "bare"
    assert words["contestants"]["bare"]["value"]["median"] == 0.5
    assert words["contestants"]["ours"]["value"]["median"] == 1.5  # 3 seconds, said of 2 steps
    assert words["contestants"]["ours"]["ratio"]["median"] == 3.0
    assert words["contestants"]["ours"]["above"]["median"] == 1.0
    assert words["contestants"]["ours"]["rounds"] == 6
    assert words["contestants"]["bare"]["versions"]["python"].startswith("3.")


def test_who_dies_is_named_with_the_last_words_and_the_others_go_on(played: Any) -> None:
    absent = played[1][0].absent
    assert "died in a process that it shares" in absent["dies"]
    assert "ZeroDivisionError" in absent["dies"].splitlines()[-1]
    assert "ended with exit code 1" in absent["short"]
    assert "came to its end before its turns were over" in absent["short"]
    assert absent["theirs"] == "not installed: no_such_package"
    assert set(played[1][0].figures()["contestants"]) == {"bare", "ours"}


def test_a_slow_one_takes_part_in_fewer_rounds(played: Any) -> None:
    found = played[1][1].figures()["contestants"]
    assert {name: one["rounds"] for name, one in found.items()} == {"bare": 4, "slow": 2}


def test_ours_share_a_process_and_a_peer_has_its_own(played: Any) -> None:
    together, apart = (
        {name: one["value"]["median"] for name, one in outcome.figures()["contestants"].items()}
        for outcome in played[1][3:]
    )
    assert together["bare"] == together["ours"] != together["theirs"]
    assert apart["bare"] != apart["ours"]


def test_all_have_their_turns_of_a_round_on_the_same_core(monkeypatch: pytest.MonkeyPatch) -> None:
    class Notes:
        versions: ClassVar[dict[str, str]] = {}
        seen: ClassVar[list[int | None]] = []

        def begin(self, title: str, name: str) -> None: ...
        def wait_until_ready(self) -> None: ...
        def end(self) -> None: ...

        def turn(self, core: int | None) -> dict[str, float]:
            self.seen.append(core)
            return {"cpu": 1.0}

    monkeypatch.setattr(_contest, "cores", lambda: [3, 5])
    for more, seen in (({}, [3, 3, 5, 5, 3, 3]), ({"apart": True}, [None] * 6), ({"threads": None}, [None] * 6)):
        Notes.seen.clear()
        contest = Contest("a", {"bare": int, "ours": int}, rounds=2, **more)
        _contest.play(contest, {"bare": Notes(), "ours": Notes()})
        assert Notes.seen == seen


@pytest.mark.parametrize("more", [{"freeze": True}, {"threads": None}, {"measure": "peak"}, {"measure": "wall"}])
def test_memory_and_work_with_helpers_is_measured_apart(more: dict[str, Any]) -> None:
    assert Contest("a", {"bare": int}).together
    assert not Contest("a", {"bare": int}, **more).together


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="nothing tells the peak of a turn here")
def test_memory_is_that_of_the_turn(played: Any) -> None:
    found = played[1][2].figures()["contestants"]
    assert found["ours"]["above"]["low"] > found["bare"]["value"]["median"] * 0.1
    assert found["ours"]["value"]["median"] > 1 << 26


def test_the_script_prints_and_fails_where_one_of_ours_died(played: Any) -> None:
    done = played[2]
    assert done.returncode == 1
    assert "x bare" in done.stdout
    assert "theirs: not installed: no_such_package" in done.stdout
    assert "does not disturb" not in done.stdout


def test_a_peer_that_dies_is_no_failure() -> None:
    contest = Contest("a", {"bare": int, "theirs": Contestant(int, ("os", "sys"))})
    assert contest.base == "bare"
    assert contest.of["theirs"].modules == ("os", "sys")


def test_an_environment_is_asked_only_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_environments, "python_of", lambda name: (f"python of {name}", ""))
    assert _environments.python_for(("os",), "peers", peers=True) == (sys.executable, "")
    assert _environments.python_for(("no_such",), "peers", peers=True) == ("python of peers", "")
    python, why = _environments.python_for(("no_such",), "peers", peers=False)
    assert python is None
    assert why == "not installed here (--peers takes the environment peers): no_such"


def test_every_environment_of_a_peer_is_in_hatch_toml() -> None:
    text = (ROOT / "hatch.toml").read_text(encoding="utf-8")
    for name in ("peers", "parity", "fork"):
        assert f"[envs.{name}]" in text


def test_quarters_and_pairs() -> None:
    assert quarters([1.0, 2.0, 3.0, 4.0, 5.0]) == {"low": 2.0, "median": 3.0, "high": 4.0}
    assert quarters([7.0]) == {"low": 7.0, "median": 7.0, "high": 7.0}
    turns = {"bare": {0: {"cpu": 1.0}, 1: {"cpu": 10.0}}, "ours": {0: {"cpu": 2.0}, 1: {"cpu": 20.0}, 2: {"cpu": 9.0}}}
    found = figures(turns, "bare", "cpu")
    assert found["ours"]["ratio"] == {"low": 2.0, "median": 2.0, "high": 2.0}  # a slow round is slow for both
    assert rows(found, "s")[1] == ["ours", "9.000", "5.500", "2.000", "2.000-2.000"]
    assert len(table_header("s")) == 5


def test_without_the_bare_limit_there_is_no_ratio() -> None:
    found = figures({"ours": {0: {"cpu": 2.0}}}, "bare", "cpu")
    assert rows(found, "s") == [["ours", "2.000", "-", "-", "-"]]


def test_a_goal_says_what_was_asked_and_seen() -> None:
    turns = {"bare": {0: {"cpu": 1.0}}, "ours": {0: {"cpu": 1.25}}, "theirs": {0: {"cpu": 1.25}}}
    found = figures(turns, "bare", "cpu")

    def judge(**asked: Any) -> Any:
        said = Goal("ours", **asked).judge(found, "ms")
        return said and (said["asked"], said["seen"], said["verdict"])

    assert judge(ratio=1.25) == ("at most 1.25 x", "1.25 x", "reached")
    assert judge(above=0.2) == ("at most 200.00 ms above", "250.00 ms above", "**not reached**")
    assert judge(under="theirs") == ("less than theirs: 1.25 x", "1.25 x", "**not reached**")
    assert judge(under="nobody") is None
