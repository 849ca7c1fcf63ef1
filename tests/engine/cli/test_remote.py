"""`seg train`, `seg test` and `seg predict` with addresses where folders and files are usual."""

from __future__ import annotations

import sys

import fsspec
from helpers.small_config import small_config

from seg_engine.cli import main


def test_a_run_at_an_address_is_trained_gone_on_with_and_tested(tmp_path, scenes, monkeypatch, capsys):
    monkeypatch.setenv("SEG_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small_config(tmp_path / "c.py", scenes, iters=4)
    address = "memory://cli/runs/a"
    assert main(["train", "c.py", "--work-dir", address]) == 0
    files, root = fsspec.core.url_to_fs(address)
    names = [name.removeprefix(f"{root}/") for name in files.find(root)]
    assert {"iter_4.pth", "last_checkpoint", "c.py"} <= set(names)
    assert any(name.endswith("vis_data/scalars.json") for name in names)
    assert main(["train", "c.py", "--work-dir", address]) == 1
    assert "an earlier run has left" in capsys.readouterr().err
    assert main(["train", "c.py", "--work-dir", address, "--resume", "--cfg-options", "train_cfg.max_iters=6"]) == 0
    assert "Resumed from" in capsys.readouterr().out
    assert files.exists(f"{root}/iter_6.pth")
    assert main(["test", "c.py", f"{address}/iter_6.pth", "--work-dir", "out"]) == 0
    assert "mIoU" in capsys.readouterr().out
    pictures = str(next(scenes.rglob("*.jpg"), None) or next(scenes.rglob("*.png")))
    assert main(["predict", f"{address}/iter_6.pth", pictures, "--out", "p"]) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("memory")]


def test_a_protocol_without_its_package_is_one_line(tmp_path, scenes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.chdir(tmp_path)
    small_config(tmp_path / "c.py", scenes, iters=4)
    assert main(["train", "c.py", "--work-dir", "s3://bucket/runs/a"]) == 1
    said = capsys.readouterr()
    assert "pip install s3fs" in said.err
    assert "Traceback" not in said.err + said.out
