"""What a command imports in a real process: nothing that its run has no use for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_engine.demo.scenes import PALETTE

UNUSED = {"matplotlib", "mlflow", "pandas", "rich", "tensorboard", "tensorflow", "wandb", "IPython", "scipy"}
COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
COMMAND = """
import json, sys
from seg_engine.cli import main
assert main(sys.argv[1:]) == 0
print(json.dumps(sorted(sys.modules)))
"""
CONFIG = f"""
loader = dict(batch_size=2, num_workers=0, dataset=dict(type='BaseSegDataset', data_root='data', img_suffix='.png',
    seg_map_suffix='.png', data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes=['a', 'b'], palette={[list(colour) for colour in PALETTE[:2]]}),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
train_dataloader = dict(loader, sampler=dict(type='InfiniteSampler'))
val_dataloader = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = dict(type='IoUMetric')
val_cfg = dict(type='ValLoop')
model = dict(type='Segmentor', network=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=2, kernel_size=1),
    data_preprocessor=dict(type='SegDataPreProcessor', size=(8, 8), seg_pad_val=255))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
param_scheduler = [dict(type='PolyLR', by_epoch=False, begin=0, end=2)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False))
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
custom_hooks = [dict(type='EMAHook')]
work_dir = 'out'
"""


def modules_of(folder: Path, *words: str) -> set[str]:
    """The modules that a process of this command has imported at its end."""
    command = [sys.executable, "-c", COMMAND, *words]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return set(json.loads(run.stdout.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A folder in which `seg train` ran, and what it imported."""
    folder = tmp_path_factory.mktemp("start_up")
    for kind, shape in (("images", (8, 8, 3)), ("labels", (8, 8))):
        (folder / "data" / kind).mkdir(parents=True)
        for index in range(2):
            (folder / f"data/{kind}/{index}.png").write_bytes(
                cv2.imencode(".png", np.full(shape, index, np.uint8))[1].tobytes()
            )
    (folder / "config.py").write_text(CONFIG, encoding="utf-8")
    return folder, modules_of(folder, "train", "config.py")


def test_training_imports_no_library_that_it_does_not_use(trained: tuple[Path, set[str]]) -> None:
    assert not packages(trained[1]) & UNUSED


def test_predicting_imports_no_library_that_it_does_not_use(trained: tuple[Path, set[str]]) -> None:
    """The compiler of torch takes two seconds; a model that a stranger's file describes is built without it."""
    modules = modules_of(trained[0], "predict", "out/iter_2.pth", "data/images", "--out", "predicted")
    assert (trained[0] / "predicted/labels/1.png").exists()
    assert not packages(modules) & UNUSED
    assert not modules & COMPILER
