"""Files of lines on a disk that is full for a while, and after a resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from seg_runner.files import write_text, write_whole
from seg_runner.log import line_files as lines
from seg_runner.log.fallback_visualizer import FallbackVisualizer
from seg_runner.log.line_files import LineFile, take_out_rows
from seg_runner.log.setup import earlier_sessions


class Disk:
    """Takes so many bytes, then half of a write, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self._write = 10**9, os.write
        monkeypatch.setattr(lines.os, "write", self.write)

    def write(self, handle: int, data: Any) -> int:
        if not self.free:
            raise OSError(28, "No space left on device")
        done = self._write(handle, bytes(data)[: self.free])
        self.free -= done
        return done


def test_a_full_disk_costs_no_line_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, said = Disk(monkeypatch), []
    file = LineFile(tmp_path / "a/x.log", "the log file", said.append)
    for number in range(9):
        if number == 3:
            disk.free = 2
        if number == 6:
            assert (tmp_path / "a/x.log").read_text() == "line 0\nline 1\nline 2\n"
            disk.free = 10**9
        file.write(f"line {number}")
    assert (tmp_path / "a/x.log").read_text().splitlines() == [f"line {number}" for number in range(9)]
    assert len(said) == 2
    assert "No space left on device; its lines are kept for later" in said[0]
    assert said[1] == "the log file is written again"


def test_too_many_lines_are_counted_and_the_last_ones_lacking_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST", 3)
    disk, said = Disk(monkeypatch), []
    file = LineFile(tmp_path / "x.log", "the log file", said.append)
    disk.free = 0
    for number in range(5):
        file.write(str(number))
    file.close()
    assert said[-1] == "the last 3 lines are missing in the log file"
    disk.free = 100
    file.write("5")
    assert (tmp_path / "x.log").read_text().split() == ["3", "4", "5"]
    assert said[-1] == "the log file is written again, 3 lines were lost"


def test_plain_scalars_survive_a_full_disk_and_begin_where_the_checkpoint_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    first = FallbackVisualizer(tmp_path / "20260101_000000")
    for step in range(1, 9):
        disk.free = 0 if 3 <= step < 6 else 10**9
        first.add_scalars({"loss": 0.5, "iter": step, "mode": "train"}, step)
    first.add_scalars({"mIoU": 0.5, "mode": "val"}, 6)
    first.close()
    second = FallbackVisualizer(tmp_path / "20260101_000001")
    earlier = earlier_sessions(tmp_path, tmp_path / "20260101_000001")
    second.resume_from(6, owes_validation=True, log_dir=tmp_path / "20260101_000001", earlier=earlier)
    kept = [json.loads(line) for line in (earlier[0] / "vis_data/scalars.json").read_text().splitlines()]
    assert [row["step"] for row in kept] == [1, 2, 3, 4, 5, 6]
    assert len((earlier[0] / "vis_data/superseded.json").read_text().splitlines()) == 3


def test_sessions_are_in_the_order_of_their_beginning(tmp_path: Path) -> None:
    names = ["20260101_000000", "20260101_000000_2", "20260101_000000_10", "20260101_000001"]
    for name in (*names, "best_models", "20260101_0000", "20270101_000000"):
        (tmp_path / name).mkdir()
    assert [folder.name for folder in earlier_sessions(tmp_path, tmp_path / "20270101_000000")] == names


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert take_out_rows(tmp_path / "x.json", lambda row: True, tmp_path / "y.json") == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stem", ["a" * 250, "ü" * 125, "路" * 83])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.json"
    write_text(path, '{"step": 1}\n{"step": 2}\n')
    assert take_out_rows(path, lambda row: row["step"] > 1, tmp_path / "aside.json") == 1
    assert path.read_text() == '{"step": 1}\n'
    write_whole(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, "aside.json"])
