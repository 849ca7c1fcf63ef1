"""Who started this process, as launchers tell it."""

from __future__ import annotations

import pytest
from seg_runner.distributed.launch import ALONE as ONE
from seg_runner.distributed.launch import find_launch

SEVERAL = [
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "16"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    {"PMI_SIZE": "2", "PMI_RANK": "1"},
    {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"},
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


@pytest.mark.parametrize("given", SEVERAL)
def test_one_of_several(given):
    found = find_launch(given)
    assert 0 <= found.rank < found.size
    assert f"={found.size}, as " in found.says


@pytest.mark.parametrize("given", ALONE)
def test_no_false_alarm(given):
    assert find_launch(given) == ONE


def test_who_says_so():
    found = find_launch({"PMI_RANK": "1", "PMI_SIZE": "2"})
    assert (found.rank, found.size, found.says) == (1, 2, "PMI_SIZE=2, as mpiexec sets it")
