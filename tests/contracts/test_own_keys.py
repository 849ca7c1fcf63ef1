"""Top-level names of a config are its own: what is this runner's lies under `seg`, or is told by its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, parse_options
from seg_runner import Runner
from seg_runner.assembly.arguments import CONFIG_KEYS, OWN, OWN_KEYS
from seg_runner.assembly.own_keys import COMMON, UNMISTAKABLE

TRAIN = """\
model = dict(
    type='LogitsModel',
    model=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=2, kernel_size=1),
    loss=dict(type='torch.nn.CrossEntropyLoss'))
train_dataloader = dict(batch_size=2, dataset=dict(type='torch.utils.data.TensorDataset'))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
"""

THEIRS = {
    "checkpoint": "'https://download.openmmlab.com/mit_b0.pth'",
    "device": "'gpu:all'",
    "loss": "[dict(type='CrossEntropyLoss')]",
    "hooks": "['EMAHook']",
    "signals": "['t1', 't2']",
    "log_interval": "'50'",
    "load_options": "'fast'",
    "channels_last": "1",
    "strict_keys": "'no'",
    "strict_paths": "[]",
    "strict_resume": "'auto'",
    "remote": "'origin'",
    "resume_data": "'/data'",
    "skip_checks": "['ruff']",
}
"""A value of each own key that is none of ours."""

OURS = {
    "checkpoint": "dict(async_save=True)",
    "device": "'cpu'",
    "hooks": "[dict(type='IterTimerHook')]",
    "signals": "['SIGTERM']",
    "log_interval": "7",
    "load_options": "dict(strict=False)",
    "channels_last": "True",
    "strict_keys": "False",
    "strict_paths": "True",
    "strict_resume": "True",
    "remote": "dict(interval=5)",
    "resume_data": "False",
    "strategy": "'ddp'",
    "skip_checks": "True",
}


def runner_of(folder: Path, text: str, *options: str) -> Runner:
    (folder / "train.py").write_text(f"{TRAIN}{text}\n")
    cfg: Any = Config.fromfile(folder / "train.py")
    cfg["work_dir"] = str(folder / "out")
    cfg.merge_from_dict(parse_options(list(options)), strict=True, source="--cfg-options")
    return Runner.from_cfg(cfg)


def given(runner: Runner, key: str) -> Any:
    return dict(runner.arguments)[key]


def test_every_own_key_has_a_case() -> None:
    assert {*THEIRS, *UNMISTAKABLE} == set(OWN_KEYS) == {*OURS, "loss"}
    assert set(OWN_KEYS) > COMMON
    assert OWN not in CONFIG_KEYS


@pytest.mark.parametrize("key", THEIRS)
def test_a_name_of_the_configs_own_is_left_alone(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    default = given(runner_of(tmp_path, ""), key)
    runner = runner_of(tmp_path, f"{key} = {THEIRS[key]}")
    assert given(runner, key) == default
    told = f"train.py:8) is left to the config; for the run itself it is written seg=dict({key}=...)"
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.parametrize("key", OURS)
def test_both_forms_are_read_and_a_line_tells_of_the_older(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    under = given(runner_of(tmp_path, f"seg = dict({key}={OURS[key]})"), key)
    assert f"{key} (" not in capsys.readouterr().out
    assert under == given(runner_of(tmp_path, f"{key} = {OURS[key]}"), key) != given(runner_of(tmp_path, ""), key)
    told = f"better written seg=dict({key}=...)"
    assert capsys.readouterr().out.count(told) == (1 if key in COMMON else 0)


def test_what_lies_under_seg_comes_before_a_name_at_the_top(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = runner_of(tmp_path, "log_interval = 3\nseg = dict(log_interval=9)")
    assert runner.log_interval == 9
    assert "log_interval (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "use"),
    [
        ("hooks", "[dict(type='IterTimerHook')]", "custom_hooks = hooks"),
        ("loss", "dict(type='torch.nn.CrossEntropyLoss')", "parts = dict(loss_decode=loss)"),
        ("checkpoint", "dict(async_save=True)", "saves = [checkpoint]"),
    ],
)
def test_a_name_that_the_config_uses_itself_is_its_own_also_in_the_dump(
    tmp_path: Path, key: str, value: str, use: str
) -> None:
    runner = runner_of(tmp_path, f"{key} = {value}\n{use}")
    assert given(runner, key) is None
    (tmp_path / "train.py").write_text(runner.cfg.pretty_text)
    again = Runner.from_cfg(Config.fromfile(tmp_path / "train.py"))
    assert given(again, key) is None
    assert len(again.hooks) == len(runner.hooks)


def test_a_loss_at_the_top_is_not_that_of_a_model_with_steps(tmp_path: Path) -> None:
    runner_of(tmp_path, "loss = dict(type='torch.nn.CrossEntropyLoss')")
    with pytest.raises(ValueError, match="LogitsModel has a train_step, which has its own loss"):
        runner_of(tmp_path, "seg = dict(loss=dict(type='torch.nn.CrossEntropyLoss'))")


def test_the_command_line_reaches_it_and_a_dump_keeps_it(tmp_path: Path) -> None:
    runner = runner_of(tmp_path, "", "seg.device=cpu", "seg.log_interval=3", "seg.strict_resume=True")
    assert runner.log_interval == 3
    (tmp_path / "dumped.py").write_text(runner.cfg.pretty_text)
    cfg = Config.fromfile(tmp_path / "dumped.py")
    assert cfg.seg == {"device": "cpu", "log_interval": 3, "strict_resume": True}
    assert given(Runner.from_cfg(cfg), "strict_resume") is True


def test_a_misspelt_key_on_the_command_line_is_told_where_it_was_typed(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"seg.chekpoint \(override .*--cfg-options.*Did you mean 'checkpoint'"):
        runner_of(tmp_path, "", "seg.chekpoint.async_save=True")


@pytest.mark.parametrize(("text", "told"), [("lost = 3", "loss"), ("devices = 8", "device")])
def test_a_name_nearly_like_a_common_own_one_is_only_told(
    tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runner_of(tmp_path, text)
    assert f"Did you mean seg=dict({told}=...)?" in capsys.readouterr().out
    runner_of(tmp_path, f"{text}\nused = {text.split()[0]}")
    assert "Did you mean" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["num_classes = 3\nmodel_path = ''", "seg = 'ade'", "set = dict(a=1)"])
def test_other_names_are_the_configs(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    runner_of(tmp_path, text)
    out = capsys.readouterr().out
    assert "Did you mean" not in out
    assert ("seg (" in out) == ("is no dict, so it is left to the config" in out) == text.startswith("seg")


def test_overwrite_is_not_read_from_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given(runner_of(tmp_path, "overwrite = True"), "overwrite") is False
    assert "overwrite (" in capsys.readouterr().out


def test_a_wrong_value_of_an_argument_of_mmengines_stays_an_error(tmp_path: Path) -> None:
    for text in ("compile = 'yes'", "log_level = 3", "env_cfg = 'x'", "load_from = 3"):
        with pytest.raises(TypeError, match=text.split()[0]):
            runner_of(tmp_path, text)
