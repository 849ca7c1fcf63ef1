"""The guard of speed finds what is slower, whatever the machine does meanwhile, and nothing else."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.tree import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(ROOT / "benchmarks"))
import guard  # type: ignore[import-not-found]
from _guarded import CONTESTS  # type: ignore[import-not-found]
from _sequence import ERROR, Sequence, evidence  # type: ignore[import-not-found]
from _turns import Player, Put_out  # type: ignore[import-not-found]

SOURCES = ["src/seg_engine", *(f"packages/seg-{name}/src" for name in ("hooks", "optim", "registry", "runner", "vis"))]


def judged(ratios: list[float], limit: float = 1.15) -> Sequence:
    sequence = Sequence(limit)
    for ratio in ratios:
        sequence.add(ratio)
        if sequence.verdict != "undecided":
            break
    return sequence


def test_evidence_is_the_integral_that_it_says() -> None:
    for above, count in ((0, 0), (3, 4), (5, 20), (20, 20)):
        steps = [0.5 + (number + 0.5) / 20000 for number in range(10000)]
        integral = sum(p**above * (1 - p) ** (count - above) for p in steps) / 20000
        assert evidence(above, count) == pytest.approx(2 * integral * 2**count, rel=1e-4)


@pytest.mark.parametrize("count", range(1, 9))
def test_evidence_is_a_fair_bet_where_the_median_is_the_limit(count: int) -> None:
    """Its mean over all ways in which the sides can fall is one: so it is rarely large, whenever one stops."""
    total = sum(math.comb(count, above) * evidence(above, count) for above in range(count + 1))
    assert total == pytest.approx(2**count)


def noisy(seed: int, factor: float, noise: float, count: int = 80) -> list[float]:
    """Ratios on a machine that wavers by a factor of four, with single turns that take ten times as long."""
    source = random.Random(seed)
    found = []
    for _ in range(count):
        speed = source.choice([1.0, 2.0, 4.0])
        ours, bare = (
            speed * math.exp(source.gauss(0, noise)) * (10 if source.random() < 0.05 else 1) for _ in range(2)
        )
        found.append(factor * ours / bare)
    return found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), noise=st.floats(0.001, 0.6))
def test_noise_fails_no_equal_pair(seed: int, noise: float) -> None:
    assert judged(noisy(seed, 1.0, noise)).verdict in ("within", "undecided")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), noise=st.floats(0.001, 0.05))
def test_a_slow_down_of_30_percent_is_found(seed: int, noise: float) -> None:
    assert judged(noisy(seed, 1.3, noise)).verdict == "beyond"


@settings(max_examples=200, deadline=None)
@given(ratios=st.lists(st.floats(0.1, 10), max_size=60))
def test_slower_is_only_what_is_slower_in_most_pairs(ratios: list[float]) -> None:
    sequence = judged(ratios)
    share = [ratio > 1.15 for ratio in sequence.ratios]
    if sequence.verdict == "beyond":
        assert sum(share) > len(share) / 2
    if sequence.verdict == "within":
        assert sum(share) < len(share) / 2


def test_at_the_limit_it_is_wrong_as_rarely_as_it_says() -> None:
    source = random.Random(0)
    wrong = sum(judged([source.choice([1.1, 1.2]) for _ in range(80)]).verdict == "beyond" for _ in range(2000))
    assert wrong <= 2000 * ERROR * 4


SCRIPT = """
import sys
sys.path.insert(0, {benchmarks!r})
from _contest import Contest, main

def busy(count):
    return lambda: sum(range(count))

def dies():
    raise RuntimeError("no such name in that commit")

sides = {{"bare": lambda: busy(20000), "ours": lambda: busy({ours}) if {tree!r} not in sys.path else busy(20000)}}
main([Contest("sum", sides, rounds=80, least=0.002), Contest("dies", {{"bare": sides["bare"], "ours": dies}})])
"""


def starter(folder: Path, ours: int) -> Any:
    """Three processes that add numbers: the base as many as the bare limit, ours as many as is said."""
    tree = folder / "base/src"
    tree.mkdir(parents=True, exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(benchmarks=str(ROOT / "benchmarks"), ours=ours, tree=str(tree)), encoding="utf-8")

    def start(who: str) -> Player:
        more = {"PYTHONPATH": str(tree)} if who == "base" else None
        return Player([sys.executable, str(script), "--contestant"], more=more)

    return start


def test_a_real_slow_down_is_found_twice_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five times the work, so that no machine is too slow or too busy to see it."""
    slower = guard.watch("sum", starter(tmp_path, 100_000), {"bare": 1.3, "base": 1.3}, 300)
    assert [line.split(" at most ")[1] for line in slower] == ["1.3 x", "1.3 x"]
    assert capsys.readouterr().out.count("slower; again") == 2


def test_equal_work_passes(tmp_path: Path) -> None:
    assert guard.watch("sum", starter(tmp_path, 20_000), {"bare": 1.3, "base": 1.3}, 60) == []


class Said:
    """A process whose turns take what is said."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def begin(self, title: str, name: str) -> None:
        if self.seconds < 0:
            raise Put_out("ImportError")

    def wait_until_ready(self) -> None:
        pass

    def turn(self, core: int | None = None) -> Mapping[str, float]:
        return {"cpu": self.seconds}

    def close(self) -> None:
        pass


def test_what_fresh_processes_do_not_show_again_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    started: list[str] = []

    def start(who: str) -> Said:
        started.append(who)
        return Said(1.5 if who == "ours" and started.count("ours") == 1 else 1.0)

    assert guard.watch("ema", start, {"bare": 1.15, "base": 1.15}, 60) == []
    assert started == ["ours", "bare", "base"] * 2
    assert "undecided: fresh processes found 1.00 x" in capsys.readouterr().out


def test_a_base_that_cannot_run_it_is_left_out_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    def start(who: str) -> Said:
        return Said(-1.0 if who == "base" else 1.0)

    assert guard.watch("ema", start, {"bare": 1.15, "base": 1.15}, 60) == []
    assert "the base commit cannot be compared with: ImportError" in capsys.readouterr().out


def test_each_group_has_its_bounds_and_a_reason() -> None:
    bounds = tomllib.loads((ROOT / "benchmarks/bounds.toml").read_text(encoding="utf-8"))
    assert [*bounds] == [contest.title for contest in CONTESTS]
    for each in bounds.values():
        assert each["bare"] > 1
        assert 1.1 <= each["base"] <= 1.3
        assert each["why"]


def test_the_packages_of_the_base_commit_come_first(tmp_path: Path) -> None:
    for name in SOURCES:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "packages/seg-registry/src/seg_registry").mkdir()
    (tmp_path / "packages/seg-registry/src/seg_registry/__init__.py").write_text("")
    code = "import _guarded, seg_registry; _guarded.check_tree(); print(seg_registry.__file__)"
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT / 'benchmarks')!r}); {code}"]
    told = subprocess.run(command, env=guard.settings_of(tmp_path), capture_output=True, text=True, check=True).stdout
    assert told.startswith(str(tmp_path))


def test_without_a_base_commit_there_is_the_bare_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.base_of("0" * 40) is None
    assert "only the bare limit" in capsys.readouterr().out
    with guard.checked_out(None) as tree:
        assert tree is None


def test_a_base_is_compared_with_only_where_a_package_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchmarks").mkdir()
    source = tmp_path / "packages/seg-x/src/x.py"
    source.parent.mkdir(parents=True)
    source.write_text("a = 1\n", encoding="utf-8")
    monkeypatch.setattr(guard, "FOLDER", tmp_path)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        guard.git("-c", "user.name=a", "-c", "user.email=a@b", *words)
    monkeypatch.setattr(guard, "FOLDER", tmp_path / "benchmarks")  # from where a path would mean another
    (tmp_path / "benchmarks/y.py").write_text("", encoding="utf-8")
    assert guard.base_of("main") is None
    source.write_text("a = 2\n", encoding="utf-8")
    assert guard.base_of("main") == guard.git("rev-parse", "HEAD")
    with guard.checked_out(guard.base_of("main")) as tree:
        assert (tree / "packages/seg-x/src/x.py").read_text(encoding="utf-8") == "a = 1\n"
    assert not tree.exists()
