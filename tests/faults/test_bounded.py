"""A signal ends a run in bounded time, wherever it hangs; what is consistent is saved, and the last line says what."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import pytest
from helpers.drill import Child, Crops, in_child, make_runner, train
from seg_runner import find_resumable, read_checkpoint
from torch.utils.data import DataLoader, get_worker_info

FOR_EVER = 10_000


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def hang_in_c() -> None:
    """Never comes back from C, whatever signal comes; python's lock is free meanwhile."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    while True:
        libc.pthread_mutex_lock(mutex)


class Stuck(Crops):
    """A data set whose second worker hangs at a sample, as on a disk that does not answer."""

    def __init__(self, mark: Path, **options) -> None:
        super().__init__(**options)
        self.mark = mark

    def __getitem__(self, index):
        worker = get_worker_info()
        if worker is not None and worker.id == 1:
            while not self.mark.with_name("stepped").exists():
                time.sleep(0.01)
            self.mark.with_suffix(".tmp").write_text(str(os.getpid()))
            self.mark.with_suffix(".tmp").rename(self.mark)
            time.sleep(FOR_EVER)
        return super().__getitem__(index)


class Steps:
    """Tells that a step is done."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def after_train_iter(self, runner):
        self.mark.with_name("stepped").touch()


class Hangs:
    """Hangs at a point, once a step is reached."""

    def __init__(self, point: str, mark: Path, how: str = "sleep", iteration: int = 9) -> None:
        self.mark, self.how, self.iteration = mark, how, iteration
        setattr(self, point, self._hang)

    def _hang(self, runner):
        if runner.iter >= self.iteration:
            self.mark.write_text(str(os.getpid()))
            hang_in_c() if self.how == "C" else time.sleep(FOR_EVER)


def train_with(work_dir: Path, hook=None, data=None, **plan) -> None:
    if data is not None:
        name, mark, size = data
        plan[name] = DataLoader(Stuck(mark, size=size), 3, num_workers=2)
    runner = make_runner(work_dir, **plan)
    runner.register_hook(Steps(data[1]) if hook is None else hook)
    runner.train()


def stop(work_dir: Path, mark: Path, times: int = 1, **plan) -> tuple[int, str]:
    """Start a run, wait until it hangs, send SIGTERM; the exit code, and all that it said."""
    child = Child(train_with, work_dir, **plan)
    while not mark.exists():
        assert child.code is None, child.log.read_text()[-2000:]
        time.sleep(0.01)
    for number in range(times):
        time.sleep(number)  # two that come together count as one
        os.kill(child.pid, signal.SIGTERM)
    code = child.wait(end_workers=False)
    stuck = int(mark.read_text())
    for _ in range(6000):
        if not is_alive(stuck):
            break
        time.sleep(0.01)
    assert not is_alive(stuck), "a worker outlives the run"
    return code, child.log.read_text()


def test_while_a_worker_hangs_the_finished_steps_are_saved_at_once(tmp_path):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    code, said = stop(cut, mark, data=("train_dataloader", mark, 12), signals={"grace": None})
    assert code == 143, said[-2000:]
    assert "SIGTERM: saved iter_1.pth after iteration 1 and stopped" in said
    assert read_checkpoint(cut / "iter_1.pth")["meta"]["iter"] == 1


def test_while_a_worker_of_the_validation_hangs(tmp_path):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    code, said = stop(cut, mark, data=("val_dataloader", mark, 6), signals={"grace": None})
    assert code == 143, said[-2000:]
    assert "SIGTERM: saved iter_5.pth after iteration 5 and stopped" in said
    assert read_checkpoint(cut / "iter_5.pth")["loop"]["validated"] == 0, "the validation is still owed"


@pytest.mark.parametrize(("point", "done"), [("after_train_iter", 10), ("before_train_iter", 9)])
def test_a_hook_that_hangs_is_broken_off_when_the_grace_is_over(tmp_path, point, done):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    code, said = stop(cut, mark, hook=Hangs(point, mark), signals={"grace": 0.5})
    kept = cut / f"interrupted_iter_{done}.pth"
    assert code == 143, said[-2000:]
    assert f"SIGTERM: broken off after iteration {done}" in said
    assert f"the state is in {kept}" in said
    assert read_checkpoint(kept)["meta"]["iter"] == done
    assert find_resumable(cut) == cut / "iter_7.pth"


class SlowStep(Hangs):
    """Hangs in the middle of a step: where the optimizer is asked to update."""

    def before_train(self, runner):
        update = runner.optim_wrapper.update_params

        def hangs(loss, **options):
            if runner.iter == 9:
                self.mark.write_text(str(os.getpid()))
                time.sleep(FOR_EVER)
            update(loss, **options)

        runner.optim_wrapper.update_params = hangs


def test_in_the_middle_of_a_step_nothing_is_saved(tmp_path):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    code, said = stop(cut, mark, hook=SlowStep("after_run", mark), signals={"grace": 0.5})
    assert code == 143, said[-2000:]
    assert f"nothing was saved. A resume goes on from {cut / 'iter_7.pth'} (iteration 7; 2 iterations are" in said
    assert sorted(path.name for path in cut.glob("*.pth")) == ["best_mIoU_iter_5.pth", "iter_7.pth"]


@pytest.mark.parametrize(("times", "grace", "why"), [(1, 0.5, "no end within 0.5 seconds"), (2, 1000, "a second time")])
def test_c_code_that_never_comes_back_is_left(tmp_path, times, grace, why):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    hook = Hangs("after_train_iter", mark, "C")
    code, said = stop(cut, mark, times, hook=hook, workers=2, signals={"grace": grace})
    assert code == 143, said[-2000:]
    assert why in said
    assert "leaving at once" in said
    assert find_resumable(cut) == cut / "iter_7.pth"


@pytest.mark.parametrize("how", ["sleep", "C"])
def test_a_resume_that_hangs(tmp_path, how):
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    assert in_child(train, cut, total=8) == 0
    before = sorted(path.name for path in cut.glob("*.pth"))
    hook = Hangs("after_load_checkpoint", mark, how, iteration=0)
    code, said = stop(cut, mark, hook=hook, signals={"grace": 0.5})
    assert code == 143, said[-2000:]
    assert sorted(path.name for path in cut.glob("*.pth")) == before
    told = [f"A resume goes on from {cut / 'iter_8.pth'}"]
    if how == "C":  # the signal may come before the call into C
        told.append("leaving at once")
    assert any(words in said.splitlines()[-1] for words in told)


def test_what_a_hook_swallows_is_not_the_end_of_it(tmp_path):
    """`except BaseException` in the user's code keeps a run alive for one grace time, no longer."""
    cut, mark = tmp_path / "cut", tmp_path / "mark"
    code, said = stop(cut, mark, hook=Deaf("after_train_iter", mark), signals={"grace": 0.5})
    assert code == 143, said[-2000:]
    assert "leaving at once" in said


class Deaf(Hangs):
    """Goes on whatever is raised."""

    def _hang(self, runner):
        while runner.iter >= self.iteration:
            try:
                super()._hang(runner)
            except BaseException:
                continue
