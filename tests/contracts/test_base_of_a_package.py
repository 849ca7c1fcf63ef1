"""A base `package::path` writes `_scope_` beside every `type`; the parts that are looked up here first do not mind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from seg_registry import Config
from seg_runner import Runner

TRAIN = """
model = dict(
    type='LogitsModel',
    model=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=2, kernel_size=1),
    loss=dict(type='torch.nn.CrossEntropyLoss'))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
val_cfg = None
optim_wrapper = dict(
    type='OptimWrapper', constructor='DefaultOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.1))
param_scheduler = [dict(type='PolyLR', by_epoch=False, begin=0, end=2)]
log_processor = dict(type='LogProcessor', by_epoch=False)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
"""


def test_a_run_on_a_base_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack_of_bases" / "configs").mkdir(parents=True)
    (tmp_path / "pack_of_bases" / "__init__.py").touch()
    (tmp_path / "pack_of_bases" / "configs" / "base.py").write_text(TRAIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a.py").write_text("_base_ = 'pack_of_bases::base.py'", encoding="utf-8")
    cfg = Config.fromfile(tmp_path / "a.py")
    assert cfg.train_cfg["_scope_"] == "pack_of_bases"
    net = cfg.model.copy()  # whose own registry knows what a scope is
    net.pop("_scope_")
    loader = [(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))] * 2
    parts = {key: cfg[key] for key in cfg if key != "model"}
    runner = Runner.from_cfg({**parts, "model": net, "train_dataloader": loader, "work_dir": str(tmp_path / "run")})
    runner.train()
    assert runner.iter == 2
