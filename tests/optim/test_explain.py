"""explain and plot_schedule: the table, its notes, rates over the run, pictures."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from seg_optim import PolyLR, build_optim_wrapper, explain, freeze, plot_schedule
from torch import nn

CFG: dict[str, Any] = {
    "optimizer": {"type": "AdamW", "lr": 0.001, "weight_decay": 0.05},
    "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}},
}
POLY = {"type": "PolyLR", "eta_min": 0.0, "by_epoch": False}
WARM = {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 40, "by_epoch": False}


def test_every_parameter_has_its_rule_group_and_rates(convnet: nn.Module) -> None:
    rows = {row["name"]: row for row in explain(convnet, CFG).rows}
    assert list(rows) == [name for name, _ in convnet.named_parameters()]
    assert rows["norm.weight"] == {
        "name": "norm.weight",
        "shape": "8",
        "rule": "norm_decay_mult",
        "group": "no_decay",
        "lr": 0.001,
        "weight_decay": 0.0,
        "layer": "",
    }
    assert rows["head.bias"]["rule"] == "custom_keys['head']"
    assert rows["stem.weight"]["rule"] == "default"


def test_the_rates_are_those_of_the_built_optimizer(convnet: nn.Module) -> None:
    wrapper = build_optim_wrapper(convnet, CFG)
    from_config, from_wrapper = explain(convnet, CFG), explain(convnet, wrapper)
    for mine, other in zip(from_config.rows, from_wrapper.rows, strict=True):
        assert {**mine, "rule": ""} == other
    plain = explain(convnet, torch.optim.SGD(convnet.stem.parameters(), lr=0.1))
    assert {row["group"] for row in plain.rows} == {"0", "-"}
    assert plain.notes[0].startswith("trainable, but in no group (6): norm.weight")


def test_composed_rules_name_both(convnet: nn.Module) -> None:
    cfg = {**CFG, "paramwise_cfg": {"compose": True, "norm_decay_mult": 0.0, "custom_keys": {"norm": {"lr_mult": 2.0}}}}
    rows = {row["name"]: row["rule"] for row in explain(convnet, cfg).rows}
    assert rows["norm.bias"] == "custom_keys['norm'] + norm_decay_mult"


def test_layer_decay_shows_the_layers(vit: nn.Module) -> None:
    cfg = {
        "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05},
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"decay_rate": 0.5, "num_layers": "auto"},
    }
    rows = {row["name"]: row for row in explain(vit, cfg).rows}
    assert [rows[name]["layer"] for name in ("cls_token", "blocks.1.fc.weight", "head.bias")] == [0, 2, 4]
    assert rows["blocks.1.fc.weight"]["rule"] == "layer decay"


def test_frozen_parameters_are_called_that(convnet: nn.Module) -> None:
    freeze(convnet, "stem")
    rows = {row["name"]: row["rule"] for row in explain(convnet, CFG).rows}
    assert rows["stem.weight"] == "frozen"


def test_what_would_surprise_is_noted(convnet: nn.Module) -> None:
    cfg = {**CFG, "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 0.01}}}, "accumulative_counts": 4}
    schedule = [WARM, {**POLY, "begin": 40, "eta_min": 1e-4}]
    notes = explain(convnet, cfg, schedule, max_iters=400).notes
    assert notes == [
        "weight decay on norms (2): norm.weight, norm.bias; norm_decay_mult=0.0 turns it off",
        "weight decay on biases (3): stem.bias, depthwise.bias, head.bias; bias_decay_mult=0.0 turns it off",
        "LinearLR: 40 iterations of warm-up are 10 optimizer steps with accumulative_counts=4; "
        "unit='step' counts those",
        "PolyLR: eta_min=0.0001 is above the learning rate of lr_x0.01, which will rise to it; use eta_min_ratio",
    ]
    flattened = explain(convnet, CFG, {**POLY, "eta_min": 1e-4}, max_iters=40).notes
    assert any("their ratio is lost" in note for note in flattened)
    quiet = {**CFG, "paramwise_cfg": {"flat_decay_mult": 0.0}}
    assert explain(convnet, quiet, [WARM, POLY | {"begin": 40}], max_iters=400).notes == []


def test_every_kind_of_warm_up_is_noted_and_momentum_has_no_rate_to_flatten(convnet: nn.Module) -> None:
    cfg = {**CFG, "accumulative_counts": 4}
    flat = {"type": "ConstantLR", "factor": 0.1, "end": 40, "by_epoch": False}
    momentum = {"type": "CosineAnnealingMomentum", "eta_min": 0.85, "by_epoch": False}
    notes = [note for note in explain(convnet, cfg, [flat, momentum], max_iters=80).notes if "weight decay" not in note]
    assert notes == [
        "ConstantLR: 40 iterations of warm-up are 10 optimizer steps with accumulative_counts=4; "
        "unit='step' counts those"
    ]
    by_class = explain(convnet, CFG, {"type": PolyLR, "eta_min": 1e-4, "by_epoch": False}, max_iters=40).notes
    assert any(note.startswith("PolyLR: eta_min=0.0001 is the same") for note in by_class)


def test_frozen_parameters_in_a_group_are_told(convnet: nn.Module) -> None:
    convnet.stem.weight.requires_grad_(False)
    rows = {row["name"]: row for row in explain(convnet, {"optimizer": CFG["optimizer"]}).rows}
    assert (rows["stem.weight"]["rule"], rows["stem.weight"]["group"]) == ("frozen, in a group", "base")


def test_what_cannot_be_explained(convnet: nn.Module) -> None:
    for schedule, words in (("PolyLR", "param_scheduler is 'PolyLR'"), ([POLY, 3], r"param_scheduler\[1\] is 3")):
        with pytest.raises(TypeError, match=words):
            explain(convnet, CFG, schedule, max_iters=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_iters=0"):
        explain(convnet, CFG, POLY, max_iters=0)


def test_rates_over_the_run(convnet: nn.Module) -> None:
    found = explain(convnet, CFG, [WARM, {**POLY, "begin": 40}], max_iters=400)
    assert set(found.schedule) == {"base", "no_decay", "lr_x10"}
    assert found.schedule["lr_x10"][39] == pytest.approx(0.01)
    assert len(found.schedule["base"]) == 400
    assert "lr_x10: 0.001 @0 .. " in found.text()


def test_forms(convnet: nn.Module) -> None:
    found = explain(convnet, CFG)
    assert json.loads(json.dumps(found.to_dict()))["rows"] == found.rows
    rows = list(csv.DictReader(found.csv().splitlines()))
    assert rows[2]["name"] == "norm.weight"
    assert str(found).splitlines()[0].split() == ["name", "shape", "rule", "group", "lr", "weight_decay", "layer"]


def test_the_plot_has_the_values_of_training() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = PolyLR(optimizer, power=0.9, eta_min=1e-4, end=200, by_epoch=False)
    expected = []
    for _ in range(200):
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    plot = plot_schedule({"type": "PolyLR", "power": 0.9, "eta_min": 1e-4, "by_epoch": False}, 200, lr=0.01)
    assert plot.values == {"lr": expected}


def test_schedules_by_epoch_and_by_optimizer_step() -> None:
    steps = plot_schedule({"type": "StepLR", "step_size": 2, "by_epoch": True}, 12, epoch_length=3).values["lr"]
    assert steps == pytest.approx([1.0] * 6 + [0.1] * 6)
    converted = {"type": "LinearLR", "start_factor": 0.5, "end": 2, "convert_to_iter_based": True}
    ramp = plot_schedule(converted, 8, epoch_length=3).values["lr"]
    assert ramp == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1])
    counted = {"type": "LinearLR", "start_factor": 0.5, "end": 3, "by_epoch": False, "unit": "step"}
    assert plot_schedule(counted, 6, accumulative_counts=2).values["lr"] == pytest.approx([0.5, 0.5, 0.75, 0.75, 1, 1])
    to_the_end = {"type": "PolyLR", "by_epoch": False, "unit": "step"}
    assert plot_schedule(to_the_end, 6, accumulative_counts=2).values["lr"] == pytest.approx([1, 1, 0.5, 0.5, 0, 0])


def test_pictures(tmp_path: Path) -> None:
    plot = plot_schedule([WARM, {**POLY, "begin": 40}], 400, lr={"backbone": 1e-5, "a<b": 1e-4})
    lines = plot.sparkline(width=10).splitlines()
    assert [len(line.split()[1]) for line in lines] == [10, 10]
    root = ElementTree.fromstring(plot.save(tmp_path / "lr.svg").read_text())
    assert len([element for element in root if element.tag.endswith("polyline")]) == 2
    table = plot.save(tmp_path / "lr.csv").read_text().splitlines()
    assert table[0] == "iteration,backbone,a<b"
    assert len(table) == 401
    with pytest.raises(ValueError, match=r"\.svg, \.csv or \.png"):
        plot.save(tmp_path / "lr.gif")
    with pytest.raises(ValueError, match="max_iters=0"):
        plot_schedule(POLY, 0)


@pytest.mark.parametrize(
    ("cfg", "arguments", "error", "words"),
    [
        ({"type": "PolyRL"}, {}, KeyError, r"param_scheduler\.type='PolyRL'.*Did you mean 'PolyLR'"),
        ([POLY, {"type": "polylr"}], {}, KeyError, r"param_scheduler\[1\]\.type='polylr'.*'PolyLR'"),
        ("PolyLR", {}, TypeError, "param_scheduler is 'PolyLR', a dict"),
        ([POLY, None], {}, TypeError, r"param_scheduler\[1\] is None"),
        ({"end": 10}, {}, TypeError, r"param_scheduler\.type is None"),
        ({**POLY, "begin": 9, "end": 5}, {}, ValueError, "end=5 is not after begin=9"),
        (POLY, {"max_iters": "10"}, TypeError, "max_iters='10'"),
        (POLY, {"epoch_length": 0}, ValueError, "epoch_length=0"),
        (POLY, {"accumulative_counts": 0}, ValueError, "accumulative_counts=0"),
        (POLY, {"lr": -1.0}, ValueError, "lr=-1.0"),
        (POLY, {"lr": {}}, ValueError, "no groups"),
    ],
)
def test_schedules_that_cannot_be_plotted(cfg: Any, arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plot_schedule(cfg, **({"max_iters": 20} | arguments))


def test_an_error_in_a_schedule_notes_its_place() -> None:
    with pytest.raises(ValueError, match="end=5") as caught:
        plot_schedule([POLY, {**POLY, "begin": 9, "end": 5}], 20)
    assert caught.value.__notes__ == ["in param_scheduler[1]"]


def test_a_png_where_matplotlib_is(tmp_path: Path) -> None:
    plot = plot_schedule(POLY, 20)
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(ImportError, match="pip install matplotlib"):
            plot.save(tmp_path / "lr.png")
    else:
        assert plot.save(tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
