"""Positions in the data that each rank has for itself: a loader with a state of its own is elsewhere on each rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_runner.distributed.world import World

__all__ = ["gather_positions", "own_position"]


def gather_positions(world: World, payload: dict[str, Any]) -> None:
    """Put the states of all ranks' loaders into a checkpoint, where loaders keep one; called by all."""
    position = _position(payload)
    if world.size > 1 and "loader" in position:
        position["loaders"] = world.gather(position.pop("loader"))


def own_position(world: World, checkpoint: dict[str, Any]) -> None:
    """Leave of the states of all ranks' loaders that of this rank; none where there were more ranks, or fewer."""
    position = _position(checkpoint)
    loaders = position.pop("loaders", None)
    if loaders is None and world.size > 1:
        position.pop("loader", None)  # of one process
    if isinstance(loaders, list) and len(loaders) == world.size:
        position["loader"] = loaders[world.rank]


def _position(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a checkpoint that says where the source of the data stands, which may be changed."""
    data = checkpoint.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("position"), Mapping):
        return {}
    position = dict(data["position"])
    checkpoint["data"] = {**data, "position": position}
    return position
