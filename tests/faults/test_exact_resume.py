"""`train(2N)` and `train(N)`, killed, resumed: the same run, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.drill import KillAt, checkpoint_differences, in_child, log_lines, make_runner, train

CASES = {
    "shuffled": {},
    "two workers": {"workers": 2},
    "two persistent workers": {"workers": 2, "persistent": True},
    "four workers, infinite": {"workers": 4, "sampler": "infinite"},
    "four persistent workers": {"workers": 4, "persistent": True, "sampler": "default"},
    "accumulation cut in the middle": {"accumulate": 3},
    "accumulation with workers and bf16": {"accumulate": 4, "amp": "bfloat16", "workers": 2},
    "fp16 with a loss scale that changes": {"amp": "float16"},
    "epochs": {"epochs": True, "total": 24, "sampler": "default"},
    "epochs with workers": {"epochs": True, "total": 24, "workers": 2, "persistent": True},
    "saved beside training": {"async_save": True, "sampler": "infinite"},
}


def last(work_dir: Path, plan: dict) -> Path:
    return work_dir / f"iter_{plan.get('total', 20)}.pth"


@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_equals_never_stopped(name, tmp_path):
    plan = CASES[name]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole, **plan) == 0, (tmp_path / "whole.log").read_text()
    for iteration in (9, 16):
        assert in_child(train, cut, **plan, kill=KillAt(iteration)) == -9, (tmp_path / "cut.log").read_text()
    assert in_child(train, cut, **plan) == 0, (tmp_path / "cut.log").read_text()
    assert checkpoint_differences(last(whole, plan), last(cut, plan)) == []
    assert log_lines(whole) == log_lines(cut)


def test_the_number_of_workers_may_change_on_the_way(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole) == 0
    assert in_child(train, cut, workers=2, kill=KillAt(9)) == -9
    assert in_child(train, cut, workers=1, persistent=True, kill=KillAt(16, "before_train_iter")) == -9
    assert in_child(train, cut) == 0
    assert checkpoint_differences(last(whole, {}), last(cut, {})) == []


def test_a_validation_that_was_due_is_made_up_for(tmp_path):
    """Saved at 10, killed before the validation at 10 ends: the resumed run has its metrics all the same."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    plan = {"interval": 5}
    assert in_child(train, whole, **plan) == 0
    assert in_child(train, cut, **plan, kill=KillAt(10, "before_val")) == -9
    assert in_child(train, cut, **plan) == 0
    assert log_lines(whole) == log_lines(cut)
    assert checkpoint_differences(last(whole, plan), last(cut, plan)) == []


def test_where_only_the_best_file_is_there_the_run_goes_on_from_it(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(train, whole, accumulate=2) == 0
    assert in_child(train, cut, accumulate=2, kill=KillAt(5)) == -9
    assert [path.name for path in cut.glob("*.pth")] == ["best_mIoU_iter_5.pth"]
    assert in_child(train, cut, accumulate=2) == 0
    assert "Resumed from" in (tmp_path / "cut.log").read_text()
    assert log_lines(whole) == log_lines(cut)
    assert checkpoint_differences(last(whole, {}), last(cut, {})) == []


def test_the_report_and_strict_resume(tmp_path, capsys):
    work_dir = tmp_path / "run"
    assert in_child(train, work_dir, total=7) == 0
    runner = make_runner(work_dir, total=9, strict_resume=True)
    runner.train()
    text = capsys.readouterr().out
    assert "not restored: nothing" in text
    assert "restored: iteration 7" in text
    assert runner.iter == 9


def test_going_back_says_which_file_a_later_resume_takes(tmp_path, capsys):
    work_dir = tmp_path / "run"
    assert in_child(train, work_dir, total=16) == 0
    make_runner(work_dir, total=16, resume="iter_7.pth").train()
    text = "iter_16.pth is of iteration 16, but this run goes back to 7: until it has saved one, resume=True takes"
    assert text in capsys.readouterr().out
    make_runner(work_dir, total=18, resume="iter_16.pth").train()
    assert "goes back" not in capsys.readouterr().out


def test_a_fresh_pass_on_request(tmp_path, capsys):
    work_dir = tmp_path / "run"
    assert in_child(train, work_dir, total=7) == 0
    make_runner(work_dir, total=9, resume_data=False).train()
    assert "resume_data=False begins a fresh pass" in capsys.readouterr().out
