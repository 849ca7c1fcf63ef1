"""Who started this process, as launchers tell it."""

from __future__ import annotations

import pytest
from seg_runner.distributed.launch import ALONE as ONE
from seg_runner.distributed.launch import find_launch, refuse_alone

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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE=4 says that there are 4 processes, but RANK"),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "a"}, "RANK"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK=4 and WORLD_SIZE=4 do not go together"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "RANK= and WORLD_SIZE=2"),
        ({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2"}, "Let mpirun set both"),
    ],
)
def test_half_of_the_variables_is_an_error(given, words):
    with pytest.raises(RuntimeError, match=words):
        find_launch(given)


STEP = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}
TWO_NODES = {
    **STEP,
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_slurm_says_where_rank_0_is():
    found = find_launch(TWO_NODES)
    assert (found.rank, found.size, found.local_rank, found.local_size) == (5, 8, 1, 4)
    assert found.address == "gpu07"
    ports = {find_launch({**TWO_NODES, "SLURM_JOB_ID": str(job)}).port for job in range(4711, 4811)}
    assert len(ports) == 100
    assert found.port != find_launch({**TWO_NODES, "SLURM_STEP_ID": "1"}).port
    own = find_launch({**TWO_NODES, "MASTER_ADDR": "login1", "MASTER_PORT": "1234"})
    assert (own.address, own.port) == ("login1", 1234)


def test_srun_is_believed_before_the_mpi_that_it_imitates():
    pmi = {"PMI_RANK": "5", "PMI_SIZE": "8"}
    assert find_launch({**TWO_NODES, **pmi}) == find_launch(TWO_NODES)
    daemons = {**TWO_NODES, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}  # mpirun starts one on each machine
    assert find_launch({**daemons, **pmi}).says == "PMI_SIZE=8, as mpiexec sets it"
    assert find_launch({**daemons, **pmi}).address == "gpu07"


def test_a_named_launcher_is_believed_alone():
    both = {**TWO_NODES, "RANK": "0", "WORLD_SIZE": "2"}
    assert find_launch(both).size == find_launch(both, "pytorch").size == 2
    assert find_launch(both, "slurm").size == 8
    assert find_launch(both, "mpi") == ONE
    assert find_launch({**STEP, "WORLD_SIZE": "8"}).size == 8, "scripts export it for srun"


def test_several_machines_under_mpi_need_an_address():
    given = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    with pytest.raises(RuntimeError, match="set MASTER_ADDR to the name of its machine"):
        refuse_alone(find_launch(given))
    refuse_alone(find_launch({**given, "MASTER_ADDR": "node1"}))
    refuse_alone(find_launch({**given, "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}))
    one, two = (find_launch({**given, "PMIX_NAMESPACE": job}).port for job in ("1137180673", "1137180674"))
    assert one != two
