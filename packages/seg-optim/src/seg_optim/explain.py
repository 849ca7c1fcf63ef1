"""explain: why each parameter has the rate that it has, and what a reader of the config would not expect."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from seg_optim.build import CONSTRUCTORS, build_optim_wrapper
from seg_optim.groups.collect import parameter_names
from seg_optim.groups.constructor import DefaultOptimWrapperConstructor
from seg_optim.groups.layer_decay import LearningRateDecayOptimizerConstructor
from seg_optim.groups.rules import Rules, Subject, is_norm, names_without_decay, subjects
from seg_optim.schedules.simulate import configs_by_place, simulated
from seg_optim.unwrap import unwrap
from seg_optim.wrappers.optimizers import find
from seg_optim.wrappers.wrapper import OptimWrapper

__all__ = ["Explanation", "explain"]

COLUMNS = ("name", "shape", "rule", "group", "lr", "weight_decay", "layer")
NO_GROUP = "-"
NOT_TRAINED = {(True, False): "frozen, in a group", (False, False): "frozen", (False, True): "none"}
"""What stands for the rule, by whether a parameter is in a group and whether it learns."""


@dataclass(frozen=True)
class Explanation:
    """A table of parameters and what stands out in it.

    Attributes:
        rows: one dict per parameter, with `name`, `shape`, `rule`, `group`, `lr`, `weight_decay` and `layer`.
        notes: what a reader of the config would not expect.
        schedule: group -> learning rate in each iteration, where a schedule was given.
    """

    rows: list[dict[str, Any]]
    notes: list[str]
    schedule: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return the table, the rates of each group over the run, the notes."""
        cells = [[_cell(row[key]) for key in COLUMNS] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in [list(COLUMNS), *cells]]  # fmt: skip
        lines += [f"{name}: {_course(track)}" for name, track in self.schedule.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"rows": self.rows, "notes": self.notes, "schedule": {k: list(v) for k, v in self.schedule.items()}}

    def csv(self) -> str:
        """Return the table as CSV."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def explain(
    model: nn.Module,
    cfg: Mapping[str, Any] | OptimWrapper | Optimizer,
    param_scheduler: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    max_iters: int | None = None,
    epoch_length: int = 1,
) -> Explanation:
    """Say for each parameter which rule put it into which group, with which rates.

    Args:
        model: the model.
        cfg: the config's `optim_wrapper`, or a built wrapper or optimizer (then the rules are not known).
        param_scheduler: the config's `param_scheduler`; with `max_iters` the rates over the run are worked out too.
        max_iters: iterations of the run.
        epoch_length: iterations in an epoch.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        >>> print(explain(net, dict(
        ...     optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05),
        ...     paramwise_cfg=dict(custom_keys={"0.weight": dict(lr_mult=0.1)}, norm_decay_mult=0.0))))
        name      shape    rule                     group     lr      weight_decay  layer
        0.weight  4x3x1x1  custom_keys['0.weight']  lr_x0.1   0.0001  0.05
        0.bias    4        default                  base      0.001   0.05
        1.weight  4        norm_decay_mult          no_decay  0.001   0
        1.bias    4        norm_decay_mult          no_decay  0.001   0
        note: weight decay on biases (1): 0.bias; bias_decay_mult=0.0 turns it off
    """
    model = unwrap(model)
    built = cfg if isinstance(cfg, OptimWrapper | Optimizer) else build_optim_wrapper(model, cfg)
    optimizer = built.optimizer if isinstance(built, OptimWrapper) else built
    reasons = _reasons(model, cfg) if isinstance(cfg, Mapping) else {}
    rows = _rows(model, optimizer, reasons)
    counts = built.accumulative_counts if isinstance(built, OptimWrapper) else 1
    configs = configs_by_place(param_scheduler) if param_scheduler else {}
    rates = {group["name"]: group.get("initial_lr", group["lr"]) for group in _named_groups(optimizer)}
    schedule = {}
    if param_scheduler and max_iters is not None:
        schedule = simulated(param_scheduler, rates, max_iters, epoch_length, counts)
    notes = [*_notes_on_rows(model, rows), *_notes_on_schedule(list(configs.values()), rates, counts)]
    return Explanation(rows, notes, schedule)


def _named_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{"name": str(index), **group} for index, group in enumerate(optimizer.param_groups)]


def _rows(model: nn.Module, optimizer: Optimizer, reasons: Mapping[str, tuple[str, Any]]) -> list[dict[str, Any]]:
    where = {id(p): group for group in _named_groups(optimizer) for p in group["params"]}
    rows = []
    for name, parameter in model.named_parameters():
        group = where.get(id(parameter), {})
        rule, layer = reasons.get(name, ("", ""))
        rows.append(
            {
                "name": name,
                "shape": "x".join(map(str, parameter.shape)) or "scalar",
                "rule": NOT_TRAINED.get((bool(group), parameter.requires_grad), rule),
                "group": group.get("name", NO_GROUP),
                "lr": group.get("lr", ""),
                "weight_decay": group.get("weight_decay", ""),
                "layer": layer,
            }
        )
    return rows


def _reasons(model: nn.Module, cfg: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Name -> rule and layer id."""
    options = {key: value for key, value in cfg.items() if key not in ("constructor", "paramwise_cfg")}
    kind = cfg.get("constructor", DefaultOptimWrapperConstructor)
    kind = find("optim_wrapper.constructor", kind, "seg_engine.optim_wrapper_constructors", CONSTRUCTORS)
    paramwise = cfg.get("paramwise_cfg") or {}
    if not paramwise or isinstance(options["optimizer"], Optimizer):
        return dict.fromkeys(parameter_names(model).values(), ("default", ""))
    constructor = kind(optim_wrapper_cfg=options, paramwise_cfg=paramwise)
    if isinstance(constructor, LearningRateDecayOptimizerConstructor):
        ids = constructor.depths(model).ids
        return {name: ("layer decay", depth) for name, depth in ids.items()}
    if not isinstance(constructor, DefaultOptimWrapperConstructor):
        return {}
    wishes = names_without_decay(model) if paramwise.get("no_weight_decay") else ()
    rules = Rules(paramwise, bool(paramwise.get("compose")), bool(paramwise.get("force_default_settings")), wishes)
    return {name: (_words(rules, subject), "") for name, subject in subjects(model, rules).items()}


def _words(rules: Rules, subject: Subject) -> str:
    decision = rules.decide(subject)
    names = dict.fromkeys(rule for rule in (decision.lr_rule, decision.decay_rule) if rule)
    return " + ".join(names) or "default"


def _notes_on_rows(model: nn.Module, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    lost = [row["name"] for row in rows if row["rule"] == "none"]
    if lost:
        notes.append(f"trainable, but in no group ({len(lost)}): {_some(lost)}")
    norms = {f"{prefix}.{name}" if prefix else name for prefix, module in model.named_modules() if is_norm(module)
             for name, _ in module.named_parameters(recurse=False)}  # fmt: skip
    decayed = [row["name"] for row in rows if row["weight_decay"] and row["name"] in norms]
    if decayed:
        notes.append(f"weight decay on norms ({len(decayed)}): {_some(decayed)}; norm_decay_mult=0.0 turns it off")
    biases = [r["name"] for r in rows if r["weight_decay"] and r["name"].endswith("bias") and r["name"] not in norms]
    if biases:
        notes.append(f"weight decay on biases ({len(biases)}): {_some(biases)}; bias_decay_mult=0.0 turns it off")
    return notes


def _notes_on_schedule(configs: Sequence[Mapping[str, Any]], rates: Mapping[str, float], counts: int) -> list[str]:
    notes = []
    for cfg in configs:
        name = getattr(cfg.get("type"), "__name__", str(cfg.get("type")))
        floor = 0 if name.endswith("Momentum") or cfg.get("param_name", "lr") != "lr" else cfg.get("eta_min") or 0
        below = [group for group, rate in rates.items() if 0 < rate < floor]
        if below:
            notes.append(f"{name}: eta_min={floor} is above the learning rate of {_some(below)}, which will rise to "
                         "it; use eta_min_ratio")  # fmt: skip
        elif floor and len(set(rates.values())) > 1:
            notes.append(f"{name}: eta_min={floor} is the same for all groups, so their ratio is lost towards the end; "
                         "use eta_min_ratio")  # fmt: skip
        end = cfg.get("end")
        warming = counts > 1 and end and not cfg.get("by_epoch", True) and cfg.get("unit") != "step"
        if warming and name.startswith(("Linear", "Constant")):
            steps = (end - cfg.get("begin", 0)) // counts
            notes.append(f"{name}: {end - cfg.get('begin', 0)} iterations of warm-up are {steps} optimizer steps with "
                         f"accumulative_counts={counts}; unit='step' counts those")  # fmt: skip
    return notes


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _course(track: Sequence[float]) -> str:
    picked = [0, len(track) // 4, len(track) // 2, 3 * len(track) // 4, len(track) - 1]
    return " .. ".join(f"{track[index]:.4g} @{index}" for index in sorted(set(picked)))
