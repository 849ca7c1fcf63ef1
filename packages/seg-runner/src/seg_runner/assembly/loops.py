"""From `train_cfg`, `val_cfg`, `test_cfg` to loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from seg_runner.assembly.assembler import Assembler
from seg_runner.checks import flag
from seg_runner.errors import check_options, did_you_mean, origin_of, written_at
from seg_runner.loop.evaluate import TestLoop, ValLoop
from seg_runner.loop.train import EpochBasedTrainLoop, IterBasedTrainLoop
from seg_runner.mmengine.bases import derives_from

__all__ = ["OWN_LOOPS", "eval_loop", "is_loop", "loop_class", "train_loop"]

OWN_LOOPS: dict[str, type[Any]] = {
    "EpochBasedTrainLoop": EpochBasedTrainLoop,
    "IterBasedTrainLoop": IterBasedTrainLoop,
    "ValLoop": ValLoop,
    "TestLoop": TestLoop,
}

Resolve = Callable[[str], Any]


class HasConfig(Protocol):
    """A runner, of which a loop's builder needs the config; the loop gets the runner itself."""

    @property
    def cfg(self) -> object:
        """The config, or None."""

    def build_evaluator(self, evaluator: object) -> Any:
        """The evaluator of a config."""


def is_loop(cfg: object) -> bool:
    """Tell whether this is a ready loop: any object with `run()`."""
    return not isinstance(cfg, (Mapping, type)) and callable(getattr(cfg, "run", None))


def train_loop(cfg: object, runner: HasConfig, dataloader: object, resolve: Resolve) -> Any:
    """Return the training loop that `train_cfg` describes.

    Args:
        cfg: A loop, or a dict with `type`, with `by_epoch`, or with just `max_iters` or `max_epochs`.
        runner: Handed to the loop.
        dataloader: Handed to the loop.
        resolve: From a loop's name to its class, for names that are not ours.

    Raises:
        ValueError: the dict does not say which loop, or says it twice.
        TypeError: a key that the loop does not take.
    """
    if is_loop(cfg):
        return cfg
    own = _options(cfg, "train_cfg")
    where = origin_of(runner.cfg, "train_cfg")
    by_epoch = own.pop("by_epoch", None)
    name = own.pop("type", None)
    if not isinstance(name, str | type | None):
        raise TypeError(f"train_cfg.type{where} must be the name of a loop, or its class, not {name!r}")
    if by_epoch is not None:
        by_epoch = flag(by_epoch, f"train_cfg.by_epoch{where}")
    if name is not None and by_epoch is not None:
        raise ValueError(f"train_cfg{where} has both type={_word(name)} and by_epoch={by_epoch}: keep one of the two")
    if name is None and by_epoch is None:
        by_epoch = _unit(own, where)
    if name is None:
        name = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    return _make(name, "train_cfg", where, resolve, {"runner": runner, "dataloader": dataloader, **own})


def _unit(own: Mapping[str, Any], where: str) -> bool:
    given = [key for key in ("max_epochs", "max_iters") if key in own]
    if len(given) != 1:
        near = did_you_mean(next(iter(own), ""), ["max_epochs", "max_iters"]) if not given else ""
        raise ValueError(
            f"train_cfg{where} must say how long to train: max_iters=... or max_epochs=...; it has "
            f"{' and '.join(given) if given else ', '.join(own) or 'nothing'}.{near}"
        )
    return given[0] == "max_epochs"


def eval_loop(mode: str, cfg: object, runner: HasConfig, parts: Mapping[str, object], resolve: Resolve) -> Any:
    """Return the validation or test loop; `parts` are its `dataloader`, and its `evaluator` or what that is made of."""
    if is_loop(cfg):
        return cfg
    key = f"{mode}_cfg"
    own = _options(cfg or {}, key)
    name = own.pop("type", ValLoop if mode == "val" else TestLoop)
    return _make(name, key, origin_of(runner.cfg, key), resolve, {"runner": runner, **parts, **own})


def _options(cfg: object, key: str) -> dict[str, Any]:
    if isinstance(cfg, type):
        return {"type": cfg}
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{key} must be a dict or an object with run(), not {type(cfg).__name__}")
    return dict(cfg)


def _make(name: str | type[Any], key: str, where: str, resolve: Resolve, options: dict[str, Any]) -> Any:
    kind = resolve(name) if isinstance(name, str) else name
    if options.get("evaluator") is not None:
        options["evaluator"] = _evaluator(kind, options["evaluator"], options["runner"])
    check_options(kind, options, f"{key}{where}", hidden=("runner", "dataloader", "evaluator"))
    with written_at(options["runner"].cfg, key):
        return kind(**options)


def _evaluator(kind: object, given: object, runner: HasConfig) -> object:
    """Return the evaluator; MMEngine's loops make it themselves of a config, by the runner's `build_evaluator`."""
    if derives_from(kind, "runner", "BaseLoop") and isinstance(given, Mapping | list):
        return given
    return runner.build_evaluator(given)


def _word(name: str | type) -> str:
    return name if isinstance(name, str) else name.__name__


def loop_class(assembler: Assembler, key: str) -> Callable[[str], Any]:
    """Return what finds the class of a loop, for `train_loop` and `eval_loop`."""

    def find(name: str) -> Any:
        if name in OWN_LOOPS:
            return assembler.known("loop", OWN_LOOPS[name])
        if assembler.builder is None:
            raise KeyError(
                f"{key}: there is no loop {name!r}.{did_you_mean(name, OWN_LOOPS)} Without seg-registry there are "
                f"{', '.join(OWN_LOOPS)}; a class of your own is given as it is"
            )
        return assembler.resolve("loop", name, key)

    return find
