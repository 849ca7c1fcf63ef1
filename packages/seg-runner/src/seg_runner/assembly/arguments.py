"""What a Runner is made of: every key that it takes, its default, and which keys belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, cast, get_type_hints

from seg_runner.assembly.argument_checks import (
    LOAD_OPTIONS,
    Argument,
    check_device,
    check_evaluation,
    check_launcher,
    check_load_options,
    check_log_interval,
    check_remote,
    check_saving,
    check_scaling,
    check_signals,
    check_training,
    has,
    is_config_or_has,
    is_dict,
    is_flag,
    is_listed,
    is_loader,
    is_loss,
    is_path,
    is_randomness,
    is_schedule,
    is_strategy,
    is_text,
    is_words,
    refuse_data_set,
)
from seg_runner.distributed.world import World
from seg_runner.errors import did_you_mean, written_at
from seg_runner.process.places import check_places
from seg_runner.protocols import Config
from seg_runner.remote.address import RemoteError, as_path, scheme_of
from seg_runner.remote.mirror import Mirror, RemoteOptions

__all__ = [
    "ARGUMENTS",
    "CONFIG_KEYS",
    "DEFAULTS",
    "OWN",
    "OWN_KEYS",
    "Arguments",
    "expects_epochs",
    "experiment_name",
    "fill_arguments",
    "folder_of",
    "mirror_of",
    "place_of",
    "places_outside",
    "use_argument",
]

Used = TypeVar("Used")


LOADER = Argument(
    "an iterable of batches, or a dict such as dict(dataset=..., batch_size=...)", is_loader, check=refuse_data_set
)
HOOKS = Argument("a list of hooks, or of their configs", is_listed)
OWN_HOOKS = HOOKS._replace(own=True)
MODULES = Argument("the name of a module, or a list of names", is_words)
OFF = Argument("True or False", is_flag, False, own=True)
ON = Argument("True or False", is_flag, True, own=True)
OPEN = Argument()
"""Not checked here: the part that uses the value checks it."""


class Arguments(TypedDict, total=False):
    """The table of the arguments of `Runner(...)`, which are keys of a config too, besides `model` and `work_dir`.

    One row each: name, type, and what it must be, which values fit, its default, what else is checked.
    """

    # What is trained on, and how long: all three, or none.
    train_dataloader: Annotated[Any, LOADER]
    train_cfg: Annotated[Any, OPEN]  # dict(max_iters=...) | dict(max_epochs=...) | dict(type=...) | a loop
    optim_wrapper: Annotated[Any, OPEN]  # torch optimizer, OptimWrapper, or dict(optimizer=dict(type=...), ...)
    param_scheduler: Annotated[  # for several optimizers a dict of lists
        Any, Argument("a scheduler, a list of them, or their configs such as dict(type='PolyLR')", is_schedule)
    ]
    loss: Annotated[  # where the model gives logits and has no train_step
        Any,
        Argument(
            "a function loss(logits, labels), an object such as torch.nn.CrossEntropyLoss(), or its config",
            is_loss,
            own=True,
        ),
    ]
    auto_scale_lr: Annotated[
        Any, Argument("a dict such as dict(enable=True, base_batch_size=16)", is_dict, check=check_scaling)
    ]
    # Validation and test: a loader and an evaluator, or dicts of them (several named sets).
    val_dataloader: Annotated[Any, LOADER]
    val_cfg: Annotated[Any, OPEN]
    val_evaluator: Annotated[Any, OPEN]
    test_dataloader: Annotated[Any, LOADER]
    test_cfg: Annotated[Any, OPEN]
    test_evaluator: Annotated[Any, OPEN]
    # Hooks.
    default_hooks: Annotated[
        Any, Argument("a dict from the name of a default hook to its config, or None to leave it out", is_dict)
    ]
    custom_hooks: Annotated[Any, HOOKS]
    hooks: Annotated[Any, OWN_HOOKS]  # the same list, by its short name
    # The model.
    data_preprocessor: Annotated[Any, OPEN]
    load_from: Annotated[str | Path | None, Argument("the path of a checkpoint", is_path)]  # weights to start from
    load_options: Annotated[  # dict(key='model', revise_keys=[(r'^backbone\.', '')], strict=True, unsafe=True)
        Any, Argument(f"a dict with some of {', '.join(LOAD_OPTIONS)}", is_dict, check=check_load_options, own=True)
    ]
    compile: Annotated[
        Any, Argument("True, or a dict of torch.compile's arguments", lambda value: is_flag(value) or is_dict(value))
    ]
    activation_checkpointing: Annotated[Any, MODULES]  # their activations are computed again
    efficient_conv_bn_eval: Annotated[Any, MODULES]  # in them a convolution and a frozen norm are computed as one
    channels_last: Annotated[bool, OFF]
    sync_bn: Annotated[  # with several ranks, plain batch norms become synced ones, or (False) synced ones plain
        str | bool | None, Argument("'torch', 'mmcv', False or None", lambda value: value in ("torch", "mmcv", False))
    ]
    # The run.
    resume: Annotated[
        bool | str,
        Argument(
            "True, False, or the path of a checkpoint", lambda value: is_flag(value) or is_path(value), default=False
        ),
    ]
    overwrite: Annotated[bool, OFF._replace(in_config=False)]  # delete the checkpoints of an earlier run in work_dir
    strict_keys: Annotated[bool, ON]  # False: a top-level key that looks like a misspelt one is only reported
    strict_paths: Annotated[bool, OFF]  # a part that writes outside of work_dir is an error, and not only told
    strict_resume: Annotated[bool, OFF]  # anything that is not restored is an error
    resume_data: Annotated[bool, ON]  # False: a fresh pass over the data
    skip_checks: Annotated[bool, OFF]
    log_interval: Annotated[int, Argument(default=50, check=check_log_interval, own=True)]  # without a LoggerHook
    checkpoint: Annotated[Any, Argument("a dict such as dict(async_save=True)", is_dict, check=check_saving, own=True)]
    remote: Annotated[  # where work_dir is an address: dict(options=dict(endpoint_url=...), interval=30)
        Any, Argument("a dict such as dict(interval=30)", is_dict, check=check_remote, own=True)
    ]
    signals: Annotated[  # those that save and stop the run
        Any,
        Argument(
            "a list of names, such as ['SIGTERM'], or dict(names=[...], grace=30)",
            is_listed,
            check=check_signals,
            own=True,
        ),
    ]
    launcher: Annotated[
        str, Argument("the name of a launcher, such as 'none'", is_text, default="none", check=check_launcher)
    ]
    strategy: Annotated[  # how several processes train one model
        Any, Argument("a name such as 'ddp', or a dict such as dict(type='ddp')", is_strategy, own=True)
    ]
    env_cfg: Annotated[Any, Argument("a dict such as dict(cudnn_benchmark=True)", is_dict)]
    randomness: Annotated[Any, Argument("a dict such as dict(seed=0)", is_randomness)]
    device: Annotated[str | None, Argument(check=check_device, own=True)]
    # Logs, names, and where objects come from.
    log_processor: Annotated[
        Any,
        Argument("a LogProcessor, or its config", is_config_or_has("get_log_after_iter", "get_log_after_epoch")),
    ]
    log_level: Annotated[str, Argument("the name of a level, such as 'INFO'", is_text, default="INFO")]
    visualizer: Annotated[Any, Argument("an object with add_scalars, or its config", is_config_or_has("add_scalars"))]
    experiment_name: Annotated[str | None, Argument("a name", is_text)]
    default_scope: Annotated[str | None, Argument("the name of a package, such as 'mmseg'", is_text)]
    cfg: Annotated[Any, Argument("the whole config, a dict", has("get"), in_config=False)]
    build: Annotated[  # None: what an installed package offers under the entry point `seg_engine.build`
        Any, Argument("an object with get(kind, name) and build(kind, cfg)", has("get", "build"), in_config=False)
    ]


ARGUMENTS: dict[str, Argument] = {
    name: next(one for one in hint.__metadata__ if isinstance(one, Argument))
    for name, hint in get_type_hints(Arguments, include_extras=True).items()
}
DEFAULTS = cast(Arguments, {name: argument.default for name, argument in ARGUMENTS.items()})
CONFIG_KEYS = [name for name, argument in ARGUMENTS.items() if argument.in_config]
OWN_KEYS = [name for name in CONFIG_KEYS if ARGUMENTS[name].own]
OWN = "seg"
"""The one key of a config under which the run's own arguments lie: those that are not MMEngine's."""

ALSO = {
    "model": "What is trained: a dict with its `type`, or a module.",
    "work_dir": "The folder of the run: checkpoints, logs, pictures. `--work-dir` sets it.",
    OWN: "What is this runner's own and not MMEngine's, such as `dict(device='cpu', strict_resume=True)`.",
    "runner_type": "Another runner's name; `Runner` where there is none.",
    "custom_imports": "Modules of your own that register parts: a name, a list, or `dict(imports=[...])`.",
    "tta_model": "What makes one prediction of the versions of an image; used with `seg test --tta`.",
    "tta_pipeline": "The transforms that make the versions of an image; used with `seg test --tta`.",
    "vis_backends": "The backends of a visualizer, where a config keeps them apart from it.",
}
"""Keys of a config that are read beside those of `Runner`, and what each is for."""


def place_of(cfg: object, key: str) -> str:
    """Return where a config has an argument: `seg.device` where it lies there, else its name.

    >>> place_of({"seg": {"device": "cpu"}}, "device"), place_of(None, "device")
    ('seg.device', 'device')
    """
    find = getattr(cfg, "get", None)
    under = find(OWN) if callable(find) else None
    return f"{OWN}.{key}" if isinstance(under, Mapping) and key in under else key


def fill_arguments(given: Mapping[str, object]) -> Arguments:
    """Return the given keys over the defaults, once their names and combinations are checked.

    Raises:
        TypeError: a key that Runner does not know.
        ValueError: keys that need one another and are not all there.
    """
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"Runner takes no argument {name!r}.{did_you_mean(name, ['model', 'work_dir', *DEFAULTS])}")
    arguments = cast(Arguments, {**DEFAULTS, **given})
    for name, value in arguments.items():
        ARGUMENTS[name].check_value(place_of(arguments["cfg"], name), value, arguments["cfg"])
    if arguments["overwrite"] and arguments["resume"]:
        raise ValueError("overwrite=True deletes the checkpoints that resume goes on from: give one of the two")
    check_training(arguments)
    for mode in ("val", "test"):
        check_evaluation(arguments, mode)
    return arguments


def use_argument(use: Callable[[Any], Used], arguments: Arguments, key: str) -> Used:
    """Return what a function makes of an argument; where it raises, a note names the line of the config."""
    with written_at(arguments["cfg"], place_of(arguments["cfg"], key)):
        return use(arguments[key])  # type: ignore[literal-required]  # one of the names of Arguments


def places_outside(arguments: Arguments, work_dir: Path) -> list[str]:
    """Write a line for each place outside of the working folder that the parts of a run would write to.

    Raises:
        ValueError: a place where a config may not write.
    """
    named: Config = dict(arguments) if arguments["cfg"] is None else arguments["cfg"]
    return check_places(named, ["model", OWN, *CONFIG_KEYS], work_dir, strict=arguments["strict_paths"])


def folder_of(work_dir: object) -> Path:
    """Return the whole path of the working folder; of one at an address, use `mirror_of`.

    Raises:
        TypeError: it is no path.
    """
    if not isinstance(work_dir, str | Path) or not str(work_dir) or "\0" in str(work_dir):
        raise TypeError(f"work_dir must be the path of a folder, not {work_dir!r}: checkpoints and logs go there")
    return Path(as_path(work_dir)).expanduser().resolve()


def mirror_of(work_dir: object, options: Mapping[str, Any] | None, world: World) -> Mirror | None:
    """Return what keeps a working folder at an address in line; None where it is a path of this machine.

    One rank of each machine brings the folder there in line; the others wait for it.

    Raises:
        RemoteError: The address cannot be opened, from any of the machines.
    """
    if not isinstance(work_dir, str | Path) or not scheme_of(address := as_path(work_dir)):
        return None
    mirror, trouble = Mirror(address, RemoteOptions(**(options or {}))), ""
    if world.local_rank == 0:
        try:
            mirror.pull()
        except OSError as error:
            if world.size == 1:
                raise
            trouble = str(error)
    for rank, text in enumerate(world.gather(trouble)):
        if text:
            raise RemoteError(f"rank {rank}: {text}")
    return mirror


def experiment_name(given: str | None, cfg: object, timestamp: str) -> str:
    """Return the given name, else the config file's, with the timestamp behind it; without either, the timestamp."""
    filename = getattr(cfg, "filename", None)
    stem = given or (Path(filename).stem if filename else None)
    return f"{stem}_{timestamp}" if stem else timestamp


def expects_epochs(arguments: Arguments) -> bool:
    """Tell whether log lines count epochs where no log processor is given.

    They do with a config, as in MMEngine, and with a ready loop; else they count as `train_cfg` does.
    """
    cfg = arguments["train_cfg"]
    if arguments["cfg"] is not None or not isinstance(cfg, Mapping):
        return True
    return bool(cfg.get("by_epoch", "max_epochs" in cfg))
