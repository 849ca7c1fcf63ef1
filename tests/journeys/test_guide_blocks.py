"""Configuration blocks from guides, pasted as they stand at the end of a config: they run.

Those of our own pages, and the peculiarities of the training guide in our own words. That guide is not part of this
project; where it lies beside it, its own blocks run as well.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tree import ROOT
from seg_registry import Config
from seg_runner import Runner

PAGES = ("docs/hooks.md", "docs/optimizers.md")
GUIDE = Path(__file__).resolve().parents[3] / "shared" / "guide.txt"
# The same peculiarities, in our own words: trailing commas, a leftover `_delete_`, dynamic loss scale without CUDA.
OWN = {
    "default hooks": """
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=32000),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
""",
    "custom hooks": "custom_hooks = [\ndict(type='EMAHook', start_iters=500, priority='NORMAL')\n]",
    "plain sgd": """
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001), clip_grad=None)
""",
    "trailing comma": """
optimizer = dict(
    type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.02),
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=optimizer,
    paramwise_cfg=dict(
        custom_keys={
            'pos_embed': dict(decay_mult=0.),
            'cls_token': dict(decay_mult=0.),
            'norm': dict(decay_mult=0.)
        }))
""",
    "layer decay": """
optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0002, betas=(0.9, 0.999), weight_decay=0.02),
    paramwise_cfg={'decay_rate': 0.8, 'decay_type': 'stage_wise', 'num_layers': 12},
    constructor='LearningRateDecayOptimizerConstructor',
    loss_scale='dynamic')
""",
    "nothing to delete": "brand_new = dict(_delete_=True, colour='red')\nmodel = dict(_delete_=False)",
}


def blocks(text: str) -> list[str]:
    """The assignments in a text that is not all code, those of one block together."""
    found: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        end = next((e for e in range(at + 1, len(lines) + 1) if assigns("\n".join(lines[at:e]))), None)
        if end is None or not re.match(r"\w+ = ", lines[at]):
            at += 1
            continue
        piece = "\n".join(lines[at:end])
        joined = bool(found) and found[-1].endswith("),")
        found[-1:] = [found[-1] + "\n" + piece] if joined else [*found[-1:], piece]
        at = end
    return found


def page_blocks() -> list[Any]:
    """The Python blocks of our pages that hold nothing but keys of a config: the other blocks run by themselves.

    Their 500 iterations are 5 here.
    """
    fence = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    return [
        pytest.param(block.replace("=500", "=5"), id=f"{Path(page).stem} {number}")
        for page in PAGES
        for number, block in enumerate(fence.findall((ROOT / page).read_text(encoding="utf-8")))
        if all(isinstance(statement, ast.Assign) for statement in ast.parse(block).body)
    ]


def assigns(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return len(tree.body) == 1 and isinstance(tree.body[0], ast.Assign) and "dict(" in text


def all_blocks() -> list[Any]:
    cases = [pytest.param(text, id=name) for name, text in OWN.items()] + page_blocks()
    if GUIDE.exists():
        cases += [
            pytest.param(text, id=f"guide {n}") for n, text in enumerate(blocks(GUIDE.read_text(encoding="utf-8")))
        ]
    return cases


def run(path: Path, work_dir: Path) -> Runner:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cfg = Config.fromfile(path)
        cfg.work_dir = str(work_dir)
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner


@pytest.mark.parametrize("block", all_blocks())
def test_a_block_runs_pasted_as_it_stands(block: str, write_config: Callable[..., Path], tmp_path: Path) -> None:
    model = "tiny_vit" if "pos_embed" in block or "layer_decay_rate" in block else "tiny_convnext"
    runner = run(write_config(block, model=model, iters=505 if "500" in block else 8), tmp_path / "out")
    assert runner.iter == runner.max_iters
    assert (tmp_path / "out" / f"iter_{runner.max_iters}.pth").exists()
    records = (runner.log_dir / "vis_data" / "scalars.json").read_text(encoding="utf-8").splitlines()
    assert "mIoU" in json.loads(records[-1])


def test_the_guide_has_its_five_blocks() -> None:
    """The search for blocks finds what a reader would: seen on a text like the guide's."""
    text = "Prose = about things\n" + "\n中文\n".join(list(OWN.values())[:5])
    assert len(blocks(text)) == 5
    if GUIDE.exists():
        assert len(blocks(GUIDE.read_text(encoding="utf-8"))) == 5


def test_our_pages_have_their_blocks() -> None:
    """A fence of another kind would take a block out of the tests in silence."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        fences = re.findall(r"^```(\w*)$(?=\n.)", text, flags=re.MULTILINE)
        configs = [one for one in page_blocks() if one.id.startswith(Path(page).stem)]
        assert configs
        assert {fence for fence in fences if fence} <= {"python", "py"}
        assert fences.count("py") <= 1  # a file of one's own beside the config


def test_the_comma_is_reported_once_with_its_place(write_config: Callable[..., Path]) -> None:
    path = write_config(OWN["trailing comma"], model="tiny_vit")
    line = path.read_text(encoding="utf-8").splitlines().index("optimizer = dict(") + 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cfg = Config.fromfile(path)
    told = [str(warning.message) for warning in caught if "comma" in str(warning.message)]
    assert len(told) == 1
    assert f"{path.name}:{line}" in told[0] or f"{path.name}:{line + 1}" in told[0]
    assert cfg.optimizer["type"] == "AdamW"


def test_the_exempted_parameters_get_no_decay(write_config: Callable[..., Path], tmp_path: Path) -> None:
    runner = run(write_config(OWN["trailing comma"], model="tiny_vit", iters=3), tmp_path / "out")
    decay = {
        id(value): group["weight_decay"]
        for group in runner.optim_wrapper.optimizer.param_groups
        for value in group["params"]
    }
    for name, value in runner.model.named_parameters():
        exempt = any(part in name for part in ("pos_embed", "cls_token", "norm"))
        assert decay[id(value)] == (0.0 if exempt else 0.02), name


def test_layer_decay_and_dynamic_scale_work_on_a_cpu(write_config: Callable[..., Path], tmp_path: Path) -> None:
    runner = run(write_config(OWN["layer decay"], iters=3), tmp_path / "out")
    assert type(runner.optim_wrapper).__name__ == "AmpOptimWrapper"
    rates = {
        name: group["initial_lr"]
        for group in runner.optim_wrapper.optimizer.param_groups
        for name, value in runner.model.named_parameters()
        if any(value is one for one in group["params"])
    }
    assert rates["decode_head.conv_seg.weight"] == pytest.approx(2e-4)
    assert rates["backbone.stages.1.0.gamma"] == pytest.approx(2e-4 * 0.8**11)


def test_averaging_begins_where_the_guide_says(write_config: Callable[..., Path], tmp_path: Path) -> None:
    runner = run(write_config(OWN["custom hooks"], iters=505), tmp_path / "out")
    state = torch.load(tmp_path / "out" / "iter_505.pth", weights_only=True)
    assert "ema_state_dict" in state
    averaged = state["state_dict"]["backbone.stages.0.0.gamma"]
    raw = state["ema_state_dict"]["module.backbone.stages.0.0.gamma"]
    assert not torch.equal(averaged, raw)
    assert runner.iter == 505
