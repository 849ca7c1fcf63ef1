"""The state of a run as named parts: gathering it for a checkpoint, giving it back, and saying what came back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from seg_runner.checkpoint import rates
from seg_runner.checkpoint.bounds import count_of
from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.find import next_generation
from seg_runner.checkpoint.report import ResumeReport, config_changes, fill_version_changes, versions
from seg_runner.checkpoint.weights import load_weights, weights_of
from seg_runner.model.wrapping import unwrap

__all__ = ["gather_state", "restore_state"]

Schedulers = list[Any] | dict[str, list[Any]] | None

# ---------------------------------------------------------------------------------------------------- gathering


def gather_state(runner: Any, *, optimizer: bool = True, schedulers: bool = True) -> dict[str, Any]:
    """Everything that a run needs to go on, under the reference's keys, and ours beside them.

    Args:
        runner: The runner; parts that it lacks are left out.
        optimizer: Whether the optimizer's state (and gradients of an unfinished accumulation) go in.
        schedulers: Whether the schedulers' states go in.
    """
    state: dict[str, Any] = {"meta": _meta(runner), "state_dict": weights_of(runner.model)}
    state["message_hub"] = runner.message_hub.state_dict()
    if optimizer and runner.optim_wrapper is not None:
        state["optimizer"] = runner.optim_wrapper.state_dict()
        state["grads"] = _open_gradients(runner)
    if schedulers and runner.param_schedulers:
        state["param_schedulers"] = _map_schedulers(runner.param_schedulers, lambda one: one.state_dict())
    state["hooks"] = {name: dict(hook.state_dict()) for name, hook in _stateful_hooks(runner)}
    loop = runner.train_loop
    if _is_stateful(loop):
        state["loop"] = dict(loop.state_dict())
    if (batches := getattr(loop, "batches", None)) is not None:
        state["data"] = batches.state_dict(_finished(runner, "iters"))
    if _is_stateful(runner.visualizer):
        state["visualizer"] = dict(runner.visualizer.state_dict())
    return {key: part for key, part in state.items() if part or key in ("state_dict", "message_hub")}


def _meta(runner: Any) -> dict[str, Any]:
    loader = runner.train_dataloader
    return {
        "epoch": _finished(runner, "epochs"),
        "iter": _finished(runner, "iters"),
        "cfg": config_text(runner.cfg),
        "seed": runner.seed,
        "experiment_name": runner.experiment_name,
        "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
        "dataset_meta": getattr(getattr(loader, "dataset", None), "metainfo", None),
        "versions": versions(),
        "world_size": runner.world_size,
        **_identity(runner),
    }


def _finished(runner: Any, unit: str) -> int:
    """Finished counts; inside `after_train_iter` the step that just ended is one of them."""
    return int(getattr(runner, f"finished_{unit}", getattr(runner, "iter" if unit == "iters" else "epoch")))


def _identity(runner: Any) -> dict[str, Any]:
    """A name for this run, kept over resumes, and a count that tells its files from older ones in the same folder."""
    if getattr(runner, "run_id", None) is None:
        runner.run_id, runner.generation = secrets.token_hex(8), None
    if runner.generation is None:
        runner.generation = next_generation(runner.work_dir)
    return {"run_id": runner.run_id, "generation": runner.generation}


def config_text(cfg: Any) -> str:
    """The config as python text; empty where there is none."""
    if cfg is None:
        return ""
    pretty = getattr(cfg, "pretty_text", None)
    if isinstance(pretty, str):
        return pretty
    if isinstance(cfg, Mapping):
        return "\n".join(f"{key} = {value!r}" for key, value in cfg.items())
    return str(cfg)


def _open_gradients(runner: Any) -> dict[str, torch.Tensor]:
    """Gradients of an accumulation that a checkpoint cuts in the middle; none where every step ends a window."""
    should_update = getattr(runner.optim_wrapper, "should_update", None)
    if getattr(runner.optim_wrapper, "accumulative_counts", None) == 1 or (callable(should_update) and should_update()):
        return {}
    bare = unwrap(runner.model)
    grads = {name: parameter.grad for name, parameter in bare.named_parameters() if parameter.grad is not None}
    own = getattr(bare, "open_window", None)  # what the model itself counts over a window
    return {**grads, **own()} if grads and callable(own) else grads


def _map_schedulers(schedulers: Any, get: Callable[[Any], Any]) -> Any:
    if isinstance(schedulers, Mapping):
        return {name: [get(one) for one in group] for name, group in schedulers.items()}
    return [get(one) for one in schedulers]


def _is_stateful(part: Any) -> bool:
    return callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))


def _stateful_hooks(runner: Any) -> Iterator[tuple[str, Any]]:
    """Hooks with state, under their class's name; the second of a class is `Name#2`."""
    counts: dict[str, int] = {}
    for hook in runner.hooks:
        if not _is_stateful(hook):
            continue
        name = type(hook).__name__
        counts[name] = counts.get(name, 0) + 1
        yield (name if counts[name] == 1 else f"{name}#{counts[name]}"), hook


# ---------------------------------------------------------------------------------------------------- restoring


def restore_state(
    runner: Any, checkpoint: dict[str, Any], *, strict: bool = False, resume_data: bool = True
) -> ResumeReport:
    """Put a runner where a checkpoint stands; the hooks' `after_load_checkpoint` has run before.

    Args:
        runner: A runner whose parts are built.
        checkpoint: From `read_checkpoint`; MMEngine's files lack some parts, and the report says so.
        strict: Raise unless the resumed run is the same run.
        resume_data: False: keep all counts, but begin a fresh pass over the data.

    Raises:
        ValueError: The checkpoint says nothing about where its run stood.
        RuntimeError: No weight fits the model, and `load_options.strict` is not False.
        ResumeError: With `strict`, when something is not restored or changed without a reason.
    """
    meta = checkpoint.get("meta")
    if not isinstance(meta, Mapping) or "iter" not in meta:
        raise ValueError("this file has weights but no `meta.iter`, so no run can go on from it; use load_from for it")
    report = ResumeReport()
    _restore_place(runner, meta, report)
    _restore_weights(runner, checkpoint, report)
    _restore_plain(runner, "message_hub", runner.message_hub, checkpoint, report)
    before = rates.settings(runner.optim_wrapper)
    _restore_optimizer(runner, checkpoint, report)
    _restore_schedulers(runner, checkpoint, before, report)
    _restore_hooks(runner, checkpoint.get("hooks"), report)
    _report_average(runner, checkpoint, report)
    _restore_plain(runner, "loop", runner.train_loop, checkpoint, report)
    _restore_data(runner, checkpoint.get("data"), resume_data, report)
    _restore_plain(runner, "visualizer", runner.visualizer, checkpoint, report)
    _compare(runner, meta, report)
    if strict:
        report.check()
    return report


def _restore_place(runner: Any, meta: Mapping[str, Any], report: ResumeReport) -> None:
    iteration, epoch = _count(meta, "iter"), _count(meta, "epoch")
    runner.run_id, runner.generation = meta.get("run_id"), _count(meta, "generation")
    seed = meta.get("seed")
    if isinstance(seed, int) and seed != runner.randomness.seed:
        if runner.randomness.chosen:
            report.changed.append(f"randomness.seed: {seed} -> {runner.randomness.seed}; the checkpoint's is used")
        runner.randomness = replace(runner.randomness, seed=seed)
    _seek(runner.train_loop, iteration, epoch, report)


def _count(meta: Mapping[str, Any], key: str) -> int:
    found = count_of(meta.get(key, 0))
    if found is None:
        raise ValueError(
            f"meta.{key} of this checkpoint is {meta[key]!r:.60}, which no run counts: it was damaged, or made by "
            "something else. Its weights can still be loaded with load_from"
        )
    return found


def _seek(loop: Any, iteration: int, epoch: int, report: ResumeReport) -> None:
    """Put a loop where the run stood: ours by `seek`, one written for MMEngine by its two counters."""
    place = f"iteration {iteration}, epoch {epoch}"
    if callable(getattr(loop, "seek", None)):
        loop.seek(iteration, epoch)
    elif hasattr(loop, "_iter"):
        loop._iter, loop._epoch = iteration, epoch
    else:
        report.not_restored.append(f"{place}: {type(loop).__name__} has no seek(iteration, epoch)")
        return
    report.restored.append(place)


def _restore_weights(runner: Any, checkpoint: dict[str, Any], report: ResumeReport) -> None:
    state_dict, name = checkpoint.get("state_dict", {}), "weights"
    raw = checkpoint.get("ema_state_dict")
    averages = any("EMAHook" in kind.__name__ for hook in runner.hooks for kind in type(hook).__mro__)
    if raw and not averages:
        state_dict = {k.removeprefix("module."): v for k, v in raw.items() if k != "steps"}
        name = "weights (the raw ones, as this run has no EMAHook)"
    found = load_weights(runner.model, state_dict)
    if found.wanted and not found.loaded and (runner.parts["load_options"] or {}).get("strict") is not False:
        raise RuntimeError(
            "no weight of this checkpoint fits the model, so no run can go on from it (load_options.strict=False goes "
            "on with fresh weights all the same):\n  " + "\n  ".join(found.lines()[1:])
        )
    (report.restored if found.whole else report.not_restored).append(name)
    report.not_restored += found.lines()[1:]


def _restore_plain(runner: Any, key: str, part: Any, checkpoint: dict[str, Any], report: ResumeReport) -> None:
    if not _is_stateful(part):
        return
    if key not in checkpoint:
        if key == "message_hub":
            report.not_restored.append(f"{key}: not in the checkpoint")
        return
    part.load_state_dict(own(checkpoint[key]))
    report.restored.append(key.replace("_", " "))


def _restore_optimizer(runner: Any, checkpoint: dict[str, Any], report: ResumeReport) -> None:
    if runner.optim_wrapper is None:
        return
    if "optimizer" not in checkpoint:
        report.not_restored.append("optimizer: not in the checkpoint")
        return
    runner.optim_wrapper.load_state_dict(own(checkpoint["optimizer"]))
    report.restored.append("optimizer")
    grads = checkpoint.get("grads") or {}
    for name, parameter in unwrap(runner.model).named_parameters():
        if name in grads:
            parameter.grad = grads[name].clone().to(parameter.device)
    take = getattr(unwrap(runner.model), "take_open_window", None)
    if grads and callable(take):
        take(grads)
    if grads:
        report.restored.append("gradients of the unfinished accumulation")


def _restore_schedulers(runner: Any, checkpoint: dict[str, Any], before: rates.Settings, report: ResumeReport) -> None:
    saved = checkpoint.get("param_schedulers")
    mine, theirs = rates.by_name(runner.param_schedulers or []), rates.by_name(saved or [])
    if not any(mine.values()) and (not any(theirs.values()) or "optimizer" not in checkpoint):
        return
    if saved is None:
        report.not_restored.append("schedulers: not in the checkpoint")
        return
    why = rates.other_list(mine, theirs, ours="run_id" in checkpoint["meta"])
    if why:
        told = f"schedulers: {why}: not restored; {rates.make_anew(runner, mine, theirs, before)}"
        report.not_restored.append(told)
        report.warnings.append(told)
        return
    for name, group in mine.items():
        for scheduler, state in zip(group, theirs[name], strict=True):
            scheduler.load_state_dict(own(state))
    report.restored.append("schedulers")


def _restore_hooks(runner: Any, saved: Mapping[str, Any] | None, report: ResumeReport) -> None:
    saved = dict(saved or {})
    for name, hook in _stateful_hooks(runner):
        if name in saved:
            hook.load_state_dict(own(saved.pop(name)))
            report.restored.append(name)
        elif hook.state_dict():
            report.not_restored.append(f"hook {name}: not in the checkpoint")
    report.not_restored += [f"hook {name}: in the checkpoint, not in this run" for name in saved]


def _report_average(runner: Any, checkpoint: Mapping[str, Any], report: ResumeReport) -> None:
    """Say what became of averaged weights, which a hook takes itself, at `after_load_checkpoint`."""
    takes = any(hasattr(hook, "ema_model") for hook in runner.hooks)
    if "ema_state_dict" in checkpoint and takes:
        report.restored.append("averaged weights")
    elif "ema_state_dict" in checkpoint:
        report.not_restored.append("averaged weights: no EMAHook in this run; the raw ones go on")
    elif takes:
        report.not_restored.append("averaged weights: not in the checkpoint")


def _restore_data(runner: Any, saved: Mapping[str, Any] | None, wanted: bool, report: ResumeReport) -> None:
    batches = getattr(runner.train_loop, "batches", None)
    if batches is None:
        return
    if not wanted:
        batches.restart(dict(saved or {"iteration": runner.train_loop.iter}))
        report.not_restored.append("position in the data: resume_data=False begins a fresh pass")
        return
    if saved is None:
        batches.follow(runner.randomness.seed)
        batches.seek(runner.train_loop.iter)
        report.not_restored.append("position in the data: not in the checkpoint, counted from its iteration")
    else:
        report.unexplained += batches.load_state_dict(own(dict(saved)))
        if not batches.notes:
            report.restored.append("position in the data, random numbers")
    report.not_restored += batches.notes


def _compare_classes(runner: Any, meta: Mapping[str, Any], report: ResumeReport) -> None:
    """Weights of another order of classes go on under wrong names, and nothing else would show it."""
    before, now = meta.get("dataset_meta"), getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return
    old, new = (list(one.get("classes") or ()) for one in (before, now))
    if not old or not new or old == new:
        return
    where = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    a, b = (repr(one[where]) if where < len(one) else "none" for one in (old, new))
    told = f"classes of the training data: {len(old)} -> {len(new)}; class {where} was {a}, and is {b} now"
    report.unexplained.append(told)
    report.warnings.append(f"{told}: the weights go on with what they learned as the first")


def _compare(runner: Any, meta: Mapping[str, Any], report: ResumeReport) -> None:
    _compare_classes(runner, meta, report)
    report.changed += config_changes(str(meta.get("cfg", "")), config_text(runner.cfg))
    if any(line.split(":")[0].startswith("train_dataloader") for line in report.changed):
        data = [line for line in report.unexplained if line.startswith("data:")]
        report.unexplained = [line for line in report.unexplained if line not in data]
        report.changed += data
    fill_version_changes(report, meta.get("versions") or {})
