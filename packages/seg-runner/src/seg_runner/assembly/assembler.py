"""From configs to parts: names become classes and objects once, here, through an injected builder.

An object that is ready passes through untouched. Only the `type` of a part itself, and of the few parts inside
it that belong to other packages, is looked up; everything deeper reaches the part as it was written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from seg_runner.checks import flag
from seg_runner.data.loader import build_dataloader
from seg_runner.distributed.world import ALONE
from seg_runner.errors import add_note, check_options, did_you_mean, install_line, origin_of, written_at
from seg_runner.evaluation.evaluator import Evaluator
from seg_runner.log.processor import LogProcessor
from seg_runner.mmengine.classes import is_of_mmengine, is_registered, is_written_for_mmengine
from seg_runner.mmengine.schedulers import optimizer_for
from seg_runner.model.logits_model import LogitsModel
from seg_runner.process.randomness import Randomness
from seg_runner.protocols import Builder, find_builder

__all__ = ["Assembler"]


class Assembler:
    """Makes parts from configs.

    Args:
        builder: Turns names into objects; None: the installed one, looked for when the first dict is met.
        cfg: The whole config, for messages that say where a key stands.
        scope: `default_scope` where there is no config to say so.
    """

    def __init__(self, builder: Builder | None, cfg: object = None, scope: str | None = None) -> None:
        self._given = builder
        self.cfg = cfg
        self._scope = scope
        self.world = ALONE
        self.exact = False  # whether sums must round as MMEngine's do: no fused optimizer step

    @cached_property
    def builder(self) -> Builder | None:
        """Return the builder given, else the installed one."""
        if self._given is not None:
            return self._given
        cfg = {"default_scope": self._scope} if self.cfg is None and self._scope else self.cfg
        return find_builder(cfg)

    def part(self, kind: str, cfg: object, key: str, **defaults: object) -> Any:
        """Return the object for `cfg`: itself if it is no dict, else built.

        Raises:
            TypeError: a dict without `type`, or a dict and no builder.
        """
        if not isinstance(cfg, Mapping):
            return cfg
        if "type" not in cfg:
            raise TypeError(f"{key}{origin_of(self.cfg, key)} is a dict without 'type', so nothing says what to build")
        if isinstance(cfg["type"], str) or self.builder is not None:
            return self._builder(key).build(kind, cfg, **defaults)
        return cfg["type"](**{**defaults, **{name: value for name, value in cfg.items() if name != "type"}})

    def resolve(self, kind: str, name: object, key: str) -> Any:
        """Return the class that `name` stands for; a class stands for itself."""
        if not isinstance(name, str):
            return name
        try:
            return self._builder(key).get(kind, name)
        except Exception as error:
            add_note(error, f"in {key}{origin_of(self.cfg, key)}")
            raise

    def _builder(self, key: str) -> Builder:
        if self.builder is None:
            raise TypeError(
                f"{key} is a dict, and no package that builds objects from dicts is installed: give the object "
                f"itself, or {install_line('seg-registry')}"
            )
        return self.builder

    def model(self, cfg: object, data_preprocessor: object = None) -> Any:
        """Return the model; `data_preprocessor` is used where the model's config has none of its own.

        Of a `LogitsModel`, the model inside and its loss may be configs too.
        """
        if isinstance(cfg, Mapping) and data_preprocessor is not None and "data_preprocessor" not in cfg:
            cfg = _changed(cfg, data_preprocessor=data_preprocessor)
        if isinstance(cfg, Mapping) and cfg.get("type") in ("LogitsModel", LogitsModel):
            inside = {name: cfg[name] for name in ("model", "loss") if isinstance(cfg.get(name), Mapping)}
            cfg = _changed(cfg, **{name: self.part("model", own, f"model.{name}") for name, own in inside.items()})
        return self.part("model", cfg, "model")

    def loss(self, cfg: object) -> Any:
        """Return the loss of a model that gives logits; a config is built like a model's part."""
        return self.part("model", cfg, "loss")

    def optim_wrapper(self, cfg: object, model: object) -> Any:
        """Return the optimizer wrapper of a config: its constructor decides which parameter gets which settings."""
        if not isinstance(cfg, Mapping):
            return cfg
        if "constructor" not in cfg and "optimizer" not in cfg:
            return self._ready_wrappers(cfg)
        own = dict(cfg)
        constructor = own.pop("constructor", "DefaultOptimWrapperConstructor")
        paramwise = own.pop("paramwise_cfg", None)
        # resolved here, so that a miss names the place
        found = self.resolve("optim_wrapper_constructor", constructor, "optim_wrapper.constructor")
        foreign = is_written_for_mmengine(found, "OPTIM_WRAPPER_CONSTRUCTORS")
        resolved = _changed(cfg, **self._wrapper_classes(own, foreign))
        for key in ("constructor", "paramwise_cfg"):
            resolved.pop(key, None)
        made = {"type": constructor, "optim_wrapper_cfg": resolved, "paramwise_cfg": paramwise}
        with written_at(self.cfg, "optim_wrapper"):
            return self.part("optim_wrapper_constructor", made, "optim_wrapper.constructor")(model)

    def _wrapper_classes(self, cfg: dict[str, Any], foreign: bool) -> dict[str, Any]:
        """Return the classes for names; a constructor written for MMEngine gets the names that MMEngine knows."""
        changed: dict[str, Any] = {}
        optimizer = cfg.get("optimizer")
        name = cfg.get("type", "OptimWrapper")
        if optimizer is not None and not (foreign and _is_known_there(name, "OPTIM_WRAPPERS")):
            changed["type"] = self.resolve("optim_wrapper", name, "optim_wrapper.type")
        if isinstance(optimizer, Mapping) and "type" in optimizer:
            if foreign and _is_known_there(optimizer["type"], "OPTIMIZERS"):
                return changed
            found = self.resolve("optimizer", optimizer["type"], "optim_wrapper.optimizer.type")
            unfused = {"fused": False} if self.exact and _may_be_fused(found, optimizer) else {}
            changed["optimizer"] = _changed(optimizer, type=found, **unfused)
        return changed

    def _ready_wrappers(self, cfg: Mapping[str, Any]) -> Any:
        unready = [name for name, wrapper in cfg.items() if not hasattr(wrapper, "update_params")]
        if unready or not cfg:
            near = (did_you_mean(key, ["optimizer", "constructor"]) for key in unready if isinstance(key, str))
            raise ValueError(
                f"optim_wrapper{origin_of(self.cfg, 'optim_wrapper')} has neither 'optimizer' nor 'constructor', but "
                f"{', '.join(map(repr, cfg)) or 'nothing'}.{next(filter(None, near), '')} "
                "Write optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)); for several optimizers give a "
                "constructor, or a dict of ready OptimWrappers."
            )
        return self.resolve("optim_wrapper", "OptimWrapperDict", "optim_wrapper")(**cfg)

    def param_schedulers(
        self,
        cfg: object,
        wrapper: object,
        ends: dict[bool, int],
        epoch_length: int | None,
        key: str = "param_scheduler",
    ) -> Any:
        """Return the schedulers: a list, or for several optimizers a dict of lists.

        Args:
            cfg: Scheduler, config, list of them, or dict name -> list.
            wrapper: What they change the values of.
            ends: by_epoch -> where a schedule without `end` ends.
            epoch_length: Iterations of an epoch, for `convert_to_iter_based`.
            key: Where they stand in the config.
        """
        if cfg is None:
            return []
        if isinstance(cfg, Mapping) and "type" not in cfg:
            named = dict(wrapper.items()) if hasattr(wrapper, "items") else {}
            unknown = [name for name in cfg if name not in named]
            if unknown:
                raise ValueError(
                    f"param_scheduler{origin_of(self.cfg, 'param_scheduler')} is a dict without 'type'; its keys must "
                    f"name optimizers, but there is no optimizer {unknown[0]!r} "
                    f"(there are: {', '.join(named) or 'none with names'})"
                )
            given = {name: (own, named[name], ends, epoch_length, f"{key}.{name}") for name, own in cfg.items()}
            return {name: self.param_schedulers(*one) for name, one in given.items()}
        listed = cfg if isinstance(cfg, Sequence) else [cfg]
        if hasattr(wrapper, "items") and all(isinstance(one, Mapping) for one in listed):  # the same for each optimizer
            return {name: self.param_schedulers(listed, own, ends, epoch_length, key) for name, own in wrapper.items()}
        keys = [key] if listed is not cfg else [f"{key}.{number}" for number in range(len(listed))]
        return [
            self._scheduler(one, wrapper, ends, epoch_length, place) for one, place in zip(listed, keys, strict=True)
        ]

    def _scheduler(
        self, cfg: object, wrapper: object, ends: dict[bool, int], epoch_length: int | None, key: str
    ) -> Any:
        if not isinstance(cfg, Mapping):
            return cfg
        if "type" not in cfg:
            raise TypeError(f"param_scheduler{origin_of(self.cfg, 'param_scheduler')} has an entry without 'type'")
        own = _changed(cfg)
        convert = flag(own.pop("convert_to_iter_based", False) or False, "param_scheduler.convert_to_iter_based")
        by_epoch = bool(own.get("by_epoch", True))
        if not convert:
            # A schedule that counts optimizer steps ends with the run's last one.
            counts = getattr(wrapper, "accumulative_counts", 1) if own.get("unit") == "step" and not by_epoch else 1
            end = -(-ends[by_epoch] // counts)
            optimizer = optimizer_for(self.resolve("param_scheduler", own["type"], key), wrapper)
            return self.part("param_scheduler", own, key, optimizer=optimizer, end=end)
        if not by_epoch or epoch_length is None:
            raise ValueError(
                "convert_to_iter_based=True turns epochs into iterations: it needs by_epoch=True and a "
                f"train_dataloader with a length{origin_of(self.cfg, 'param_scheduler')}"
            )
        found = self.resolve("param_scheduler", own.pop("type"), key)
        given = {"end": ends[True], **own}
        return found.build_iter_from_epoch(optimizer=optimizer_for(found, wrapper), epoch_length=epoch_length, **given)

    def hook(self, cfg: object, key: str) -> tuple[Any, Any]:
        """Return the hook of a config, and the priority that the config gives it (None: the hook's own)."""
        if not isinstance(cfg, Mapping):
            return cfg, None
        own = _changed(cfg)
        priority = own.pop("priority", None)
        if isinstance(own.get("ema_type"), str) and not is_of_mmengine(self.resolve("hook", own.get("type"), key)):
            own["ema_type"] = self._average(own["ema_type"], key)
        return self.part("hook", own, key), priority

    def _average(self, name: str, key: str) -> Any:
        """Return the class of an average that somebody has registered; the hook knows the usual ones by their names."""
        try:
            found = self.resolve("model", name, f"{key}.ema_type")
        except Exception:
            return name  # the hook says which ones there are
        return name.rpartition(".")[2] if str(found.__module__).startswith("mmengine.") else found

    def dataloader(self, cfg: object, key: str, randomness: Randomness) -> Any:
        """Return the loader of a config; a dict of named loaders or configs becomes a dict of loaders."""
        if not isinstance(cfg, Mapping):
            return cfg
        if is_named(cfg):
            return {name: self.dataloader(one, f"{key}.{name}", randomness) for name, one in cfg.items()}
        try:
            return build_dataloader(cfg, self.builder, randomness, world=self.world)
        except Exception as error:
            add_note(error, f"while building {key}{origin_of(self.cfg, key)}")
            raise

    def evaluator(self, cfg: object, key: str) -> Any:
        """Return the evaluator of a metric, a list of metrics, or their configs; of each set where they are named."""
        if isinstance(cfg, Mapping) and "type" not in cfg and "metrics" not in cfg:
            plain = [name for name, one in cfg.items() if isinstance(one, int | float | str | None)]
            if plain:
                raise TypeError(
                    f"{key}{origin_of(self.cfg, key)} is a dict without 'type', with {', '.join(map(repr, plain))}: "
                    "write dict(type='IoUMetric', ...), or a dict from the name of each data set to its metric"
                )
            return {name: self.evaluator(one, f"{key}.{name}") for name, one in cfg.items()}
        if isinstance(cfg, Mapping) and "type" not in cfg and "metrics" in cfg:
            cfg = cfg["metrics"]
        if isinstance(cfg, Mapping) and "metrics" in cfg:
            return self.part("evaluator", _changed(cfg, metrics=self._metrics(cfg["metrics"], key)), key)
        if hasattr(cfg, "evaluate") and hasattr(cfg, "metrics"):
            return cfg
        return Evaluator(self._metrics(cfg, key))

    def _metrics(self, cfg: object, key: str) -> list[Any]:
        listed = cfg if isinstance(cfg, (list, tuple)) else [cfg]
        return [self.part("metric", one, key) for one in listed]

    def visualizer(self, cfg: object, name: str, log_dir: Path) -> Any:
        """Return the visualizer of a config; its backends write under `<log_dir>/vis_data` by default."""
        if not isinstance(cfg, Mapping):
            return cfg
        own = _changed(cfg)
        kind = self.resolve("visualizer", own.get("type"), "visualizer")
        if is_of_mmengine(kind):  # it makes its backends by itself; a class, as names may have an older instance
            return self.part("visualizer", _changed(own, type=kind), "visualizer", name=name, save_dir=str(log_dir))
        backends = own.get("vis_backends")
        if isinstance(backends, Mapping):
            backends = [backends]
        if not isinstance(backends, Sequence | None) or isinstance(backends, str):
            raise TypeError(f"visualizer.vis_backends must be a list of backends, not {backends!r}")
        if backends is not None:
            own["vis_backends"] = [self._vis_backend(one, log_dir) for one in backends]
        return self.part("visualizer", own, "visualizer", name=name, save_dir=str(log_dir))

    def _vis_backend(self, cfg: object, log_dir: Path) -> Any:
        """Return one backend; a `name` in its config is what the visualizer calls it, and no argument of its class."""
        own = _changed(cfg) if isinstance(cfg, Mapping) else cfg
        name = own.pop("name", None) if isinstance(own, dict) else None
        made = self.part("vis_backend", own, "visualizer.vis_backends", save_dir=str(log_dir / "vis_data"))
        if name is not None:
            made.name = name
        return made

    def log_processor(self, cfg: object, by_epoch: bool = True) -> Any:
        """Return the log processor; a dict without `type` is one of ours. `by_epoch` counts where nothing is given."""
        if cfg is None:
            return LogProcessor(by_epoch=by_epoch)
        if isinstance(cfg, Mapping) and self._is_own(cfg.get("type", LogProcessor), LogProcessor, "log_processor"):
            options = {key: value for key, value in cfg.items() if key != "type"}
            check_options(LogProcessor, options, f"log_processor{origin_of(self.cfg, 'log_processor')}")
            with written_at(self.cfg, "log_processor"):
                return LogProcessor(**options)
        return self.part("log_processor", cfg, "log_processor")

    def _is_own(self, name: object, ours: type[Any], kind: str) -> bool:
        """Tell whether a name means our class of that name: where nobody has registered another one under it."""
        return name is ours or (name == ours.__name__ and self.known(kind, ours) is ours)

    def known(self, kind: str, ours: type[Any]) -> Any:
        """Return the class that the builder knows by the name of one of ours; ours where it knows none."""
        try:
            return ours if self.builder is None else self.builder.get(kind, ours.__name__)
        except LookupError:
            return ours


def _changed(cfg: Mapping[str, object], **new: object) -> Any:
    """Return a copy that may be changed; a ConfigDict stays one, and keeps knowing where its values came from."""
    copy = getattr(cfg, "copy", None)
    own: Any = copy() if callable(copy) else dict(cfg)
    own.update(new)
    return own


def _is_known_there(name: object, registry: str) -> bool:
    return isinstance(name, str) and is_registered(name, registry)


def _may_be_fused(optimizer: Callable[..., object], options: Mapping[str, object]) -> bool:
    if {"fused", "foreach"} & set(options) or not str(getattr(optimizer, "__module__", "")).startswith("torch.optim"):
        return False
    return "fused" in inspect.signature(optimizer).parameters


def is_named(cfg: object) -> bool:
    """Tell whether this is a dict of named loaders rather than the dict of one."""
    if not isinstance(cfg, Mapping) or not cfg or "dataset" in cfg:
        return False
    return all(not isinstance(one, (str, int, float, bool, type(None))) for one in cfg.values())
