from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from seg_hooks import TrainState
from seg_hooks.own_loop.arguments import refuse_several

Make = Callable[..., TrainState]
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


@pytest.mark.parametrize("given", SEVERAL)
def test_one_of_several_processes_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(RuntimeError, match="TrainState works in one process, but there are several"):
        refuse_several(given)


@pytest.mark.parametrize("given", ALONE)
def test_no_false_alarm(given: dict[str, str]) -> None:
    refuse_several(given)


def test_nothing_is_written(make_state: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="WORLD_SIZE=2"):
        make_state()
    assert not list(tmp_path.iterdir())
