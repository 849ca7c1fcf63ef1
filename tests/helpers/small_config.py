"""Small whole configs for journeys: the demo's own, on a few scenes and with a tiny network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = Path(str(files("seg_engine.demo"))) / "configs"

SMALL = """
crop_size = (32, 32)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 64), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=2, num_workers={workers}, persistent_workers={persistent},
    dataset=dict(data_root='{scenes}', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=3, num_workers=0, persistent_workers=False, dataset=dict(data_root='{scenes}', pipeline=test_pipeline))
test_dataloader = val_dataloader
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(vis_backends=vis_backends)
train_cfg = dict(max_iters={iters}, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=2, end={iters}, by_epoch=False)]
model = dict({model})
"""
MODELS = {
    "tiny_convnext": """
    data_preprocessor=dict(size=crop_size),
    backbone=dict(depths=(1, 1), channels=(4, 8)),
    decode_head=dict(in_channels=[4, 8], in_index=[0, 1], channels=8),
    auxiliary_head=dict(in_channels=8, in_index=1, channels=4)""",
    "tiny_vit": """
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=32, patch_size=4, embed_dims=16, num_layers=1, num_heads=2),
    decode_head=dict(in_channels=[4, 8, 16], in_index=[0, 1, 2], channels=8)""",
}


def small_config(
    path: Path, scenes: Path, extra: str = "", *, model: str = "tiny_convnext", iters: int = 4, workers: int = 0
) -> Path:
    """Write a config on top of the demo's bases; `extra` is pasted at the end."""
    parts = [f"models/{model}", "datasets/street_scenes", "default_runtime", "schedules/schedule_1400"]
    bases = [str(SHIPPED / "_base_" / f"{part}.py") for part in parts]
    network = MODELS[model] + ","
    small = SMALL.format(scenes=scenes, iters=iters, workers=workers, persistent=workers > 0, model=network)
    path.write_text(f"_base_ = {bases!r}\n{small}\n{extra}\n", encoding="utf-8")
    return path
