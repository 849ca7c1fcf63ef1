"""What is said of checkpoint files, and what they become."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.migration import report_on, said
from seg_runner import CheckpointError, read_checkpoint

from seg_engine.migrate.checkpoints import convert
from seg_engine.migrate.project import look_at

WEIGHTS = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}
META: dict[str, Any] = {"epoch": 2, "iter": 40, "mmengine_version": "0.10.7", "dataset_meta": {"classes": ("a", "b")}}
RUN = {
    "state_dict": WEIGHTS,
    "ema_state_dict": {"module.conv.weight": torch.ones(2, 3), "steps": torch.tensor(3)},
    "meta": {**META, "cfg": "model = dict()"},
    "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}, {"lr": 0.1, "params": [1]}]},
    "param_schedulers": [{"last_step": 3}],
    "message_hub": {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}},
}


def facts_of(folder: Path, content: object) -> dict[str, str]:
    torch.save(content, folder / "a.pth")
    return look_at(folder / "a.pth").facts


def test_a_run_of_mmengine(tmp_path: Path) -> None:
    assert facts_of(tmp_path, RUN) == {
        "written by": "MMEngine",
        "weights": "2 tensors, 8 numbers",
        "kept in": "float32",
        "average": "averaged weights in state_dict, those of the last step in ema_state_dict",
        "optimizer": "one, 2 groups",
        "schedulers": "1",
        "stands at": "epoch 2, iter 40",
        "classes": "2: a, b",
        "config": "in the file",
    }
    assert look_at(tmp_path / "a.pth").code == 0


@pytest.mark.parametrize(
    ("content", "facts", "note"),
    [
        (WEIGHTS, {"written by": "weights alone (a state_dict)"}, "its weights load"),
        ({"state_dict": WEIGHTS, "meta": META}, {"classes": "2: a, b"}, "its weights load"),
        (
            {"state_dict": WEIGHTS, "meta": {"mmcv_version": "1.7", "CLASSES": list("abcdef")}, "optimizer": {"a": {}}},
            {"written by": "mmcv 1.x", "classes": "6: a, b, c, d, ...", "optimizer": "1: a"},
            "its weights load (load_from); a run of mmcv 1.x cannot go on",
        ),
        ({**RUN, "param_schedulers": {"g": [{}], "d": [{}, {}]}}, {"schedulers": "g: 1, d: 2"}, ""),
    ],
)
def test_other_files(tmp_path: Path, content: object, facts: dict[str, str], note: str) -> None:
    found = facts_of(tmp_path, content)
    assert facts.items() <= found.items()
    report = look_at(tmp_path / "a.pth")
    assert report.code == 0
    assert note in " ".join(said(report, "note"))


def test_a_file_without_weights_says_where_to_look(tmp_path: Path) -> None:
    facts_of(tmp_path, {"net": {"a": torch.ones(1)}, "step": 3})
    (found,) = look_at(tmp_path / "a.pth").findings
    assert (found.level, "its keys: net, step" in found.what) == ("change", True)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("optimizer", {"state": 3, "param_groups": 4}),
        ("optimizer", {"state": 3, "param_groups": [{}]}),
        ("optimizer", {"a": 1}),
        ("optimizer", "x"),
        ("message_hub", 4),
        ("message_hub", {"log_scalars": 4}),
        ("param_schedulers", "x"),
        ("param_schedulers", {"a": 1}),
        ("param_schedulers", [1]),
        ("meta", 4),
        ("meta", {"iter": "two"}),
        ("meta", {"dataset_meta": 3}),
        ("ema_state_dict", 4),
    ],
)
def test_a_part_that_is_something_else_is_named(tmp_path: Path, name: str, part: object) -> None:
    """Alone, and in a folder, where the rest of the report is there all the same."""
    facts = facts_of(tmp_path, {**RUN, name: part})
    assert facts["weights"] == "2 tensors, 8 numbers"
    alone = look_at(tmp_path / "a.pth")
    (line,) = said(alone, "unread")
    assert line.startswith(f"{tmp_path / 'a.pth'}: its {name} cannot be read: {type(part).__name__}")
    report = report_on(tmp_path, {"run.sh": "python tools/train.py a.py\n"})
    assert (alone.code, report.code) == (2, 2)
    assert said(report) == ["run.sh:1: tools/train.py is MMSegmentation's"]
    assert [each.file for each in report.findings if each.level == "unread"] == ["a.pth"]


def test_versions_of_another_shape_say_nothing(tmp_path: Path) -> None:
    assert facts_of(tmp_path, {**RUN, "meta": {**META, "versions": 3}})["written by"] == "MMEngine"


@pytest.mark.parametrize("to", ["seg", "mmengine"])
@pytest.mark.parametrize("content", [{}, {"state_dict": [1]}, {"state_dict": {}}, {**RUN, "optimizer": 3}])
def test_what_does_not_load_is_not_converted(tmp_path: Path, to: str, content: object) -> None:
    facts_of(tmp_path, content)
    without = look_at(tmp_path / "a.pth")
    report = convert(tmp_path / "a.pth", to, tmp_path / "new" / "b.pth")
    assert (report.findings, report.code) == (without.findings, without.code)
    assert report.code in (1, 2)
    assert not (tmp_path / "new").exists()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("touched",))


def test_a_file_that_would_run_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "x": Harmful()}, "a.pth")
    report = look_at(tmp_path / "a.pth")
    assert (report.code, Path("touched").exists()) == (1, False)
    assert "unsafe=True" in report.findings[0].what


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04ab", pickle.dumps([1]), b"text", b"\x80\x02" + b"(" * 10_000])
def test_what_is_no_checkpoint_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    assert look_at(tmp_path / "a.pth").code == 2
    assert report_on(tmp_path, {}).code == 2


def test_a_file_of_ours_and_back(tmp_path: Path) -> None:
    torch.save({**RUN, "hooks": {"Mine": {}}, "data": {"iteration": 3}}, tmp_path / "theirs.pth")
    to_seg = convert(tmp_path / "theirs.pth", "seg", tmp_path / "new" / "ours.pth")
    assert to_seg.facts["now in"].endswith("ours.pth (for seg)")
    ours = torch.load(tmp_path / "new" / "ours.pth", weights_only=True)
    assert torch.equal(ours["state_dict"]["conv.weight"], WEIGHTS["conv.weight"])
    convert(tmp_path / "new" / "ours.pth", "mmengine", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == set(RUN)
    assert back["meta"] == RUN["meta"]
    assert not list(tmp_path.rglob("*.part"))
    assert read_checkpoint(tmp_path / "back.pth")["meta"]["iter"] == 40


def test_nothing_is_overwritten_and_a_broken_file_leaves_none(tmp_path: Path) -> None:
    torch.save(RUN, tmp_path / "a.pth")
    with pytest.raises(FileExistsError, match="is there"):
        convert(tmp_path / "a.pth", "seg", tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError):
        convert(tmp_path / "b.pth", "mmengine", tmp_path / "c.pth")
    assert not (tmp_path / "c.pth").exists()
