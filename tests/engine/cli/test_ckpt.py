"""`seg ckpt convert`: a set of files into one file and back, to the last bit; and the verbs that take a set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from engine.test_predict import checkpoint
from runner.distributed.test_checkpoints import assert_equal
from seg_runner import export_safetensors, load_weights, read_checkpoint
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.checkpoint.several.layout import is_set
from seg_runner.checkpoint.write import write_checkpoint

from seg_engine.cli import main


def content(bad: bool = False) -> dict:
    weight, other = torch.randn(2, 40, 40, generator=torch.Generator().manual_seed(0)).clone().unbind()
    weight = weight.clone()
    state = {"exp_avg": weight * 2, "step": torch.tensor(3.0)}
    if bad:
        weight[0, 0] = float("nan")
    return {
        "meta": {"iter": 7, "epoch": 0, "generation": 1, "run_id": "x", "cfg": ""},
        "state_dict": {"a": weight, "tied": weight, "half": weight.bfloat16(), "t": other.t(), "row": other[0]},
        "optimizer": {"state": {0: state}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "hooks": {"Some": {"names": ("x", 1), "seen": {1, 2}, "value": None}},
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "iter_7.pth", content())
    return tmp_path / "iter_7.pth"


@pytest.mark.parametrize("bad", [False, True])
def test_a_file_becomes_a_set_and_a_file_again_byte_for_byte(tmp_path, bad, capsys):
    write_checkpoint(tmp_path / "a.pth", content(bad))
    assert main(["ckpt", "convert", str(tmp_path / "a.pth"), str(tmp_path / "b.pth")]) == 0
    assert is_set(tmp_path / "b.pth")
    verify_checkpoint(tmp_path / "b.pth")
    assert read_place(tmp_path / "b.pth") == read_place(tmp_path / "a.pth")
    if not bad:
        assert_equal(read_checkpoint(tmp_path / "b.pth"), read_checkpoint(tmp_path / "a.pth"))
    assert main(["ckpt", "convert", str(tmp_path / "b.pth"), str(tmp_path / "c.pth")]) == 0
    assert (tmp_path / "c.pth").read_bytes() == (tmp_path / "a.pth").read_bytes()
    said = capsys.readouterr().out
    assert "b.pth: a set of files" in said
    assert "c.pth: a file" in said


def test_what_is_there_is_replaced_only_when_it_is_said(tmp_path, file, capsys):
    target = tmp_path / "set.pth"
    assert main(["ckpt", "convert", str(file), str(target)]) == 0
    before = {each.name: each.read_bytes() for each in target.iterdir()}
    assert main(["ckpt", "convert", str(file), str(target)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert {each.name: each.read_bytes() for each in target.iterdir()} == before
    assert main(["ckpt", "convert", "--overwrite", str(file), str(target)]) == 0
    whole = tmp_path / "whole.pth"
    whole.write_bytes(b"something")
    assert main(["ckpt", "convert", str(target), str(whole)]) == 1
    assert whole.read_bytes() == b"something"
    assert main(["ckpt", "convert", str(target), str(whole), "--overwrite"]) == 0
    assert whole.read_bytes() == file.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["iter_7.pth", "set.pth", "whole.pth"]


@pytest.mark.parametrize(
    ("target", "words"),
    [("iter_7.pth", "is, or lies in"), ("folder", "a folder with other things"), ("iter_7.pth/x", "is, or lies in")],
)
def test_places_that_cannot_be_meant_are_refused(tmp_path, file, target, words, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    assert main(["ckpt", "convert", str(file), str(tmp_path / target), "--overwrite"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine"
    verify_checkpoint(file)


def test_a_damaged_source_makes_nothing(tmp_path, file, capsys):
    assert main(["ckpt", "convert", str(file), str(tmp_path / "set.pth")]) == 0
    shards = tmp_path / "set.pth" / "rank_0.shards"
    shards.write_bytes(shards.read_bytes()[:-1])
    for source in ("set.pth", "nothing.pth"):
        assert main(["ckpt", "convert", str(tmp_path / source), str(tmp_path / "out.pth")]) == 1
        assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists()


def test_another_action_is_an_error_of_the_command_line(capsys):
    with pytest.raises(SystemExit) as left:
        main(["ckpt", "melt", "a", "b"])
    assert left.value.code == 2
    assert "convert" in capsys.readouterr().err


def test_what_takes_a_file_takes_a_set(tmp_path, file):
    main(["ckpt", "convert", str(file), str(tmp_path / "set.pth")])
    model = torch.nn.Linear(40, 40, bias=False)
    report = load_weights(model, {"weight": read_checkpoint(tmp_path / "set.pth")["state_dict"]["a"]})
    assert report.whole
    torch.testing.assert_close(model.weight.detach(), content()["state_dict"]["a"], rtol=0, atol=0)
    pytest.importorskip("safetensors")
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    assert export_safetensors(file, one).read_bytes() == export_safetensors(tmp_path / "set.pth", other).read_bytes()


def test_images_are_segmented_with_a_set_as_with_a_file(tmp_path, capsys):
    whole, parts = checkpoint(tmp_path / "a.pth"), tmp_path / "set.pth"
    assert main(["ckpt", "convert", str(whole), str(parts)]) == 0
    cv2.imwrite(str(tmp_path / "photo.png"), np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    for name, file in (("one", whole), ("other", parts)):
        assert main(["predict", str(file), str(tmp_path / "photo.png"), "--out", str(tmp_path / name)]) == 0
    folders = tmp_path / "one", tmp_path / "other"
    one, other = ({p.relative_to(d): p.read_bytes() for p in d.rglob("*.png")} for d in folders)
    assert one == other != {}


def test_an_own_loop_that_meets_a_set_says_how_one_file_is_made_of_it(tmp_path, file):
    from seg_hooks.own_loop.find_checkpoint import read_whole

    main(["ckpt", "convert", str(file), str(tmp_path / "set.pth")])
    with pytest.raises(ValueError, match="seg ckpt convert"):
        read_whole(tmp_path / "set.pth")
