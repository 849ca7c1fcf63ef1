"""Ranks that differ are told so before the first step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.ranks import Ranks, on_ranks
from hypothesis import given
from hypothesis import strategies as st
from runner.distributed.test_failures import as_script
from runner.distributed.test_signals import Dots, Endless, train
from seg_runner import Runner
from seg_runner.distributed.digest import canonical, differences
from torch import nn


class Extra:
    """A hook that one rank has more."""

    def after_train(self, runner: Any) -> None:
        pass


def differing(folder: Path, what: str, **more: Any) -> int:
    """Train on two ranks, of which the second is another one in something."""
    second = os.environ["RANK"] == "1"
    options: dict[str, Any] = {"max_iters": 4, **more}
    if what == "hooks" and second:
        options["hooks"] = (Extra(),)
    if what == "data" and second:
        options["train_dataloader"] = {"dataset": Dots(14), "batch_size": 2, "num_workers": 0}
    if what == "config" and second:
        options["max_iters"] = 5
    if what == "model":
        Runner(model=nn.Conv2d(3, 3 if second else 2, 1), work_dir=folder, loss=nn.CrossEntropyLoss())
    return train(folder, **options)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("hooks", "FallbackRuntimeInfoHook, Endless, Extra, "),
        ("data", "samples of train_dataloader: 16 on rank 0; 14 on rank 1"),
        ("config", "iterations: 4 on rank 0; 5 on rank 1"),
        ("model", "parameters of the model: 2 with 8 numbers on rank 0; 2 with 12 numbers on rank 1"),
    ],
)
def test_ranks_that_differ_are_told_in_what(tmp_path, what, told):
    with Ranks(2, tmp_path / "r", as_script, differing, tmp_path / "w", what) as ranks:
        assert ranks.codes() == [1, 1]
        said = [ranks.said(rank) for rank in (0, 1)]
    assert all("the ranks of this run are not the same" in text and told in text for text in said)
    assert sum("Traceback" in text for text in said) == 1
    assert all("step 0" not in text for text in said)


def test_nothing_is_compared_where_checks_are_left_out(tmp_path):
    assert on_ranks(2, tmp_path / "r", differing, tmp_path / "w", "data", skip_checks=True) == [4, 4]


def test_a_seed_of_its_own_is_no_difference(tmp_path):
    assert on_ranks(2, tmp_path / "r", differing, tmp_path / "w", "", randomness={"diff_rank_seed": True}) == [4, 4]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab") | st.sets(st.integers()),
    lambda parts: st.lists(parts) | st.dictionaries(st.text("ab"), parts),
)


@given(PLAIN)
def test_equal_values_have_no_differences(value: Any) -> None:
    told = {"x": repr(canonical(value))}
    assert differences([told, dict(told)]) == []


def test_objects_stand_by_their_class():
    assert canonical(Endless()) == canonical(Endless()) == "runner.distributed.test_signals.Endless"
