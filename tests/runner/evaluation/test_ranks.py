from __future__ import annotations

import os
import subprocess
import sys

import pytest
from seg_runner.evaluation.ranks import started_as

SEVERAL = [
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"WORLD_SIZE": "2"},
    {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "16"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    {"PMI_SIZE": "2", "PMI_RANK": "1"},
    {"MV2_COMM_WORLD_SIZE": "2"},
    {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
    {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "ENVIRONMENT": "BATCH"},
    {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "3"},
]
ALONE = [
    {},
    {"RANK": "0", "WORLD_SIZE": "1"},
    {"WORLD_SIZE": ""},
    {"WORLD_SIZE": "many"},
    {"SLURM_NTASKS": "4"},  # the shell of salloc
    {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"},  # the script of a job
    {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"},  # an interactive step
    {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"},  # srun -n1
]


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, after all that a launcher sets are gone."""

    def change(given):
        for name in list(os.environ):
            if name in ("RANK", "WORLD_SIZE") or name.startswith(("SLURM_", "OMPI_", "PMI_", "MV2_", "ENVIRONMENT")):
                monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize("given", SEVERAL)
def test_one_of_several_processes_is_refused_before_anything_is_written(make_runner, environment, tmp_path, given):
    environment(given)
    with pytest.raises(RuntimeError, match=r"Runner works in one process, but this is number \d+ of \d+ \("):
        make_runner()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ALONE)
def test_no_false_alarm(make_runner, environment, given):
    environment(given)
    runner = make_runner()
    runner.train()
    assert (runner.rank, runner.world_size, runner.distributed) == (0, 1, False)


def test_rank_and_world_are_read(make_runner, environment):
    environment({})
    runner = make_runner()
    environment({"RANK": "3", "WORLD_SIZE": "4"})
    assert (runner.rank, runner.world_size, runner.distributed) == (3, 4, True)
    with pytest.raises(RuntimeError, match="number 4 of 4"):
        runner.train()


GROUP = """
import sys
import torch
from seg_runner import Runner
rank, store = int(sys.argv[1]), torch.distributed.FileStore(sys.argv[2], 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
torch.distributed.barrier()
try:
    Runner(model=torch.nn.Conv2d(3, 3, 1), work_dir=sys.argv[2] + "_run")
except RuntimeError as error:
    print(error)
torch.distributed.destroy_process_group()
"""


def test_an_initialised_group_is_refused(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", GROUP]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for rank, process in enumerate(both):
        said = process.communicate()[0]
        assert f"this is number {rank + 1} of 2 (an initialised process group)" in said
    assert not (tmp_path / "store_run").exists()


def test_who_says_so():
    assert started_as({"PMI_RANK": "1", "PMI_SIZE": "2"}) == (1, 2, "PMI_SIZE=2, as mpiexec sets it")
