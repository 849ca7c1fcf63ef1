"""What ranks tell one another, in each package that has several of them: the same words."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from helpers.ranks import on_ranks


def talk(module: str) -> dict[str, Any]:
    adopt_world = importlib.import_module(module).adopt_world
    world = adopt_world()
    told: dict[str, Any] = {"place": (world.rank, world.size, world.says)}
    told["shared"] = world.share(f"of {world.rank}")
    told["gathered"] = world.gather(world.rank)
    told["first"] = world.first(lambda: f"by {world.rank}")
    try:
        world.first(lambda: Path("/no/such/file").read_bytes())
    except Exception as error:
        told["words"] = str(error)
    told["again"] = adopt_world() is world
    return told


@pytest.mark.parametrize("module", ["seg_hooks.processes.world", "seg_runner.distributed.world"])
def test_ranks_find_one_another_and_talk(module: str, tmp_path: Path) -> None:
    told = on_ranks(2, tmp_path, talk, module)
    assert [one.pop("place") for one in told] == [(rank, 2, "WORLD_SIZE=2, as torchrun sets it") for rank in (0, 1)]
    for one in told:
        assert "No such file or directory: '/no/such/file'" in one.pop("words")
        assert one == {"shared": "of 0", "gathered": [0, 1], "first": "by 0", "again": True}
