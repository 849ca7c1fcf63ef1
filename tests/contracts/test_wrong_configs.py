"""What is wrong in a config file is told before the first step: the key, its file and line, what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import Squares
from seg_registry import Config
from seg_runner import Runner

RIGHT = """\
model = dict(
    type='LogitsModel',
    model=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=3, kernel_size=1),
    loss=dict(type='torch.nn.CrossEntropyLoss', ignore_index=255))
train_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=None)
param_scheduler = [dict(type='PolyLR', by_epoch=False, power=0.9)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2, save_best='mIoU'))
custom_hooks = [dict(type='EMAHook')]
env_cfg = dict(mp_cfg=dict(opencv_num_threads=0))
randomness = dict(seed=0)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
auto_scale_lr = dict(base_batch_size=16)
"""

WRONG = [
    ("out_channels=3", "out_channel=3", 3, "did you mean 'out_channels'"),
    ("torch.nn.CrossEntropyLoss", "torch.nn.CrossEntropyLos", 4, "'CrossEntropyLos' is not a class"),
    ("type='LogitsModel',", "type='LogitsModel', threshold='x',", 2, "threshold must be a number of at least 0"),
    (
        "num_workers=0, sampler=dict(type='Inf",
        "num_workers='x', sampler=dict(type='Inf",
        5,
        "num_workers must be a whole",
    ),
    ("num_workers=0, sampler=dict(type='Inf", "num_workes=0, sampler=dict(type='Inf", 5, "Did you mean 'num_workers'"),
    ("sampler=dict(type='InfiniteSampler', shuffle=True)", "sampler=3", 5, "sampler must be a sampler, or its dict"),
    ("shuffle=True", "shuffle='yes'", 5, "shuffle must be True or False, not 'yes'"),
    ("shuffle=False", "shufle=False", 6, "did you mean 'shuffle'"),
    ("'ValLoop'", "'ValLop'", 7, "did you mean 'ValLoop'"),
    ("'ValLoop'", "'ValLoop', fp16='x'", 7, "val_cfg.fp16 must be True or False"),
    ("['mIoU']", "['mIuO']", 8, "Did you mean 'mIoU'"),
    ("['mIoU']", "['mIoU'], num_classes=4", 8, "num_classes=4, but the data set has 3 classes"),
    ("max_iters=2", "max_iters='2'", 9, "max_iters must be a whole number of at least 0, not '2'"),
    ("max_iters=2", "max_iter=2", 9, "Did you mean 'max_iters'"),
    ("val_interval=2", "dynamic_intervals=[3]", 9, r"pairs (from, interval), as [(1000, 50)]"),
    ("lr=0.1", "lr='x'", 10, "optim_wrapper.optimizer.lr='x' is a str"),
    ("clip_grad=None", "paramwise_cfg=dict(nrm_decay_mult=0)", 10, "Did you mean 'norm_decay_mult'"),
    ("power=0.9", "powr=0.9", 11, "Did you mean 'power'"),
    ("save_best='mIoU'", "save_best='mIuO'", 12, "Did you mean 'mIoU'"),
    ("save_best='mIoU'", "save_best='mDice'", 12, "waits for a metric that validation does not give"),
    ("'EMAHook'", "'EMAHook', priority='LOWW'", 13, "Did you mean 'LOW'"),
    ("dict(type='EMAHook')", "3", 13, "int is not a hook"),
    ("opencv_num_threads", "opencv_num_thread", 14, "Did you mean 'opencv_num_threads'"),
    ("seed=0", "sead=0", 15, "Did you mean 'seed'"),
    ("by_epoch=False)\nlog", "by_epoch=False, window_size='x')\nlog", 16, "window_size must be a whole number"),
    ("'INFO'", "'INF'", 17, "log_level must be one of"),
    ("base_batch_size", "enable=True, base_batch", 18, "Did you mean 'base_batch_size'"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(device='gpu')", 18, "device='gpu' is no device"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(signals=['x'])", 18, "signals: 'x' cannot be handled"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(skip_checks=2)", 18, "seg.skip_checks"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(chekpoint={})", 18, "Did you mean 'checkpoint'"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(train_cfg={})", 18, "write it at the top of the config"),
    ("auto_scale_lr = dict(base_batch_size=16)", "seg = dict(overwrite=True)", 18, "cannot be set in a config"),
    ("auto_scale_lr = dict(base_batch_size=16)", "sge = dict(device='cpu')", 18, "Did you mean 'seg'"),
    ("auto_scale_lr = dict(base_batch_size=16)", "strict_resum = True", 18, "Did you mean 'strict_resume'"),
    ("auto_scale_lr = dict(base_batch_size=16)", "activation_checkpointing = ['hed']", 18, "no module is called 'hed'"),
    ("auto_scale_lr = dict(base_batch_size=16)", "launcher = 'slrum'", 18, "Did you mean 'slurm'"),
]


def runner_of(folder: Path, text: str) -> Runner:
    (folder / "train.py").write_text(text)
    cfg: Any = Config.fromfile(folder / "train.py")
    cfg["work_dir"] = str(folder / "out")
    for mode in ("train", "val"):
        cfg[f"{mode}_dataloader"]["dataset"] = {"type": Batches}
    return Runner.from_cfg(cfg)


class Batches(Squares):
    """Images as floats and masks, as the default collate function stacks them."""

    def __getitem__(self, index: int) -> Any:
        found = super().__getitem__(index)
        return found["inputs"].float(), found["data_samples"].gt_sem_seg.data[0]


def test_a_config_may_hold_a_bare_module_and_its_loss(tmp_path: Path) -> None:
    assert "mIoU" in run(runner_of(tmp_path, collated(RIGHT)))


def collated(text: str) -> str:
    return text.replace("batch_size=4", "collate_fn=dict(type='default_collate'), batch_size=4")


def run(runner: Runner) -> dict[str, Any]:
    runner.train()
    return runner.val()


@pytest.mark.parametrize(("right", "wrong", "line", "text"), WRONG)
def test_a_wrong_value_is_told_with_its_line(tmp_path: Path, right: str, wrong: str, line: int, text: str) -> None:
    assert RIGHT.count(right) == 1
    with pytest.raises((TypeError, ValueError, LookupError)) as caught:
        run(runner_of(tmp_path, collated(RIGHT.replace(right, wrong))))
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert text in told
    assert f"train.py:{line}" in told
    assert not list((tmp_path / "out").glob("*.pth")), "nothing was trained"


MISSPELT = ["laod_from", "modle", "optim_wraper", "train_dataloder", "param_sheduler", "default_hook", "val_evalutor"]
MISSPELT += ["custom_hook", "work_dirs", "env_cgf", "visualiser", "tta_pipline", "custom_import", "Model", "models"]


@pytest.mark.parametrize("key", MISSPELT)
def test_a_misspelt_key_that_nothing_reads_is_an_error(tmp_path: Path, key: str) -> None:
    lines = f"{key} = dict(a=1)\n{key}.update(b=2)\n{key}['c'] = 3\nauto_scale_lr"
    text = collated(RIGHT).replace("auto_scale_lr", lines)
    told = rf"'{key}' \(.*train.py:18\) is no key of a run. Did you mean '(?s:.*)strict_keys"
    with pytest.raises(ValueError, match=told):
        runner_of(tmp_path, text)


@pytest.mark.parametrize("use", ["x = {key}", "x = dict(a=[{key}])", "x = f'{{{key}}}'", "x = 1 if {key} else 2"])
@pytest.mark.parametrize("key", ["modle", "loss_", "hook"])
def test_a_helper_variable_that_is_used_is_free(tmp_path: Path, key: str, use: str) -> None:
    runner_of(tmp_path, f"{key} = [1]\n{use.format(key=key)}\n{collated(RIGHT)}")


@pytest.mark.parametrize("use", ["x = _base_.modle", "x = {{_base_.modle}}", "x = _base_['modle']['a'] + 1"])
def test_a_helper_variable_that_a_child_uses_is_free(tmp_path: Path, use: str) -> None:
    (tmp_path / "base.py").write_text(f"modle = dict(a=1)\n{collated(RIGHT)}")
    runner_of(tmp_path, f"_base_ = 'base.py'\n{use}\n")


def test_a_misspelt_key_of_a_child_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(collated(RIGHT))
    with pytest.raises(ValueError, match=r"'modle' \(.*train.py:2\) is no key of a run. Did you mean 'model'\?"):
        runner_of(tmp_path, "_base_ = 'base.py'\nmodle = dict(head=1)\n")


def test_who_means_it_says_so_and_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner_of(tmp_path, f"strict_keys = False\nmodle = dict(a=1)\n{collated(RIGHT)}")
    assert capsys.readouterr().out.count("is no key of a run. Did you mean 'model'?") == 1


@pytest.mark.parametrize(
    ("slot", "near"), [("chekpoint", "checkpoint"), ("loger", "logger"), ("visualizaton", "visualization")]
)
def test_a_misspelt_default_hook_is_an_error(tmp_path: Path, slot: str, near: str) -> None:
    text = f"{collated(RIGHT)}\ndefault_hooks = dict({slot}=dict(type='IterTimerHook'))\n"
    with pytest.raises(ValueError, match=rf"default_hooks.{slot} \(.*train.py:\d+\) would be added .*'{near}'"):
        runner_of(tmp_path, text)
    runner_of(tmp_path, f"{text}strict_keys = False\n")


def test_a_missing_key_is_told_with_the_one_like_it(tmp_path: Path) -> None:
    text = RIGHT.replace("model = dict(", "modl = dict(")
    with pytest.raises(ValueError, match=r"'modl' \(.*train.py:1\) is no key of a run. Did you mean 'model'"):
        runner_of(tmp_path, text)
    with pytest.raises(KeyError, match=r"the config has no 'model'.*Did you mean it by 'modl' \(.*train.py:1\)"):
        runner_of(tmp_path, f"{text}\nstrict_keys = False\n")
