"""`./run moves` beside the training itself: which configs, what a worker that dies costs, what is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import moves
import moves_table
import moves_workers
import pytest
from helpers.tree import ROOT
from moves_widths import narrow
from seg_registry import ConfigDict

NAMES = ["ann/a.py", "ann/b.py", "beit/c.py", "ccnet/d.py", "danet/e.py"]
WORKER = """
import json, os, sys, time
for line in sys.stdin:
    name = line.strip()
    if "dies" in name: os._exit(3)
    if "sleeps" in name: time.sleep(600)
    print(json.dumps({"config": name, "family": name[0], "kind": "own model", "reason": "", "seconds": os.getpid()}))
    sys.stdout.flush()
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(moves_workers, "SCRIPT", tmp_path / "worker.py")


def test_shards_are_parts_of_all() -> None:
    shards = [moves.chosen(NAMES, [], f"{part}/3") for part in (1, 2, 3)]
    assert sorted(name for shard in shards for name in shard) == NAMES
    assert moves.chosen(NAMES, ["beit", "e.py"]) == ["beit/c.py", "danet/e.py"]
    with pytest.raises(ValueError, match="--shard 4/3"):
        moves.chosen(NAMES, [], "4/3")


@pytest.mark.usefixtures("workers")
def test_a_config_that_ends_its_process_costs_no_other() -> None:
    rows = {row["config"]: row for row in moves_workers.rows(["a", "dies", "b"], steps=2, jobs=1, limit=600)}
    assert [rows[one]["kind"] for one in ("a", "dies", "b")] == ["own model", "failed", "own model"]
    assert "ended with code 3" in rows["dies"]["reason"]


@pytest.mark.usefixtures("workers")
def test_a_config_that_takes_too_long_is_ended() -> None:
    (row,) = moves_workers.rows(["sleeps"], steps=2, jobs=1, limit=0.5)
    assert (row["kind"], row["reason"]) == ("failed", "not done after 0.5 seconds")


@pytest.mark.usefixtures("workers")
def test_a_worker_handles_several_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_workers, "EACH", 2)
    processes = [row["seconds"] for row in moves_workers.rows(["a", "b", "c"], steps=2, jobs=1, limit=60)]
    assert processes[0] == processes[1] != processes[2]


@pytest.mark.usefixtures("workers")
def test_rows_that_ran_are_kept_and_others_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: {"config": name, "family": name[0], "kind": kind, "reason": "", "seconds": 0} for name, kind in
            (("a/ran.py", "own model"), ("b/failed.py", "failed"))}  # fmt: skip
    moves.write(tmp_path / "rows", kept)
    monkeypatch.setattr(moves, "experiments", lambda: ["a/ran.py", "b/failed.py", "c/dies.py"])
    monkeypatch.setattr(sys, "argv", ["moves", "--jobs", "1", "--json", str(tmp_path / "rows")])
    assert moves.main() == 1
    rows = moves.read(tmp_path / "rows")
    assert rows["a/ran.py"] == kept["a/ran.py"]
    assert rows["b/failed.py"]["kind"] == "own model"
    assert "| all | 3 | 2 | – | – | – | 1 |" in capsys.readouterr().out


def test_some_rows_are_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_table, "DOCUMENT", tmp_path / "moves.md")
    monkeypatch.setattr(moves, "experiments", lambda: NAMES)
    monkeypatch.setattr(sys, "argv", ["moves", "no-such-config", "--record"])
    assert moves.main() == 1
    assert not (tmp_path / "moves.md").exists()


def test_reasons_name_their_configs() -> None:
    rows = [
        {"config": f"{kind[0]}/{index}.py", "family": kind[0], "kind": kind, "reason": why, "seconds": 1}
        for index, (kind, why) in enumerate([("own model", ""), ("failed", "x"), ("failed", "x"), ("stand-in", "y")])
    ]
    said = moves_table.summary(rows).splitlines()
    assert said[-2:] == ["- failed, `x`: `f/1.py`, `f/2.py`", "- stand-in, y: `s/3.py`"]
    assert "| all | 4 | 1 | 1 | – | – | 2 | 1.0 |" in said


RESNET: dict[str, Any] = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNetV1c", "depth": 101, "in_channels": 3},
    "decode_head": {"type": "FCNHead", "in_channels": [1024, 2048], "channels": 512, "num_classes": 19},
}


def test_widths_that_meet_are_divided_together() -> None:
    model = ConfigDict(json.loads(json.dumps(RESNET)))
    assert narrow(model) == ["depth 101 to 50", "widths / 4"]
    assert model.backbone == {
        "type": "ResNetV1c", "depth": 50, "in_channels": 3, "base_channels": 16, "stem_channels": 16,
    }  # fmt: skip
    assert model.decode_head == {"type": "FCNHead", "in_channels": [256, 512], "channels": 128, "num_classes": 19}


def test_a_binary_head_keeps_its_channel_for_each_class() -> None:
    model = ConfigDict(json.loads(json.dumps(RESNET)))
    model.decode_head.update(num_classes=64, out_channels=64)
    narrow(model)
    assert model.decode_head.out_channels == 64


def test_the_page_says_what_wrote_it() -> None:
    text = (ROOT / "docs/moves.md").read_text(encoding="utf-8")
    assert text.startswith(moves_table.PAGE.partition("Each of")[0])


def test_the_options_are_told() -> None:
    done = subprocess.run([sys.executable, "scripts/moves.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--steps", "--jobs", "--shard", "--json", "--record"))
