"""What a Runner is made of: every key that it takes, its default, and which keys belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from seg_runner.assembly.argument_checks import check_values
from seg_runner.assembly.assembler import Assembler
from seg_runner.errors import did_you_mean, near_key, nearest, origin_of
from seg_runner.hooks.defaults import WITHOUT_EFFECT

__all__ = [
    "DEFAULTS",
    "Parts",
    "arguments_of",
    "check_launcher",
    "expects_epochs",
    "experiment_name",
    "fill_parts",
    "folder_of",
    "misspelt",
    "runner_class",
]


class Parts(TypedDict, total=False):
    """The keys of `Runner(...)` and of a config besides `model` and `work_dir`; each takes an object or a dict."""

    # What is trained on, and how long: all three, or none.
    train_dataloader: Any  # any iterable of batches, or dict(dataset=..., sampler=..., batch_size=...)
    train_cfg: Any  # dict(max_iters=...) | dict(max_epochs=...) | dict(by_epoch=..., ...) | dict(type=...) | a loop
    optim_wrapper: Any  # torch optimizer, OptimWrapper, or dict(optimizer=dict(type=...), ...)
    param_scheduler: Any  # a scheduler, a list of them, their dicts, or a dict of lists (several optimizers)
    loss: Any  # loss(logits, labels), or its config, where the model gives logits and has no train_step
    auto_scale_lr: Any  # dict(enable=True, base_batch_size=16)
    # Validation and test: a loader and an evaluator, or dicts of them (several named sets).
    val_dataloader: Any
    val_cfg: Any
    val_evaluator: Any
    test_dataloader: Any
    test_cfg: Any
    test_evaluator: Any
    # Hooks.
    default_hooks: Any  # dict slot -> hook, its dict, or None to leave a default out
    custom_hooks: Any  # list of hooks or their dicts
    hooks: Any  # the same list, by its short name
    # The model.
    data_preprocessor: Any
    load_from: str | Path | None  # weights to start from
    load_options: Any  # dict(key='model', revise_keys=[(r'^backbone\.', '')], strict=True, unsafe=True): how
    compile: Any  # True, or keywords of torch.compile
    activation_checkpointing: Any  # names of modules whose activations are computed again
    efficient_conv_bn_eval: Any  # names of modules in which a convolution and a frozen norm are computed as one
    channels_last: bool
    sync_bn: str | None  # 'torch': BatchNorm becomes SyncBatchNorm where there are several processes
    # The run.
    resume: bool | str
    overwrite: bool  # delete the checkpoints of an earlier run in work_dir; not from a config
    strict_keys: bool  # False: a top-level key of a config that looks like a misspelt one is only reported
    strict_paths: bool  # a part that writes outside of work_dir is an error, and not only told
    strict_resume: bool  # anything that is not restored is an error
    resume_data: bool  # False: a fresh pass over the data
    skip_checks: bool
    log_interval: int  # of the plain lines, where no LoggerHook is registered
    checkpoint: Any  # dict(async_save=True, on_full='stop'): how files are written
    signals: Any  # names of the signals that save and stop, or dict(names=[...], grace=30)
    launcher: str
    env_cfg: Any
    randomness: Any
    device: str | None
    # Words and numbers.
    log_processor: Any
    log_level: str
    visualizer: Any
    experiment_name: str | None
    default_scope: str | None
    cfg: Any  # the whole config
    build: Any  # the builder of parts given as dicts; None: the entry point `seg_engine.build`


DEFAULTS: Parts = {
    "train_dataloader": None,
    "train_cfg": None,
    "optim_wrapper": None,
    "param_scheduler": None,
    "loss": None,
    "auto_scale_lr": None,
    "val_dataloader": None,
    "val_cfg": None,
    "val_evaluator": None,
    "test_dataloader": None,
    "test_cfg": None,
    "test_evaluator": None,
    "default_hooks": None,
    "custom_hooks": None,
    "hooks": None,
    "data_preprocessor": None,
    "load_from": None,
    "load_options": None,
    "compile": None,
    "activation_checkpointing": None,
    "efficient_conv_bn_eval": None,
    "channels_last": False,
    "sync_bn": None,
    "resume": False,
    "overwrite": False,
    "strict_keys": True,
    "strict_paths": False,
    "strict_resume": False,
    "resume_data": True,
    "skip_checks": False,
    "log_interval": 50,
    "checkpoint": None,
    "signals": None,
    "launcher": "none",
    "env_cfg": None,
    "randomness": None,
    "device": None,
    "log_processor": None,
    "log_level": "INFO",
    "visualizer": None,
    "experiment_name": None,
    "default_scope": None,
    "cfg": None,
    "build": None,
}


ALSO = ("model", "work_dir", "runner_type", "custom_imports", "tta_model", "tta_pipeline", "vis_backends")
"""Keys of a config that are read beside those of `Runner`."""


def misspelt(cfg: Any) -> list[str]:
    """A line for each top-level key that looks like one of a run, is none, and is read by nothing in the config.

    >>> misspelt({"modle": {}, "crop_size": 4})
    ["'modle' is no key of a run. Did you mean 'model'?"]
    """
    known = [name for name in (*ALSO, *DEFAULTS, *WITHOUT_EFFECT) if name not in ("cfg", "build")]
    reads = getattr(cfg, "reads", None)
    lines = []
    for key in cfg:
        near = near_key(key, known) if isinstance(key, str) else None
        if near is not None and not (callable(reads) and reads(key)):
            lines.append(f"{key!r}{origin_of(cfg, key)} is no key of a run. Did you mean {near!r}?")
    return lines


def fill_parts(given: Mapping[str, Any]) -> Parts:
    """The given keys over the defaults, once their names and combinations are checked.

    Raises:
        TypeError: a key that Runner does not know.
        ValueError: keys that need one another and are not all there.
    """
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"Runner takes no argument {name!r}.{did_you_mean(name, ['model', 'work_dir', *DEFAULTS])}")
    parts: Parts = {**DEFAULTS, **given}  # type: ignore[typeddict-item]
    check_values(parts)
    if parts["overwrite"] and parts["resume"]:
        raise ValueError("overwrite=True deletes the checkpoints that resume goes on from: give one of the two")
    _check_train(parts)
    for mode in ("val", "test"):
        _check_evaluation(parts, mode)
    return parts


def _check_train(parts: Parts) -> None:
    if _is_loop(parts["train_cfg"]):
        return
    group = ("train_dataloader", "train_cfg", "optim_wrapper")
    missing = [key for key in group if parts[key] is None]  # type: ignore[literal-required]
    if 0 < len(missing) < len(group):
        given = [key for key in group if key not in missing]
        raise ValueError(
            f"training needs {', '.join(group)} together: {' and '.join(given)} given, {' and '.join(missing)} missing"
            f"{origin_of(parts['cfg'], given[0])}. Give all three, or none where nothing is trained."
        )
    if parts["param_scheduler"] is not None and parts["optim_wrapper"] is None:
        raise ValueError(
            "param_scheduler needs optim_wrapper: there is no optimizer whose values it could change"
            f"{origin_of(parts['cfg'], 'param_scheduler')}. Give optim_wrapper, or leave param_scheduler out."
        )


def _check_evaluation(parts: Parts, mode: str) -> None:
    loader, cfg, evaluator = (parts[f"{mode}_{key}"] for key in ("dataloader", "cfg", "evaluator"))  # type: ignore[literal-required]
    if _is_loop(cfg):
        return
    wants_loss = isinstance(cfg, Mapping) and bool(cfg.get("loss"))
    where = origin_of(parts["cfg"], f"{mode}_{'dataloader' if loader is not None else 'cfg'}")
    if loader is None and (cfg is not None or evaluator is not None):
        given = f"{mode}_cfg" if cfg is not None else f"{mode}_evaluator"
        raise ValueError(
            f"{given} is given but {mode}_dataloader is not{where}. Give {mode}_dataloader too, "
            f"or leave out {mode}_cfg and {mode}_evaluator."
        )
    if loader is not None and evaluator is None and not wants_loss:
        raise ValueError(
            f"{mode}_dataloader is given but {mode}_evaluator is not{where}. Give {mode}_evaluator (for example "
            f"IoUMetric(num_classes=...)), or {mode}_cfg=dict(loss=True) to measure the loss only."
        )


def _is_loop(cfg: Any) -> bool:
    return not isinstance(cfg, Mapping) and callable(getattr(cfg, "run", None))


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
