from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_hooks.hooks.best import (
    infer_rule,
    is_better,
    missing_text,
    pick_auto,
    read_score,
    rule_doubt,
)
from seg_hooks.hooks.checkpoint_files import file_key, surplus

METRICS = {"mIoU": 50.0, "mDice": 60.0, "aAcc": 90.0, "loss": 0.25, "coco/bbox_mAP": 0.4, "IoU": {"road": 95.0}}


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("mIoU", "greater"),
        ("miou", "greater"),
        ("coco/bbox_mAP", "greater"),
        ("AR@100", "greater"),
        ("loss", "less"),
        ("val_loss", "less"),
        ("top1_loss", "greater"),
        ("0.5*mIoU + 0.5*mDice", "greater"),
        ("loss_ce + loss_dice", "less"),
        ("(mIoU + aAcc) / 2", "greater"),
        ("IoU.road", "greater"),
        ("loss_iou", "less"),
        ("rmse", "less"),
    ],
)
def test_rules_are_inferred_as_the_reference_does(key: str, rule: str) -> None:
    assert infer_rule("Here", key) == rule


@pytest.mark.parametrize("key", ["score", "mIoU + rmse", "mIoU + 2*loss", "", "1 + 1"])
def test_what_cannot_be_told_is_an_error(key: str) -> None:
    with pytest.raises(ValueError, match=r"Here: cannot tell .* rule='greater' or rule='less'"):
        infer_rule("Here", key)


def test_a_misspelt_metric_is_told_with_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"cannot tell from 'mIuO' .* Did you mean 'mIoU'\? For a metric of your own"):
        infer_rule("Here", "mIuO")


def test_a_rule_that_may_be_wrong_is_doubted() -> None:
    assert "less" in str(rule_doubt("top1_loss"))
    assert "error" in str(rule_doubt("topology_error"))
    assert rule_doubt("mIoU") is None
    assert rule_doubt("val_loss") is None


@pytest.mark.parametrize(
    ("key", "score"),
    [
        ("mIoU", 50.0),
        ("IoU.road", 95.0),
        ("coco/bbox_mAP", 0.4),
        ("0.5*mIoU+0.5*mDice", 55.0),
        ("mIoU - 10*loss", 47.5),
        ("-loss", -0.25),
        ("(mIoU + IoU.road) / 2", 72.5),
        ("mIoU / (loss - loss)", math.nan),
        ("+mIoU", 50.0),
        ("100 - -mIoU", 150.0),
        ("coco/bbox_mAP * 2", None),  # read as coco divided by bbox_mAP, of which there is neither
        ("2 * (mIoU + 1.5)", 103.0),
    ],
)
def test_scores(key: str, score: float | None) -> None:
    assert read_score(METRICS, key) == pytest.approx(score, nan_ok=True)


NOT_THERE = ["mIou2", "IoU.sky", "0.5*mIoU + nothing", "nothing + mIoU", "-nothing", "IoU.road.x"]
NO_SCORE = ["__import__('os')", "mIoU if 1 else 2", "[", "True * mIoU", "mIoU ** 2", "mIoU // 2", "not mIoU", "f(mIoU)"]


@pytest.mark.parametrize("key", [*NOT_THERE, *NO_SCORE, "mIoU + 'a'", "f().mIoU", "mIoU, loss"])
def test_what_is_not_there_is_none(key: str) -> None:
    assert read_score(METRICS, key) is None


def test_a_metric_that_is_no_number_is_an_error() -> None:
    with pytest.raises(TypeError, match="'IoU' is a dict"):
        read_score(METRICS, "IoU")


def test_names_with_dots_are_found_at_any_depth() -> None:
    nested = {"val": {"IoU": {"road.old": 1.0, "road": {"new": 2.0}}}, "val.IoU": {"sky": 3.0}}
    assert read_score(nested, "val.IoU.road.old") == 1.0
    assert read_score(nested, "val.IoU.road.new") == 2.0
    assert read_score(nested, "val.IoU.sky") == 3.0
    assert read_score(nested, "val.IoU.road.old + val.IoU.sky") == 4.0
    assert read_score(nested, "val.IoU.grass") is None


def test_what_is_missing_is_told_with_all_that_is_there() -> None:
    assert missing_text("Here", "road", METRICS) == (
        "Here: 'road' cannot be read from the metrics ['IoU.road', 'aAcc', 'coco/bbox_mAP', 'loss', 'mDice', 'mIoU']."
        " Did you mean 'IoU.road'?"
    )
    assert missing_text("Here", "zzz", {"a": {"b": {"c": 1}, "d": {}}}).endswith("the metrics ['a.b.c', 'a.d'].")


def test_a_flat_name_with_dots_comes_first() -> None:
    assert read_score({"IoU.road": 1.0, "IoU": {"road": 2.0}}, "IoU.road") == 1.0


@given(st.floats(), st.none() | st.floats(), st.sampled_from(["greater", "less"]))
def test_better_is_strict_and_nan_never_wins(score: float, best: float | None, rule: str) -> None:
    if not math.isfinite(score):
        assert not is_better(score, best, rule)
    elif best is None or not math.isfinite(best):
        assert is_better(score, best, rule)
    else:
        assert is_better(score, best, rule) == (score > best if rule == "greater" else score < best)
        assert not (is_better(score, best, rule) and is_better(best, score, rule))


def test_auto_prefers_miou() -> None:
    assert pick_auto({"aAcc": 1, "mIoU": 2}) == "mIoU"
    assert pick_auto({"aAcc": 1, "road/mIoU": 2}) == "road/mIoU"
    assert pick_auto({"aAcc": 1, "mDice": 2}) == "aAcc"
    assert pick_auto({"model": "unet", "done": True, "IoU": {"a": 1}, "mDice": 2, "aAcc": 1}) == "mDice"
    assert pick_auto({"model": "unet", "done": True}) == "model"


@given(st.text(min_size=1))
def test_a_file_key_is_a_file_name(key: str) -> None:
    assert "/" not in file_key(key)
    assert "\0" not in file_key(key)
    assert file_key("a/b") == "a_b"
    assert len(file_key(key * 300).encode("utf-8", "replace")) <= 129


def test_long_expressions_are_told_apart_in_file_names() -> None:
    keys = ["+".join(f"0.05*IoU.class_{number}" for number in range(last)) for last in (20, 21)]
    assert len({file_key(key) for key in keys}) == 2
    assert file_key("x" * 120) == "x" * 120
    assert re.fullmatch("x{120}_[0-9a-f]{8}", file_key("x" * 121))


@given(st.lists(st.integers(), unique=True), st.integers(-1, 5))
def test_the_newest_stay(kept: list[int], most: int) -> None:
    gone = surplus(kept, most)
    assert [*gone, *kept[len(gone) :]] == kept
    assert len(kept) - len(gone) == (min(len(kept), most) if most > 0 else len(kept))
