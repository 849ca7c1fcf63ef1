"""The page on performance is made of what the benchmarks have printed, and of nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.ranks import on_ranks
from helpers.tree import ROOT

RECORDS = sorted((ROOT / "docs/performance").glob("*.json"))
TABLE = """
import sys
sys.path.insert(0, {folder!r})
from _measure import print_table
print_table("a title", ["who", "ms"], [["ours", "1.0"], ["", "2.0"]])
"""


@pytest.fixture(scope="module")
def recorder() -> dict[str, Any]:
    return run_path(str(ROOT / "benchmarks/_record.py"))


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    return run_path(str(ROOT / "benchmarks/_page.py"))


def test_a_printed_table_is_kept_with_the_machine(recorder: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "tables"
    code = TABLE.format(folder=str(ROOT / "benchmarks"))
    environment = {**os.environ, recorder["TABLES"]: str(lines)}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "a title" in printed.stdout
    recorder["keep"]("ema", lines, 0.5, tmp_path / "kept")
    record = json.loads((tmp_path / "kept/ema.json").read_text(encoding="utf-8"))
    assert record["tables"] == [{"title": "a title", "header": ["who", "ms"], "rows": [["ours", "1.0"], ["", "2.0"]]}]
    assert record["command"] == "./run bench ema"
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["versions"]["python"].startswith("3.")


def test_a_benchmark_without_a_table_is_not_kept(recorder: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ema has made no table"):
        recorder["keep"]("ema", tmp_path / "none", None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_the_option_nothing_is_kept(tmp_path: Path) -> None:
    code = TABLE.format(folder=str(ROOT / "benchmarks"))
    environment = {name: value for name, value in os.environ.items() if name != "SEG_BENCH_TABLES"}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert not list(tmp_path.iterdir())


def on_a_rank(folder: Path) -> tuple[Any, list[list[str]]]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from ranks import on_this_rank, rows_of  # type: ignore[import-not-found]  # beside the benchmarks

    found = on_this_rank(folder, turns=2, every=3)
    return found, rows_of([found])[1]


def test_every_loop_takes_its_turns_on_two_ranks(tmp_path: Path) -> None:
    for found, rows in on_ranks(2, tmp_path / "ranks", on_a_rank, tmp_path / "runs"):
        assert {"bare DDP", "bare DDP again", "ours", "ours, TrainState"} <= set(found)
        assert all(seconds > 0 for kinds in found.values() for turns in kinds for seconds in turns)
        assert all(len(turns) == 2 for kinds in found.values() for turns in kinds)
        assert [len(row) for row in rows] == [7] * len(found)
        assert rows[0] == ["bare DDP", "0", "0", "0", "0", "0", "1.000"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_of_a_benchmark(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (ROOT / "benchmarks" / f"{path.stem}.py").is_file()
    assert record["command"] == f"./run bench {path.stem}"
    assert record["tables"]


def test_page_and_plots_are_what_the_records_make(page: dict[str, Any]) -> None:
    made = page["pages"](ROOT / "docs/performance")
    differ = [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    assert not differ, "make them anew: ./run bench --page docs/performance"
    assert set((ROOT / "docs/performance").glob("*.svg")) == {path for path in made if path.suffix == ".svg"}


def test_each_plot_is_well_formed_and_shows_ours(page: dict[str, Any]) -> None:
    for path, text in page["pages"](ROOT / "docs/performance").items():
        if path.suffix == ".svg":
            drawn = ElementTree.fromstring(text)
            places = [float(each.get("cx", "nan")) for each in drawn.iter("{http://www.w3.org/2000/svg}circle")]
            assert places
            assert all(200 < place < 640 for place in places)


RECORD = {
    "command": "./run bench ema",
    "day": "2026-01-02",
    "commit": "0123456789abcdef",
    "machine": {"processor": "a CPU", "cores": 2, "memory": 8 << 30, "load": 0.25},
    "versions": {"python": "3.11.7"},
}


def test_the_page_has_goals_plots_and_who_was_missing(page: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "performance").mkdir()
    ours = {"value": {}, "ratio": {"low": 1.0, "median": 1.5, "high": 2.0}}
    figures = {
        "contestants": {"bare <1>": {"ratio": dict.fromkeys(("low", "median", "high"), 1.0)}, "ours": ours},
        "absent": {"theirs": "not installed: theirs\nmore"},
        "goals": [{"contestant": "ours", "asked": "at most 1 x", "seen": "1.50 x", "verdict": "**not reached**"}],
    }
    tables = [{"title": "a | b", "header": ["", "ms"], "rows": [["ours", "1"]], "figures": figures}]
    (tmp_path / "performance/ema.json").write_text(json.dumps({**RECORD, "tables": tables}), encoding="utf-8")
    page["write"](tmp_path / "performance")
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "Of 1 goals 0 are reached" in text
    assert "| ema: a \\| b | ours | at most 1 x | 1.50 x | **not reached** |" in text
    assert "- theirs: not installed: theirs\n" in text
    assert "a CPU, 2 cores, 8 GiB; 0.2 processes at work" in text
    assert "commit 012345678:" in text
    assert "bare &lt;1&gt;" in (tmp_path / "performance/ema-1.svg").read_text(encoding="utf-8")
    (tmp_path / "performance/ema.json").unlink()
    page["write"](tmp_path / "performance")
    assert not list((tmp_path / "performance").iterdir())  # a plot goes with its record


def test_a_column_of_ratios_makes_a_plot_where_there_are_no_figures(page: dict[str, Any]) -> None:
    table = {"header": ["", "ms", "x torch"], "rows": [["a", "1", "1.00"], ["b", "2", "-"], ["c", "2", "2.0"]]}
    assert page["bars_of"](table) == ("times torch", [("a", 1.0, 1.0, 1.0), ("c", 2.0, 2.0, 2.0)])
    assert page["bars_of"]({"header": ["", "ms"], "rows": [["a", "1"]]}) == ("", [])
