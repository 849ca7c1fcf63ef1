"""An error, a kill or a wait on one of several ranks ends all of them, with words."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import Ranks
from runner.distributed.test_signals import Dots, lines, train, until
from seg_runner.distributed.endings import Ending, OtherRankError
from seg_runner.distributed.places import describe_places


def as_script(function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Do as the interpreter does with an error that nobody catches."""
    try:
        function(*args, **options)
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


class Fails:
    """A hook that raises on one rank."""

    def __init__(self, rank: int, point: str = "after_train_iter", at: int = 3) -> None:
        self.rank, self.at = rank, at
        setattr(self, point, self.fail)

    def fail(self, runner: Any) -> None:
        if runner.rank == self.rank and runner.iter >= self.at:
            raise ValueError("the disk of pictures is full")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("point", ["after_train_iter", "after_val_iter"])
def test_an_error_of_one_rank_ends_all_and_is_shown_once(tmp_path, rank, point):
    hooks = (Fails(rank, point),)
    with Ranks(2, tmp_path / "r", as_script, train, tmp_path / "w", val=8, hooks=hooks) as ranks:
        assert ranks.codes() == [1, 1]
        said = [ranks.said(each) for each in (0, 1)]
    assert [text.count("Traceback (most recent call last)") for text in said] == [int(rank == each) for each in (0, 1)]
    (last,) = [line for line in said[1 - rank].splitlines() if "ends:" in line]
    log = "_rank1.log" if rank else ".log"
    assert last.startswith(f"rank {1 - rank} ends: rank {rank}: ValueError: the disk of pictures is full; in ")
    assert last.endswith(f"{log})")
    assert "ValueError: the disk of pictures is full" in lines(tmp_path / "w", rank)
    assert f"rank {rank}: ValueError: the disk of pictures is full" in lines(tmp_path / "w", 1 - rank)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_all_with_words(tmp_path, rank):
    with Ranks(3, tmp_path / "r", as_script, train, tmp_path / "w") as ranks:
        until(ranks, rank, "step 3")
        ranks.signal(rank, signal.SIGKILL)
        codes = ranks.codes()
        assert [codes[each] for each in range(3)] == [-9 if each == rank else 1 for each in range(3)]
        for each in {0, 1, 2} - {rank}:
            said = ranks.said(each)
            assert "Traceback" not in said
            assert f"rank {each} ends: rank {rank}: has ended without a word" in said


class Broken(Dots):
    """Has an image that one rank cannot read."""

    def __getitem__(self, index: int) -> Any:
        if os.environ["RANK"] == "1" and index == 13:
            raise OSError("truncated file")
        return super().__getitem__(index)


def train_with_workers(folder: Path) -> None:
    train(folder, train_dataloader={"dataset": Broken(16), "batch_size": 2, "num_workers": 1})


def test_an_error_in_a_worker_of_one_rank(tmp_path):
    with Ranks(2, tmp_path / "r", as_script, train_with_workers, tmp_path / "w") as ranks:
        assert ranks.codes() == [1, 1]
        assert "rank 0 ends: rank 1: OSError: Caught OSError in DataLoader worker process 0" in ranks.said(0)
        assert "truncated file" in ranks.said(0)
        assert "Traceback" not in ranks.said(0)
        assert "truncated file" in ranks.said(1)


class Dear(torch.nn.Module):
    """A model that is not made on one rank, or on none."""

    def __init__(self, rank: int | None) -> None:
        super().__init__()
        if rank is None or os.environ["RANK"] == str(rank):
            raise ValueError("there is no such backbone")


@pytest.mark.parametrize("rank", [1, None])
def test_an_error_before_the_first_step(tmp_path, rank):
    options = {"model": {"type": Dear, "rank": rank}}
    with Ranks(2, tmp_path / "r", as_script, train_built, tmp_path / "w", **options) as ranks:
        assert ranks.codes() == [1, 1]
        said = [ranks.said(each) for each in (0, 1)]
    assert sum("Traceback" in text for text in said) == 1
    assert all("there is no such backbone" in text for text in said)
    assert not (tmp_path / "w").exists()


class Build:
    """Builds the model only."""

    def get(self, kind: str, name: str) -> Any:
        return Dear

    def build(self, kind: str, cfg: Any) -> Any:
        return Dear(cfg["rank"])


def train_built(folder: Path, model: dict[str, Any]) -> None:
    from seg_runner import Runner

    if model["rank"] is None or os.environ["RANK"] == str(model["rank"]):
        Runner(model=model, work_dir=folder, build=Build())
    else:
        train(folder)


class Stays:
    """A hook that does not come back on one rank, in a wait that python can leave or in C."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def after_train_iter(self, runner: Any) -> None:
        if runner.rank == self.rank and runner.iter == 3:
            print("staying", flush=True)
            threading.Event().wait()


def test_a_rank_that_waits_elsewhere_is_ended_too(tmp_path):
    with Ranks(2, tmp_path / "r", as_script, train, tmp_path / "w", hooks=(Stays(0),)) as ranks:
        until(ranks, 0, "staying")
        ranks.signal(1, signal.SIGKILL)
        assert ranks.codes() == [1, -9]
        assert "rank 0 ends: rank 1: has ended without a word" in ranks.said(0)
    assert (tmp_path / "w" / "interrupted_iter_4.pth").exists()


def test_a_timeout_says_which_rank_waits_where(tmp_path):
    options = {"env_cfg": {"dist_cfg": {"timeout": 8}}, "hooks": (Stays(1),)}
    with Ranks(2, tmp_path / "r", as_script, train, tmp_path / "w", **options) as ranks:
        assert ranks.codes() == [1, 1]
        said = ranks.said(0)
    assert "rank 0 waited in vain for another one. Where the ranks are:" in said
    place = r"rank 0 \(this one\): iteration 4, (in the training step|asking the other ranks whether to stop), for "
    assert re.search(place, said)
    assert re.search(r"last exchange: gloo:all_reduce of \d+: number \d+ of group \d\n", said)
    assert "rank 1: iteration 3, in a hook, for " in said
    assert "test_failures.py" in said
    assert "rank 1 ends: rank 0: has waited in vain for another rank" in ranks.said(1)


def test_places_of_ranks_that_tell_nothing():
    assert describe_places([None], 0) == "rank 0: has not told where it is"


def test_an_ending_says_what_and_where():
    ending = Ending(1, "ValueError: x", log="a.log")
    assert Ending.from_json(ending.to_json()) == ending
    assert isinstance(ending.error(), OtherRankError)
    assert str(ending.error()) == "rank 1: ValueError: x (see a.log)"
    assert (ending.code, Ending(1, "", signal=15).code) == (1, 143)
