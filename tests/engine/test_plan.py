"""The plan of a run on many devices: its sums by hand, its figures of this machine, its tables on the page."""

from __future__ import annotations

import re
import shlex

import pytest
from helpers.tree import ROOT
from hypothesis import given
from hypothesis import strategies as st

from seg_engine.plan import formulae
from seg_engine.plan.__main__ import main, make_parser, make_plan
from seg_engine.plan.formulae import Failures, Links, Model, Storage
from seg_engine.plan.table import rows_of

PAGE = (ROOT / "docs/several-processes.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```sh\npython -m seg_engine\.plan ([^\n]*)\n```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
LINKS = Links(per_node=4, within=1000.0, across=100.0, latency_within=0.5, latency_across=2.0, latency_tcp=3.0)


@pytest.mark.parametrize(("words", "table"), TABLES, ids=range(len(TABLES)))
def test_the_tables_of_the_page_are_those_that_are_printed(words: str, table: str, capsys) -> None:
    assert main(shlex.split(words)) == 0
    assert capsys.readouterr().out == table


def test_the_page_has_two_tables() -> None:
    assert len(TABLES) == 2


def test_one_pass_over_eight_devices_in_two_machines() -> None:
    """3/4 of the bytes within at 1,000 a second, 1/2 of them between machines at 100; 3 hops within, 1 between."""
    assert formulae.pass_over(800.0, 8, LINKS) == pytest.approx(0.6 + 4.0 + 3 * 0.5 + 2.0)
    assert formulae.pass_over(800.0, 8, LINKS, calls=10) == pytest.approx(0.6 + 4.0 + 10 * (3 * 0.5 + 2.0))
    assert formulae.pass_over(800.0, 1, LINKS) == 0


def test_an_all_reduce_is_two_passes_and_fsdp_takes_three() -> None:
    model = Model(200, units=5)  # 800 bytes: one bucket
    once = formulae.pass_over(800.0, 8, LINKS)
    by_unit = formulae.pass_over(800.0, 8, LINKS, calls=5)
    assert formulae.wait("ddp", model, 4, 8, LINKS) == (0.0, pytest.approx(2 * once))
    assert formulae.wait("fsdp", model, 4, 8, LINKS) == (pytest.approx(by_unit), pytest.approx(2 * by_unit))
    within = formulae.pass_over(800.0, 4, LINKS, calls=5)
    forward, backward = formulae.wait("hsdp", model, 4, 8, LINKS)
    assert forward == pytest.approx(within)
    assert backward == pytest.approx(2 * within + 2 * (4.0 + 5 * 2.0))


def test_what_is_hidden_costs_nothing_but_its_last_part() -> None:
    model = Model(200, units=5)
    assert formulae.exposed("ddp", model, 4, 8, LINKS, compute=1e6) == pytest.approx(16.2), "the last bucket: all of it"
    once = formulae.pass_over(800.0, 8, LINKS, calls=5)
    assert formulae.exposed("fsdp", model, 4, 8, LINKS, compute=1e6) == pytest.approx(2 * once / 5)
    assert formulae.exposed("fsdp", model, 4, 8, LINKS, compute=3.0) == pytest.approx(once - 1 + 2 * once - 2)
    assert formulae.exposed("ddp", model, 4, 1, LINKS, compute=3.0) == 0


def test_half_the_bytes_are_sent_in_half_the_time() -> None:
    quick = Links(4, 1000.0, 100.0, 0.0, 0.0)
    model = Model(1e9)
    whole, half = (formulae.wait("ddp", model, width, 8, quick)[1] for width in (4, 2))
    assert half == pytest.approx(whole / 2)
    whole, half = (formulae.exposed("ddp", model, width, 8, quick, 1e12) for width in (4, 2))
    assert half == pytest.approx(whole / 2)


def test_synced_batch_norm_gathers_from_all_and_adds_over_all() -> None:
    """One layer of 10 channels on 4 devices: 4 x (20 + 1) numbers are gathered, 20 are added."""
    found = formulae.sync_norm_time(Model(1, norms=1, channels=10), 4, LINKS)
    assert found == pytest.approx((0.75 * 4 * 84 / 1000 + 1.5) + 2 * (0.75 * 4 * 20 / 1000 + 1.5))
    assert formulae.sync_norm_time(Model(1), 4, LINKS) == 0


def test_ranks_are_asked_every_quarter_of_a_second_or_as_seldom_as_it_is_dear() -> None:
    near, far = Links(8, 1, 1, latency_tcp=1e-5), Links(8, 1, 1, latency_tcp=1e-3)
    assert formulae.asking_time(2, near, 0.1) == pytest.approx(2e-5 * 0.1 / 0.25)
    assert formulae.asking_time(11, far, 0.1) == pytest.approx(0.1 / 200)
    assert formulae.asking_time(1, far, 0.1) == 0


def test_a_device_holds_what_its_strategy_leaves_it() -> None:
    model = Model(1000, units=10)
    assert formulae.memory("ddp", model, 8) == 20_000
    assert formulae.memory("fsdp", model, 8) == 2000 + 1600
    assert formulae.memory("hsdp", model, 64, 8) == 2000 + 1600


def test_checkpoints_are_made_as_often_as_loses_least() -> None:
    storage, failures = Storage(stage=100.0, write=10.0, disk=25.0, settle=0.5), Failures(2.0, restart=60.0)
    assert storage.blocked(1000.0, 1) == 10.5
    assert storage.blocked(1000.0, 4) == 3.0
    assert (storage.until_whole(1000.0, 1), storage.until_whole(1000.0, 4)) == (100.0, 40.0)
    assert failures.between(4) == 1800
    assert formulae.save_every(4.0, 1800.0) == 120
    assert formulae.save_every(4.0, 1800.0, until_whole=500.0) == 500
    assert failures.lost(120.0, 4.0, 4) == pytest.approx(4 / 120 + 120 / 1800)


@given(st.floats(0.01, 100), st.floats(1e3, 1e7), st.floats(0.5, 2))
def test_no_other_interval_loses_less(blocked: float, between: float, other: float) -> None:
    failures = Failures(between / 3600, restart=0.0)
    best = formulae.save_every(blocked, between)
    assert failures.lost(best, blocked, 1) <= failures.lost(best * other, blocked, 1) * (1 + 1e-9)


@given(st.sampled_from(["ddp", "fsdp", "hsdp"]), st.integers(0, 7))
def test_more_machines_send_more_and_never_more_than_the_limit(strategy: str, doublings: int) -> None:
    limit = {"ddp": 2, "fsdp": 3, "hsdp": 3 * 7 / 8 + 2 / 8}[strategy]
    few, many = (formulae.sent(strategy, 1.0, 8 * 2**each, 8) for each in (doublings, doublings + 1))
    assert few <= many < limit


def test_rows_say_what_the_options_say() -> None:
    words = "--millions 1 --devices 16 --batch 4 --step 0.5 --sample-kb 10 --sample-ms 250 --base 16 1000 --ema"
    given = make_parser().parse_args(words.split())
    rows = {row[0].strip(): row[1:] for row in rows_of(make_plan(given), given.devices)}
    assert rows["samples in a step, of all devices"] == ["64"]
    assert rows["samples read a second"] == ["128"]
    assert rows["read from the disk, MB/s"] == ["1"]
    assert rows["workers a device, at the least"] == ["2.0"]
    assert rows["learning rate times (auto_scale_lr)"] == ["4.0"]
    assert rows["steps for as many samples"] == ["250"]
    assert "checkpoint of 0.02 GB" in rows


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--devices 8", "how large is the model? --millions 82"),
        ("--millions 1 --devices 12", "no whole machines of 8"),
        ("--config nowhere.py", "there is no config nowhere.py"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(words: str, says: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert says in capsys.readouterr().err


def test_figures_of_this_machine_are_options_of_the_command(tmp_path, capsys) -> None:
    config = ROOT / "src/seg_engine/demo/configs/convnext_street.py"
    assert main(["--measure", str(tmp_path), "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    given = make_parser().parse_args(printed.split())
    assert given.millions > 0
    assert given.stage > 0
    assert given.write > 0
    assert not list(tmp_path.glob("*/"))
    assert main(["--config", str(config), "--devices", "8"]) == 0
    assert f"{formulae.sent('ddp', 4e6 * given.millions, 8) / 1e6:,.0f}" in capsys.readouterr().out
