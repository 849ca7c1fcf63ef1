"""The tables of the page on performance are those that the benchmarks have printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from helpers.ranks import on_ranks
from helpers.tree import ROOT

PAGE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
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
def test_a_record_is_of_a_benchmark_and_on_the_page(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (ROOT / "benchmarks" / f"{path.stem}.py").is_file()
    assert record["command"] == f"./run bench {path.stem}"
    assert record["tables"]
    assert f"{{benchmark}} {path.stem}\n" in PAGE


def test_every_table_of_the_page_is_a_record() -> None:
    assert set(re.findall(r"\{benchmark\} (\w+)", PAGE)) == {path.stem for path in RECORDS}


def test_no_figure_is_written_by_hand() -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", PAGE, flags=re.DOTALL)
    assert not re.findall(r"\d+\.\d+|\d+ ?(?:ms|%|times)", text)
