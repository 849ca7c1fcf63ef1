"""A second run in the folder of an earlier one is refused unless it is said what is to become of that."""

from __future__ import annotations

import errno
import math
import re
import shutil

import pytest
from seg_runner import find_resumable
from seg_runner.run.earlier_run import earlier_checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_is_refused_with_the_ways_out(make_runner, tmp_path):
    make_runner().train()
    before = names(tmp_path / "out")
    runner = make_runner(randomness={"seed": 9})
    told = "an earlier run has left the checkpoints in .*out.*iter_6.pth.*resume=True.*overwrite=True.*work_dir="
    with pytest.raises(FileExistsError, match=told):
        runner.train()
    assert names(tmp_path / "out") == before, "no log folder, no changed config is left"


def test_measuring_in_the_same_folder_is_fine(make_runner):
    first = make_runner()
    first.train()
    assert make_runner(load_from=first.work_dir / "iter_6.pth").val() == first.val()


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}, {"work_dir": "another"}])
def test_each_way_out_works(make_runner, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    make_runner().train()
    runner = make_runner(train_cfg={"max_iters": 8, "val_interval": 3}, **options)
    runner.train()
    assert runner.iter == 8
    assert (runner.work_dir / "iter_8.pth").exists()


def test_overwrite_deletes_right_before_the_first_step_and_says_so(make_runner, tmp_path, capsys):
    folder = tmp_path / "out"
    make_runner().train()
    for name in ("epoch_2.pth", "best_mIoU_iter_6.pth", "interrupted_iter_5.pth"):
        shutil.copy(folder / "iter_6.pth", folder / name)
    mine = ["pretrained.pth", "best_mIoU_iter_6-0123abcd.pth", "iter_6.pth.bak"]
    for name in mine:
        (folder / name).write_bytes(b"weights of my own")

    class Fails:
        def before_run(self, runner):
            raise ZeroDivisionError

    before = names(folder)
    with pytest.raises(ZeroDivisionError):
        make_runner(overwrite=True, hooks=[Fails()]).train()
    assert names(folder) == before, "a start that fails deletes nothing"
    capsys.readouterr()

    class Looks:
        def before_train(self, runner):
            assert find_resumable(folder) is None
            assert not (folder / "last_checkpoint").exists()

    make_runner(overwrite=True, hooks=[Looks()], train_cfg={"max_iters": 2}).train()
    assert "overwrite=True: deleted 4 checkpoints of an earlier run: best_mIoU_iter_6.pth, " in capsys.readouterr().out
    assert [name for name in names(folder) if ".pth" in name] == sorted([*mine, "iter_2.pth"])


def test_overwrite_deletes_nothing_where_the_disk_takes_no_record(make_runner, tmp_path, monkeypatch):
    make_runner().train()
    before = names(tmp_path / "out")

    def full(*given, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("seg_runner.runner.write_record", full)
    with pytest.raises(OSError, match="No space left"):
        make_runner(overwrite=True).train()
    assert names(tmp_path / "out") == before


def test_overwrite_keeps_what_the_run_starts_from(make_runner, tmp_path):
    make_runner().train()
    runner = make_runner(overwrite=True, load_from=tmp_path / "out" / "iter_6.pth")
    with pytest.raises(FileExistsError, match=r"would delete .*iter_6.pth, from which this run starts"):
        runner.train()
    assert (tmp_path / "out" / "iter_6.pth").exists()


def test_overwrite_and_resume_contradict_each_other(make_runner):
    with pytest.raises(ValueError, match="give one of the two"):
        make_runner(overwrite=True, resume=True)


def test_a_resume_mixes_no_two_runs(make_runner, tmp_path):
    make_runner().train()
    other = make_runner(work_dir=tmp_path / "other", randomness={"seed": 5})
    other.train()
    wrong = make_runner(resume=str(other.work_dir / "iter_6.pth"), train_cfg={"max_iters": 8})
    with pytest.raises(FileExistsError, match=r"iter_6.pth is of another run than the checkpoints in .*out"):
        wrong.train()
    fresh = make_runner(resume=str(other.work_dir / "iter_6.pth"), train_cfg={"max_iters": 8}, work_dir=tmp_path / "b")
    fresh.train()
    again = make_runner(resume=str(other.work_dir / "iter_6.pth"), train_cfg={"max_iters": 9}, work_dir=tmp_path / "b")
    again.train()  # the same command once more, after a preemption
    assert again.iter == 9


def test_training_on_with_one_runner_is_no_second_run(make_runner):
    runner = make_runner()
    runner.train()
    runner.train_loop.max_iters = 8
    runner.train()
    assert runner.iter == 8


def test_a_finished_run_says_so(make_runner, capsys):
    make_runner().train()
    make_runner(resume=True).train()
    told = r"the run in .*out is finished: 6 of 6 iterations; for more, raise max_iters"
    assert re.search(told, capsys.readouterr().out)


@pytest.mark.parametrize("point", ["before_run", "after_load_checkpoint"])
def test_a_start_that_fails_leaves_no_folder(make_runner, tmp_path, point):
    class Fails:
        broken = True

    def fail(self, runner, checkpoint=None):
        if self.broken:
            raise ZeroDivisionError

    setattr(Fails, point, fail)
    if point == "after_load_checkpoint":
        make_runner().train()
    before = names(tmp_path)
    inside = names(tmp_path / "out") if before else None
    runner = make_runner(work_dir=tmp_path / "out" if before else tmp_path / "a" / "b", hooks=[Fails()], resume=True)
    with pytest.raises(ZeroDivisionError):
        runner.train()
    assert names(tmp_path) == before
    assert (names(tmp_path / "out") if before else None) == inside
    Fails.broken = False
    runner.train()  # the same runner, once the cause is mended
    assert (runner.log_dir / "run.json").exists()


def test_a_runner_that_cannot_be_made_leaves_no_folder(make_runner, tmp_path):
    with pytest.raises(ValueError, match="log_level"):
        make_runner(log_level="LOUD")
    with pytest.raises(TypeError, match=r"point"):
        make_runner(hooks=[object()])
    assert names(tmp_path) == []


def test_an_evaluation_that_fails_leaves_no_folder(make_runner, tmp_path):
    with pytest.raises(FileNotFoundError):
        make_runner(load_from=tmp_path / "absent.pth").val()
    assert names(tmp_path) == []


def test_what_counts_as_a_checkpoint_of_a_run(tmp_path):
    for name in ("iter_1.pth", "notes.pth", "iter_x.pth", "best_mIoU-0123abcd.pth", "mine_7.pth"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in earlier_checkpoints(tmp_path)] == ["iter_1.pth"]
    (tmp_path / "mine_14.pth").write_bytes(b"x")
    (tmp_path / "last_checkpoint").write_text("mine_14.pth")
    assert [path.name for path in earlier_checkpoints(tmp_path)] == ["iter_1.pth", "mine_14.pth", "mine_7.pth"]


class Breaks:
    """Fails after a step; with `spoil` the weights are no numbers by then; `saves` before, after a step."""

    def __init__(self, step, spoil=False, saves=0):
        self.step, self.spoil, self.saves = step, spoil, saves

    def after_train_iter(self, runner):
        if runner.finished_iters == self.saves:
            runner.save_checkpoint(f"iter_{self.saves}.pth")
        if runner.finished_iters == self.step:
            if self.spoil:
                next(runner.model.parameters()).data.fill_(math.nan)
            raise ZeroDivisionError


def broken(make_runner, step, **given):
    with pytest.raises(ZeroDivisionError) as caught:
        make_runner(hooks=[Breaks(step, **given)]).train()
    return "\n".join(caught.value.__notes__)


def test_a_start_where_an_exception_left_all_that_there_is_is_refused(make_runner, tmp_path):
    broken(make_runner, 2)
    before = names(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"interrupted_iter_2.pth.*which takes interrupted_iter_2.pth"):
        make_runner().train()
    assert names(tmp_path / "out") == before
    make_runner(overwrite=True).train()
    assert "interrupted_iter_2.pth" not in names(tmp_path / "out")


def test_a_resume_takes_what_an_exception_left_where_there_is_nothing_else(make_runner, tmp_path, capsys):
    broken(make_runner, 2)
    again = make_runner(resume=True)
    again.train()
    said = capsys.readouterr().out
    assert "interrupted_iter_2.pth was saved when an error" in said
    assert re.search(r"Resumed from .*interrupted_iter_2.pth", said)
    straight = make_runner(work_dir=tmp_path / "straight")
    straight.train()
    for name, value in straight.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name


def test_a_resume_names_the_newer_file_that_it_leaves_out(make_runner, tmp_path, capsys):
    broken(make_runner, 3, saves=2)
    make_runner(resume=True).train()
    said = capsys.readouterr().out
    assert re.search(r"Resumed from .*/iter_2.pth", said)
    assert re.search(r"interrupted_iter_3.pth, saved at .*, is of iteration 3, .* iteration 2. To use .*resume='", said)
    assert "(--resume interrupted_iter_3.pth)" in said
    make_runner(resume=True, train_cfg={"max_iters": 8}).train()
    assert "interrupted" not in capsys.readouterr().out, "the run is further than that by now"


def test_a_resume_does_not_begin_anew_over_weights_that_are_not_finite(make_runner, tmp_path):
    assert "so resume=True refuses to go on; 2 iterations are lost" in broken(make_runner, 2, spoil=True)
    before = names(tmp_path / "out")
    told = r"interrupted_iter_2.pth is all .* not finite.*resume='.*interrupted_iter_2.pth'.*overwrite=True"
    with pytest.raises(FileExistsError, match=told):
        make_runner(resume=True).train()
    assert names(tmp_path / "out") == before
    asked = make_runner(resume=str(tmp_path / "out" / "interrupted_iter_2.pth"))
    asked.train()
    assert asked.iter == 6
