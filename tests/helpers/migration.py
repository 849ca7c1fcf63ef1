"""A project as people write them, in a folder, and the report on it."""

from __future__ import annotations

from pathlib import Path

from seg_engine.migrate.findings import Report
from seg_engine.migrate.project import look_at

CONFIG = """
model = dict(type='Segmentor', backbone=dict(type='TinyConvNeXt'), decode_head=dict(type='FuseHead', num_classes=2))
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='BaseSegDataset', pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
randomness = dict(seed=0, stream='mmengine')
"""
"""A config of which everything is here and nothing differs."""


def report_on(folder: Path, files: dict[str, str]) -> Report:
    """Write files below a folder, `CONFIG` in place of {config}, and look at the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{config}", CONFIG), encoding="utf-8")
    return look_at(folder)


def said(report: Report, level: str = "change") -> list[str]:
    """Return `place: what` of each finding of a level."""
    return [f"{each.place}: {each.what}" for each in report.findings if each.level == level]
