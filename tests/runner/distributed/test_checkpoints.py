"""Whole files of several ranks: one chosen for all, read by all, and gone on from on any number of ranks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.blocks import Blocks
from helpers.ranks import on_ranks
from seg_runner import DefaultSampler, Runner
from seg_runner.checkpoint.several import choose
from seg_runner.checkpoint.several.choose import at_hand
from seg_runner.distributed.world import OtherRankError, adopt_world
from torch import nn


def rank() -> int:
    return int(os.environ["RANK"])


def make_runner(folder: Path, iters: int, **more: Any) -> Runner:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    size = 8 // int(os.environ["WORLD_SIZE"])
    return Runner(
        **{
            "model": net,
            "loss": nn.CrossEntropyLoss(),
            "work_dir": folder,
            "train_dataloader": {
                "dataset": Blocks(24),
                "sampler": {"type": DefaultSampler},
                "batch_size": size,
                "num_workers": 0,
            },
            "train_cfg": {"max_iters": iters},
            "optim_wrapper": torch.optim.AdamW(net.parameters(), 0.01),
            "randomness": {"seed": 3},
            **more,
        }
    )


def train(folder: Path, iters: int, **more: Any) -> dict[str, Any]:
    """Train on this rank; return the weights and the optimizer's state, both before the first step and at the end."""
    runner = make_runner(folder, iters, **more)
    seen: dict[str, Any] = {}

    class Looks:
        def before_train(self, runner: Any) -> None:
            seen["began"] = runner.iter, state_of(runner)

    runner.register_hook(Looks())
    runner.train()
    return {**seen, "ended": state_of(runner), "resumed": runner.resumed}


def state_of(runner: Any) -> dict[str, Any]:
    found = {"weights": runner.model.state_dict(), "optimizer": runner.optim_wrapper.state_dict()["state"]}
    return torch.utils._pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, found)


def assert_equal(found: Any, expected: Any, path: str = "") -> None:
    """Hold two trees equal to the last bit."""
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=lambda text: f"{path}: {text}")
    elif isinstance(expected, dict):
        assert list(found) == list(expected), path
        for key, value in expected.items():
            assert_equal(found[key], value, f"{path}/{key}")
    elif isinstance(expected, list | tuple):
        assert (type(found), len(found)) == (type(expected), len(expected)), path
        for number, value in enumerate(expected):
            assert_equal(found[number], value, f"{path}/{number}")
    else:
        assert found == expected, path


def bare(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "weights": {name.removeprefix("module."): value for name, value in state["weights"].items()},
        "optimizer": state["optimizer"],
    }


def test_saved_on_two_ranks_and_gone_on_from_on_one_two_and_four(tmp_path):
    first = on_ranks(2, tmp_path / "first", train, tmp_path / "run", 6)
    ends = []
    for world in (1, 2, 4):
        folder = tmp_path / f"on{world}"
        found = on_ranks(world, folder, train, folder, 12, resume=str(tmp_path / "run" / "iter_6.pth"))
        for each in found:
            assert each["began"][0] == 6
            assert_equal(bare(each["began"][1]), bare(first[0]["ended"]))
        ends.append(bare(found[0]["ended"]))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-4, atol=1e-6)


def resume_without_disk(folder: Path) -> tuple[bool, int]:
    """Go on in a folder that lies on the disk of rank 0 alone."""
    if rank():
        choose._mark_of = lambda path: None  # what it says where nothing is there
    found = train(folder, 8, resume=True)
    return found["resumed"], found["began"][0]


def test_what_only_rank_0_sees_is_chosen_by_it_and_sent(tmp_path):
    folder = tmp_path / "run"
    on_ranks(2, tmp_path / "first", train, folder, 4)
    assert on_ranks(2, tmp_path / "again", resume_without_disk, folder) == [(True, 4)] * 2
    assert any("it is sent to them" in path.read_text() for path in folder.glob("*/*.log"))


def words_of_failure(folder: Path) -> str:
    """Resume what is no checkpoint."""
    try:
        train(folder, 8, resume=str(folder / "no.pth"))
    except Exception as error:
        return str(error)
    return ""


def test_an_error_of_rank_0_is_told_on_all_ranks(tmp_path):
    (tmp_path / "run").mkdir()
    found = on_ranks(2, tmp_path / "ranks", words_of_failure, tmp_path / "run")
    assert "there is no checkpoint" in found[0]
    assert found[1].startswith("rank 0: FileNotFoundError: there is no checkpoint")


def each_or_none() -> str:
    world = adopt_world()

    def read() -> str:
        if world.rank == 1:
            raise ValueError("cannot read this")
        return "read"

    with pytest.raises((ValueError, OtherRankError)) as caught:
        world.each(read)
    return str(caught.value)


def test_an_error_of_any_rank_is_raised_on_all(tmp_path):
    found = on_ranks(2, tmp_path, each_or_none)
    assert found == ["rank 1: ValueError: cannot read this", "cannot read this"]


def fetch_folder(folder: Path) -> dict[str, bytes]:
    """Have rank 0's folder of files at hand on a rank that does not see it."""
    world = adopt_world()
    path = folder if world.rank == 0 else folder.parent / "elsewhere" / folder.name
    with at_hand(world, path) as near:
        return {each.name: each.read_bytes() for each in near.iterdir()}


def test_a_folder_of_files_is_sent_whole(tmp_path):
    folder = tmp_path / "set.pth"
    folder.mkdir()
    wanted = {"a": b"x" * 70_000, "b": b"", "c": bytes(range(256))}
    for name, content in wanted.items():
        (folder / name).write_bytes(content)
    assert on_ranks(2, tmp_path / "ranks", fetch_folder, folder) == [wanted, wanted]


class Stateful(list):
    """A loader with a state of its own."""

    def __init__(self, rank: int, world: int) -> None:
        generator = torch.Generator().manual_seed(rank)
        images = [torch.randn(2, 3, 6, 6, generator=generator) for _ in range(40)]
        super().__init__((image, image[:, 0].gt(0).long()) for image in images)
        self.at, self.rank, self.world = 0, rank, world

    def __iter__(self):
        while self.at < len(self):
            self.at += 1
            yield self[self.at - 1]
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "rank": self.rank}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["rank"] == self.rank
        self.at = state["at"]


def train_stateful(folder: Path, iters: int, **more: Any) -> tuple[int, list[Any]]:
    loader = Stateful(rank(), int(os.environ["WORLD_SIZE"]))
    runner = make_runner(folder, iters, train_dataloader=loader, **more)
    began: list[int] = []

    class Looks:
        def before_train(self, runner: Any) -> None:
            began.append(loader.at)

    runner.register_hook(Looks())
    runner.train()
    return began[0], runner.hooks and [loader.at]


def test_loaders_with_a_state_of_their_own_get_each_their_own_back(tmp_path):
    on_ranks(2, tmp_path / "first", train_stateful, tmp_path / "run", 3)
    file = str(tmp_path / "run" / "iter_3.pth")
    again = on_ranks(2, tmp_path / "again", train_stateful, tmp_path / "run", 5, resume=file)
    assert [began for began, _ in again] == [3, 3]
    more = on_ranks(4, tmp_path / "more", train_stateful, tmp_path / "other", 5, resume=file)
    assert [began for began, _ in more] == [0] * 4
