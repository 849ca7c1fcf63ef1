"""The checks of a run's arguments, one at a time and together: a wrong value is told before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Dataset, IterableDataset

from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checks import MOST, flag, number, one_of, text, whole
from seg_runner.errors import add_note, check_options, did_you_mean, origin_of
from seg_runner.process.device import pick_device
from seg_runner.process.randomness import Randomness
from seg_runner.process.signals import read_signals
from seg_runner.remote.mirror import RemoteOptions

__all__ = [
    "LOAD_OPTIONS",
    "Argument",
    "check_device",
    "check_evaluation",
    "check_launcher",
    "check_load_options",
    "check_log_interval",
    "check_remote",
    "check_saving",
    "check_scaling",
    "check_signals",
    "check_training",
    "has",
    "is_config_or_has",
    "is_dict",
    "is_flag",
    "is_listed",
    "is_loader",
    "is_loss",
    "is_path",
    "is_randomness",
    "is_schedule",
    "is_strategy",
    "is_text",
    "is_words",
    "refuse_data_set",
]

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
"""What MMEngine's configs and commands may name; which processes there are is read from the environment."""
LOAD_OPTIONS = ("key", "revise_keys", "strict", "unsafe")


class Argument(NamedTuple):
    """One row of the table of arguments; None fits wherever it is the default.

    Attributes:
        expected: What a value must be, in words.
        fits: Tells whether a value is that; which objects do their work is left to whoever uses them.
        default: The value where none is given.
        check: Called with a value that fits, its key, and the line of the config; raises in its own words.
        in_config: Whether the argument is also a key of a config.
        own: It is this runner's own, and none of MMEngine's: in a config it lies under `seg`.
    """

    expected: str = ""
    fits: Callable[[object], bool] = lambda value: True
    default: object = None
    check: Callable[[Any, str, str], object] = lambda value, key, origin: None
    in_config: bool = True
    own: bool = False

    def check_value(self, key: str, value: object, cfg: object) -> None:
        """Refuse a value that cannot be meant.

        Raises:
            TypeError: A value of the wrong kind.
            ValueError: A number out of range.
        """
        origin = origin_of(cfg, key)
        if value is not None and not self.fits(value):
            raise TypeError(f"{key}{origin} must be {self.expected}, not {_shown(value)}")
        if value is not None or self.default is not None:
            self.check(value, key, origin)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def is_dict(value: object) -> bool:
    """Tell whether a value is a dict, or a config."""
    return isinstance(value, Mapping)


def is_flag(value: object) -> bool:
    """Tell whether a value is True or False; numbers are not taken for them."""
    return isinstance(value, bool)


def is_text(value: object) -> bool:
    """Tell whether a value is a text."""
    return isinstance(value, str)


def is_path(value: object) -> bool:
    """Tell whether a value is the path of a file or folder."""
    return isinstance(value, str | Path)


def is_listed(value: object) -> bool:
    """Tell whether a value has elements, and is no text."""
    return isinstance(value, Iterable) and not isinstance(value, str)


def is_words(value: object) -> bool:
    """Tell whether a value is a text, or a list of texts."""
    if isinstance(value, str):
        return True
    return isinstance(value, Iterable) and all(isinstance(item, str) for item in value)


def is_loader(value: object) -> bool:
    """Tell whether a value gives batches, or is the config of what does."""
    return not isinstance(value, str) and any(hasattr(value, name) for name in ("__iter__", "__getitem__"))


def is_schedule(value: object) -> bool:
    """Tell whether a value is a scheduler, a list of them, or their configs."""
    if isinstance(value, list | tuple):
        return all(map(is_schedule, value))
    return is_dict(value) or callable(getattr(value, "step", None))


def is_loss(value: object) -> bool:
    """Tell whether a value computes a loss, or is the config of what does; a class does not."""
    return is_dict(value) or (callable(value) and not isinstance(value, type))


def has(*methods: str) -> Callable[[object], bool]:
    """Return the check whether a value has these methods."""
    return lambda value: all(callable(getattr(value, name, None)) for name in methods)


def is_config_or_has(*methods: str) -> Callable[[object], bool]:
    """Return the check whether a value is a config, or has these methods."""
    return lambda value: is_dict(value) or has(*methods)(value)


def is_randomness(value: object) -> bool:
    """Tell whether a value says where random numbers come from."""
    return is_dict(value) or isinstance(value, Randomness)


def is_strategy(value: object) -> bool:
    """Tell whether a value names a strategy, or is one."""
    return isinstance(value, str) or is_dict(value) or hasattr(value, "wrap")


def refuse_data_set(loader: object, key: str, origin: str) -> None:
    """Refuse a data set where a loader belongs.

    Raises:
        TypeError: It is one.
    """
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise TypeError(
            f"{key}{origin} is a data set, {type(loader).__name__}, which gives samples and not batches: give "
            f"torch.utils.data.DataLoader(..., batch_size=...) of it, or dict(dataset=..., batch_size=...)"
        )


def check_log_interval(interval: object, key: str, origin: str) -> None:
    """Refuse what is no number of iterations."""
    whole(interval, f"{key}{origin}", 1)


def check_launcher(launcher: object, key: str, origin: str) -> None:
    """Refuse a launcher that nobody knows.

    Raises:
        ValueError: it is none of `LAUNCHERS`.
    """
    if launcher not in LAUNCHERS:
        near = did_you_mean(str(launcher), LAUNCHERS)
        raise ValueError(f"launcher={launcher!r}{origin} is none of {', '.join(map(repr, LAUNCHERS))}.{near}")


def check_scaling(scaling: Mapping[str, object], key: str, origin: str) -> None:
    """Check `auto_scale_lr`; its batch size counts only where it is switched on."""
    _check_names(scaling, ("enable", "base_batch_size"), f"{key}{origin}")
    enabled = flag(scaling.get("enable", False), f"{key}.enable")
    if enabled and scaling.get("base_batch_size") is not None:
        number(scaling["base_batch_size"], f"{key}.base_batch_size{origin}", most=MOST, above=0)


def check_saving(options: Mapping[str, object], key: str, origin: str) -> None:
    """Check how checkpoints are written."""
    check_options(CheckpointSaver, options, f"{key}{origin}")
    for name in ("async_save", "sharded"):
        flag(options.get(name, False), f"{key}.{name}")
    one_of(options.get("on_full", "continue"), f"{key}.on_full", ("continue", "stop"))


def check_remote(options: Mapping[str, object], key: str, origin: str) -> None:
    """Check how files are kept at an address."""
    check_options(RemoteOptions, options, f"{key}{origin}")
    if not isinstance(options.get("options") or {}, Mapping):
        raise TypeError(f"{key}.options{origin} must be a dict of what fsspec takes, not {options['options']!r}")
    for name in ("interval", "patience"):
        number(options.get(name, 30), f"{key}.{name} (seconds)", above=0, most=MOST)


def check_signals(signals: object, key: str, origin: str) -> None:
    """Check which signals stop the run."""
    _noted(read_signals, signals, f"{key}{origin}")


def check_device(device: str | None, key: str, origin: str) -> None:
    """Check that torch sees the device."""
    _noted(pick_device, device, f"{key}{origin}")


def _noted(check: Callable[[Any], object], value: object, where: str) -> None:
    """Check a value; where it raises, a note names the line of the config."""
    try:
        check(value)
    except (TypeError, ValueError) as error:
        if where.endswith(")"):
            add_note(error, f"in {where}")
        raise


def check_load_options(options: Mapping[str, object], key: str, origin: str) -> None:
    """Check how the weights of `load_from` are to be loaded.

    Raises:
        TypeError: an option that there is none of, or a value of the wrong kind.
    """
    _check_names(options, LOAD_OPTIONS, f"{key}{origin}")
    for name in ("strict", "unsafe"):
        flag(options.get(name, False), f"{key}.{name}")
    text(options.get("key"), f"{key}.key")
    pairs = options.get("revise_keys") or []
    if not _are_pairs(pairs):
        raise TypeError(
            f"{key}.revise_keys must be a list of pairs (pattern, replacement), such as [('^module', '')], not "
            f"{_shown(pairs)}"
        )


def _are_pairs(value: object) -> bool:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return False
    return all(isinstance(one, list | tuple) and len(one) == 2 for one in value)


def _check_names(options: Mapping[str, object], takes: Iterable[str], key: str) -> None:
    for name in options:
        if name not in takes:
            raise TypeError(f"{key} takes no {name!r}.{did_you_mean(str(name), takes)} It takes {', '.join(takes)}")


def check_training(arguments: Mapping[str, Any]) -> None:
    """Refuse a part of a training without the others that it needs.

    Raises:
        ValueError: one is missing.
    """
    if _is_loop(arguments["train_cfg"]):
        return
    group = ("train_dataloader", "train_cfg", "optim_wrapper")
    missing = [key for key in group if arguments[key] is None]
    if 0 < len(missing) < len(group):
        given = [key for key in group if key not in missing]
        raise ValueError(
            f"training needs {', '.join(group)} together: {' and '.join(given)} given, {' and '.join(missing)} missing"
            f"{origin_of(arguments['cfg'], given[0])}. Give all three, or none where nothing is trained."
        )
    if arguments["param_scheduler"] is not None and arguments["optim_wrapper"] is None:
        raise ValueError(
            "param_scheduler needs optim_wrapper: there is no optimizer whose values it could change"
            f"{origin_of(arguments['cfg'], 'param_scheduler')}. Give optim_wrapper, or leave param_scheduler out."
        )


def check_evaluation(arguments: Mapping[str, Any], mode: str) -> None:
    """Refuse a part of a validation or test without the others that it needs.

    Raises:
        ValueError: one is missing.
    """
    loader, cfg, evaluator = (arguments[f"{mode}_{key}"] for key in ("dataloader", "cfg", "evaluator"))
    if _is_loop(cfg):
        return
    wants_loss = isinstance(cfg, Mapping) and bool(cfg.get("loss"))
    where = origin_of(arguments["cfg"], f"{mode}_{'dataloader' if loader is not None else 'cfg'}")
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


def _is_loop(cfg: object) -> bool:
    return not isinstance(cfg, Mapping) and callable(getattr(cfg, "run", None))
