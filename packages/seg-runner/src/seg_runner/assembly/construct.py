"""How a runner is put together: names, folders, model, hooks. Each function fills one place of `Runner.__init__`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from seg_runner.assembly import fallback_parts as plain
from seg_runner.assembly.arguments import DEFAULTS, Parts, misspelt
from seg_runner.assembly.assembler import Assembler
from seg_runner.errors import did_you_mean, near_key, nearest, origin_of, written_at
from seg_runner.hooks.defaults import DEFAULT_HOOKS, DEFAULT_PRIORITIES, merge_default_hooks, without_effect
from seg_runner.hooks.table import priority_number
from seg_runner.log.setup import IN_FILE
from seg_runner.model import changes as wrap
from seg_runner.model.logits_model import LogitsModel
from seg_runner.process.environment import describe_environment
from seg_runner.process.places import check_places
from seg_runner.run.record import write_record

__all__ = [
    "announce",
    "arguments_of",
    "check_launcher",
    "expects_epochs",
    "experiment_name",
    "folder_of",
    "make_model",
    "make_visualizer",
    "ready_loaders",
    "ready_schedulers",
    "ready_wrapper",
    "record",
    "register_default_hook",
    "register_hooks",
    "runner_class",
]

INSTALL_HOOKS = "pip install seg-hooks"
NOT_EXACT = (
    "randomness.stream='mmengine': random numbers come from the global generators in the reference's order, so a "
    "resumed run is not the same run bit for bit; stream='sample' (the default) makes it so"
)


def arguments_of(cfg: Any) -> dict[str, Any]:
    """The runner's arguments in a config; all other keys are left to whoever knows them.

    Raises:
        KeyError: `model` or `work_dir` is missing.
        ValueError: a loader or evaluator without its `*_cfg`, or a key that looks misspelt.
    """
    lines = misspelt(cfg) if cfg.get("strict_keys", True) is True else []
    if lines:
        raise ValueError(
            "\n".join(lines) + "\nNothing in the config reads it, so it would do nothing. If it is meant: "
            "strict_keys=False"
        )
    for key in ("model", "work_dir"):
        if cfg.get(key) is None:
            near = nearest(key, cfg)
            hint = f" Did you mean it by {near!r}{origin_of(cfg, near)}?" if near is not None and near != key else ""
            raise KeyError(
                f"the config has no {key!r}; Runner.from_cfg needs 'model' and 'work_dir' (--work-dir sets it).{hint}"
            )
    for mode in ("val", "test"):
        if cfg.get(f"{mode}_dataloader") is not None and cfg.get(f"{mode}_cfg") is None:
            raise ValueError(
                f"the config has {mode}_dataloader{origin_of(cfg, f'{mode}_dataloader')} but no {mode}_cfg: "
                f"write {mode}_cfg=dict(type='{mode.title()}Loop'), or set {mode}_dataloader, {mode}_evaluator to None"
            )
    if cfg.get("overwrite"):
        raise ValueError(
            f"overwrite{origin_of(cfg, 'overwrite')} is no key of a config, since it deletes files: say it where the "
            "run is started (--overwrite, Runner.from_cfg(cfg, overwrite=True))"
        )
    names = [name for name in DEFAULTS if name not in ("cfg", "build", "overwrite")]
    return {name: cfg[name] for name in ("model", "work_dir", *names) if name in cfg}


def runner_class(default: type[Any], cfg: Any, build: Any) -> type[Any]:
    """The class that `runner_type` names, else the default."""
    name = cfg.get("runner_type")
    if name is None:
        return default
    found: type[Any] = Assembler(build, cfg).resolve("runner", name, "runner_type")
    return found


def check_launcher(launcher: str) -> None:
    """Refuse to start as one of several processes.

    Raises:
        ValueError: a launcher other than 'none'.
    """
    if launcher != "none":
        raise ValueError(
            f"launcher={launcher!r}: this version trains in one process; leave launcher out, or write 'none'"
        )


def folder_of(work_dir: Any) -> Path:
    """The working folder, whole.

    Raises:
        TypeError: it is no path.
    """
    if not isinstance(work_dir, str | Path) or not str(work_dir) or "\0" in str(work_dir):
        raise TypeError(f"work_dir must be the path of a folder, not {work_dir!r}: checkpoints and logs go there")
    return Path(work_dir).expanduser().resolve()


def places_outside(runner: Any) -> list[str]:
    """A line for each place outside of the working folder that the parts of a run would write to.

    Raises:
        ValueError: a place where a config may not write.
    """
    parts: Parts = runner.parts
    names = ["model", *(name for name in DEFAULTS if name not in ("cfg", "build"))]
    named = parts if runner.cfg is None else runner.cfg
    return check_places(named, names, runner.work_dir, strict=parts["strict_paths"])


def experiment_name(given: str | None, cfg: Any, timestamp: str) -> str:
    """The given name, else the config file's, with the timestamp behind it; without either, the timestamp."""
    filename = getattr(cfg, "filename", None)
    stem = given or (Path(filename).stem if filename else None)
    return f"{stem}_{timestamp}" if stem else timestamp


def expects_epochs(parts: Parts) -> bool:
    """Whether lines count epochs where no log processor was configured: as the reference does for configs."""
    cfg = parts["train_cfg"]
    if parts["cfg"] is not None or not isinstance(cfg, Mapping):
        return True
    return bool(cfg.get("by_epoch", "max_epochs" in cfg))


def ready_loaders(parts: Parts) -> dict[str, Any]:
    """The loaders that are objects already; those given as dicts are built when they are needed."""
    given = {mode: parts[f"{mode}_dataloader"] for mode in ("train", "val", "test")}  # type: ignore[literal-required]
    return {mode: None if isinstance(loader, Mapping) else loader for mode, loader in given.items()}


def ready_wrapper(given: Any) -> Any:
    """The optimizer wrapper, if it is an object already: a plain torch optimizer gets the shape of one."""
    if isinstance(given, Mapping):
        return None
    if isinstance(given, torch.optim.Optimizer):
        return plain.PlainWrapper(given)
    if given is not None and not hasattr(given, "update_params"):
        raise TypeError(
            f"optim_wrapper must be a torch optimizer, an optimizer wrapper, or a dict, not {type(given).__name__}"
        )
    return given


def ready_schedulers(given: Any) -> Any:
    """The schedulers, if all of them are objects already; else None, until they are built."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return None
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    return None if any(isinstance(one, Mapping) for one in listed) else listed


def make_visualizer(runner: Any, given: Any) -> Any:
    """The visualizer: the given one, or one that keeps scalars in a file and draws nothing."""
    if given is None:
        made: Any = plain.PlainVisualizer(runner.log_dir)
    else:
        made = runner.assembler.visualizer(given, runner.experiment_name, runner.log_dir)
    return made


def make_model(runner: Any, given: Any) -> Any:
    """The model: built, given steps if it has none, its batch norms fit for one process, on its device."""
    parts: Parts = runner.parts
    wrap.check_compile(parts["compile"], origin_of(parts["cfg"], "compile"), parts["cfg"] is not None)
    model = runner.assembler.model(given, parts["data_preprocessor"])
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or a dict, not {type(model).__name__}")
    if not any(hasattr(wrap.unwrap(model), f"{mode}_step") for mode in ("train", "val", "test")):
        model = _with_steps(runner, model)
    elif parts["loss"] is not None:
        raise ValueError(
            f"loss is given, but {type(model).__name__} has a train_step, which has its own loss: leave loss out"
        )
    model = model.to(runner.device)
    model, count = wrap.revert_sync_batch_norms(model)
    if count:
        runner.logger.info("SyncBatchNorm: %d became plain batch norm, since there is one process", count)
    return wrap.use_channels_last(model) if parts["channels_last"] else model


def _with_steps(runner: Any, model: Any) -> Any:
    parts: Parts = runner.parts
    if parts["train_cfg"] is not None and parts["loss"] is None:
        raise ValueError(
            f"{type(model).__name__} has no train_step, so training needs a loss: give loss=..., for example "
            "loss=torch.nn.CrossEntropyLoss(ignore_index=255)"
        )
    loss = runner.assembler.loss(parts["loss"])
    return LogitsModel(model, loss=loss, data_preprocessor=parts["data_preprocessor"])


def register_hooks(runner: Any) -> None:
    """The hooks of the arguments: with a config the default ones first; plain ones where those are absent."""
    parts: Parts = runner.parts
    for slot, hook in (parts["default_hooks"] or {}).items():
        if hook is not None:
            _check_slot(runner, str(slot), parts["strict_keys"])
    if parts["cfg"] is not None:
        runner.register_default_hooks(parts["default_hooks"])
    else:
        for slot, (hook, named) in merge_default_hooks(parts["default_hooks"]).items():
            if named:
                register_default_hook(runner, slot, hook, named)
    for key, listed in (("custom_hooks", parts["custom_hooks"]), ("hooks", parts["hooks"])):
        if listed:
            runner.register_custom_hooks([listed] if isinstance(listed, Mapping) else listed, key)


def _check_slot(runner: Any, slot: str, strict: bool) -> None:
    """A name in `default_hooks` that is none of the usual ones adds a hook; one that is nearly theirs is a slip."""
    near = near_key(slot, (*DEFAULT_HOOKS, "visualization"))
    where = origin_of(runner.cfg, f"default_hooks.{slot}")
    if near is not None and strict:
        raise ValueError(
            f"default_hooks.{slot}{where} would be added beside the default hooks. Did you mean {near!r}? If not: give "
            "it another name, put the hook into custom_hooks, or set strict_keys=False"
        )
    if slot not in DEFAULT_HOOKS and (words := did_you_mean(slot, DEFAULT_HOOKS)):
        runner.logger.warning("default_hooks.%s%s is added beside the default hooks.%s", slot, where, words)


def register_default_hook(runner: Any, slot: str, cfg: Any, named: bool) -> None:
    """One default hook; one that was not named and is not installed is left out, with a line that says so."""
    try:
        hook, priority = runner.assembler.hook(cfg, f"default_hooks.{slot}")
    except (KeyError, LookupError, ImportError, TypeError) as error:
        if named or not _is_absent(runner, cfg):
            raise
        runner.logger.info("%s is not installed (%s; %s)", cfg["type"], INSTALL_HOOKS, type(error).__name__)
        return
    with written_at(runner.cfg, f"default_hooks.{slot}"):
        runner.table.add(hook, priority, origin_of(runner.cfg, f"default_hooks.{slot}.type"))
    usual = DEFAULT_PRIORITIES.get(type(hook).__name__)
    if usual is None or priority is None or slot not in DEFAULT_HOOKS:
        return
    if priority_number(priority) != priority_number(usual):
        text = "default_hooks.%s has priority %s instead of %s: the order of the default hooks matters"
        runner.logger.warning(text, slot, priority, usual)


def _is_absent(runner: Any, cfg: Any) -> bool:
    """Whether the hook's name cannot be found at all."""
    if runner.assembler.builder is None:
        return True
    try:
        runner.assembler.resolve("hook", cfg["type"], "default_hooks")
    except Exception:
        return True
    return False


def _plain_line(slots: Mapping[str, Any]) -> str:
    if find_spec("seg_hooks") is None:
        return f"seg-hooks is not installed ({INSTALL_HOOKS}): plain {', '.join(slots)} instead of its hooks"
    return f"No hooks were given for {', '.join(slots)}: plain ones stand in (hooks=[...] from seg-hooks replaces them)"


def shortened(path: Path) -> str:
    """A path as a person here would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def announce(runner: Any) -> None:
    """The first lines of the log."""
    facts = describe_environment(runner.device, runner.seed)
    runner.logger.info("%s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    if not runner.randomness.by_sample:
        runner.logger.info("%s", NOT_EXACT)
    for line in without_effect(runner.cfg):
        runner.logger.info("%s", line)
    if runner.outside:
        text = "Written outside of work_dir: %s (strict_paths=True refuses it)"
        runner.logger.warning(text, "; ".join(runner.outside))
    for line in misspelt(runner.cfg or {}):
        runner.logger.warning("%s", line)
    if runner.cfg is not None and isinstance(getattr(runner.cfg, "pretty_text", None), str):
        runner.logger.info("Config:\n%s", runner.cfg.pretty_text, extra=IN_FILE)
    runner.logger.info("Hooks:\n%s", runner.points, extra=IN_FILE)
    told = "config and timetable" if runner.cfg is not None else "timetable"
    runner.logger.info("The %s of the hooks: %s", told, shortened(runner.log_dir / f"{runner.timestamp}.log"))
    if runner.table.stand_ins:
        runner.logger.info("%s", _plain_line(runner.table.stand_ins))


def record(runner: Any, mode: str) -> None:
    """Right before the first step of a runner: the files that repeat the run; a start that failed leaves none."""
    if runner.underway or runner.rank != 0:
        return
    kept = {"seed": runner.seed, "stream": runner.randomness.stream, "experiment_name": runner.experiment_name}
    write_record(runner.log_dir, cfg=runner.cfg, work_dir=runner.work_dir, facts=kept, keep=mode != "train")
    if runner.cfg is not None and callable(getattr(runner.visualizer, "add_config", None)):
        runner.visualizer.add_config(runner.cfg)
    runner.underway = True
