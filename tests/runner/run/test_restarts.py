"""Another try of the same job goes on from what its tries before have saved; nothing else does without being told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from runner.distributed.test_ddp import Blocks, network
from seg_runner import Runner, read_checkpoint
from torch import nn


class StopsAfter:
    """Stops a training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_train_iter(self, runner: Runner, batch_idx: int) -> None:
        """Save and stop."""
        if runner.iter + 1 == self.step:
            runner.save_last()
            runner.train_loop.stop_training = True


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put the process into a Slurm job, started for so many times before."""

    def start(number: int, count: int) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(count))

    return start


def train(folder: Path, stop: int, **more: Any) -> Runner:
    net = network()
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": Blocks(8), "batch_size": 4, "num_workers": 0},
        train_cfg={"max_iters": 6},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        hooks=[StopsAfter(stop)],
        **more,
    )
    runner.train()
    return runner


def iterations(folder: Path) -> list[int]:
    return sorted(read_checkpoint(path)["meta"]["iter"] for path in folder.glob("iter_*.pth"))


def test_what_the_first_try_was_told_counts_once(tmp_path, job):
    weights = tmp_path / "weights.pth"
    torch.save(network().state_dict(), weights)
    job(17, 0)
    train(tmp_path / "run", 2, load_from=weights, overwrite=True)
    job(17, 1)
    second = train(tmp_path / "run", 4, load_from=weights, overwrite=True)
    assert (second.resumed, iterations(tmp_path / "run")) == (True, [2, 4])
    assert "started again: going on from iter_2.pth" in next(second.log_dir.glob("*.log")).read_text()


def test_another_job_and_another_run_of_the_same_try_are_refused(tmp_path, job):
    job(17, 0)
    train(tmp_path / "run", 2)
    for number, count in ((17, 0), (18, 0), (18, 1)):
        job(number, count)
        with pytest.raises(FileExistsError, match="an earlier run has left"):
            train(tmp_path / "run", 4)
    assert iterations(tmp_path / "run") == [2]


def test_what_lay_there_before_the_job_is_not_taken(tmp_path, job):
    job(17, 0)
    train(tmp_path / "run", 2)
    job(18, 0)  # begun, and killed before it has saved anything
    begun = tmp_path / "run" / "20990101_000000" / "run.json"
    begun.parent.mkdir()
    begun.write_text(json.dumps({"tries": {"Slurm job 18": "0"}}))
    job(18, 1)
    with pytest.raises(FileExistsError, match="an earlier run has left"):
        train(tmp_path / "run", 4)
    again = train(tmp_path / "run", 4, overwrite=True)
    assert (again.resumed, iterations(tmp_path / "run")) == (False, [4])


@pytest.mark.parametrize("text", ["", "[]", '{"tries": 3}', "[" * 100_000, "\0"])
def test_a_record_that_cannot_be_read_is_no_try(tmp_path, job, text):
    folder = tmp_path / "run" / "20200101_000000"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text)
    job(17, 1)
    assert train(tmp_path / "run", 2).finished_iters == 2
