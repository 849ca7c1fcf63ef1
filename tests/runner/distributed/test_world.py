"""The group of a run: adopted or made, used by one Runner after another, and gone at the end."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

import pytest
import torch
from helpers.ranks import on_ranks
from helpers.tree import ROOT
from runner.distributed.test_ddp import train
from seg_runner.distributed.launch import find_launch
from seg_runner.distributed.meet import backend_for
from seg_runner.distributed.world import OtherRankError, World, _placed, adopt_world, read_dist_cfg
from torch import distributed
from torch.utils import backend_registration

PRETEND = "_setup_privateuseone_for_python_backend"


def described(world: World) -> tuple[int, int, int, int, int]:
    return world.rank, world.size, world.local_rank, world.local_size, world.device_index


def one_after_another(folder: Path) -> None:
    """Train twice in one group, and in a new one once that is gone."""
    first = train(folder / "first")["weights"]
    group = distributed.group.WORLD
    again = train(folder / "second")["weights"]
    assert distributed.group.WORLD is group
    distributed.destroy_process_group()
    third = train(folder / "third")["weights"]
    assert distributed.group.WORLD is not group
    for name in first:
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], third[name])


def test_runners_of_one_process_share_a_group(tmp_path):
    on_ranks(2, tmp_path, one_after_another, tmp_path)


def handed_over(store: str) -> tuple[tuple[int, ...], bool]:
    """Adopt a group that somebody else has made, about which the environment says nothing."""
    rank = int(os.environ.pop("RANK"))
    for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name)
    distributed.init_process_group("gloo", rank=rank, world_size=2, store=distributed.FileStore(store, 2))
    world = adopt_world({"timeout": 60}, launcher="pytorch")
    assert "initialised" in world.says
    return described(world), adopt_world() is world


def test_a_group_that_is_handed_over_is_taken(tmp_path):
    assert on_ranks(2, tmp_path, handed_over, str(tmp_path / "store")) == [
        ((0, 2, 0, 2, 0), True),
        ((1, 2, 1, 2, 1), True),
    ]


def by_slurm() -> tuple[int, ...]:
    """Meet by what Slurm says alone: rank 0 holds the store."""
    told = {name: os.environ.pop(name) for name in list(os.environ) if "RANK" in name or "WORLD" in name}
    os.environ |= {"SLURM_PROCID": told["RANK"], "SLURM_LOCALID": told["RANK"], "SLURM_NTASKS": "2"}
    for name in ("MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        os.environ.pop(name)
    os.environ |= {"SLURM_JOB_ID": str(os.getppid()), "SLURM_NODELIST": "127.0.0.1", "SLURM_STEP_ID": "0"}
    os.environ.pop("MASTER_ADDR")
    return described(adopt_world(launcher="slurm", device="cpu"))


def test_ranks_meet_by_what_slurm_says(tmp_path):
    assert on_ranks(2, tmp_path, by_slurm) == [(0, 2, 0, 2, 0), (1, 2, 1, 2, 1)]


def forks() -> int:
    """Have a child of this process end as Python does, and use the group afterwards."""
    world = adopt_world(device="cpu")
    child = os.fork()
    if not child:
        atexit._run_exitfuncs()
        os._exit(0)
    os.waitpid(child, 0)
    return world.agree(world.rank)


def test_a_forked_child_leaves_the_group_alone(tmp_path):
    assert on_ranks(2, tmp_path, forks) == [1, 1]


def sees(first: str, second: str) -> int:
    """Return which device a rank takes that sees these first."""
    world = adopt_world(device="cpu")
    return _placed(find_launch(), world.words, (first, second)[world.rank]).device_index


def test_each_rank_has_a_device_of_its_own(tmp_path):
    assert on_ranks(2, tmp_path / "all", sees, "gpu0", "gpu0") == [0, 1], "all are shown to both"
    assert on_ranks(2, tmp_path / "own", sees, "gpu0", "gpu1") == [0, 0], "each is shown its own"


def on_one_device(folder: Path) -> str:
    """Train on an accelerator of which there is one."""
    sys.path.insert(0, str(ROOT / "tests" / "device"))
    import sim_device

    assert sim_device.DEVICE
    with pytest.raises((ValueError, OtherRankError)) as caught:
        train(folder)
    return str(caught.value)


@pytest.mark.skipif(not hasattr(backend_registration, PRETEND), reason="this torch knows no devices made in Python")
def test_more_processes_than_devices_is_said_on_all(tmp_path):
    for said in on_ranks(2, tmp_path, on_one_device, tmp_path / "work"):
        assert "this is process 2 on this machine, and torch sees 1 sim devices here" in said
    assert not (tmp_path / "work").exists()


def lonely() -> str:
    """Wait for a rank that never comes."""
    if os.environ["RANK"] == "1":
        return ""
    with pytest.raises(RuntimeError) as caught:
        adopt_world({"timeout": 3})
    return str(caught.value)


def test_who_does_not_come_is_named(tmp_path):
    said, _ = on_ranks(2, tmp_path, lonely)
    assert "rank 1 has not come" in said
    assert "MASTER_PORT chooses another port" in said


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"backnd": "gloo"}, ValueError, "Did you mean 'backend'"),
        ({"timeout": 0}, ValueError, "seconds above 0"),
        ({"timeout": "60"}, ValueError, "seconds above 0"),
        ({"port": 70000}, ValueError, "from 1 to 65535"),
        ({"backend": 3}, TypeError, "backend must be a text"),
        ({"init_backend": "deepspeed"}, ValueError, "torch makes the process group"),
    ],
)
def test_dist_cfg_is_checked(given, kind, words):
    with pytest.raises(kind, match=words):
        read_dist_cfg(given)


def test_the_backend_is_that_of_the_device():
    assert (backend_for(None, "cuda"), backend_for("nccl", "cuda:1")) == ("nccl", "nccl")
    assert backend_for("cpu:gloo,cuda:nccl", "cpu") == "cpu:gloo,cuda:nccl"
    with pytest.raises(ValueError, match="gloo"):
        backend_for("glo", "cpu")
