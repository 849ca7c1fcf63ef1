"""One label for pixels that do not count: what the loss leaves out is what padding, data and metrics leave out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from seg_runner.errors import origin_of
from seg_runner.model.wrapping import unwrap

__all__ = ["align_ignore_index", "align_with_metrics", "ignore_index_of"]

USUAL = 255
"""The label that does not count where nobody chose one."""


class LearnsLabels(Protocol):
    """A run whose model and data must leave out the same label."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def loaders(self) -> Mapping[str, Any]:
        """The loader of each mode."""

    @property
    def val_loop(self) -> object:
        """The validation loop, or None."""

    @property
    def cfg(self) -> object:
        """The config, or None."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def ignore_index_of(model: object) -> int | None:
    """Return the label that the model's loss leaves out: `ignore_index` of its decode head or loss, or None.

    Example:
        >>> from torch import nn
        >>> from seg_runner import LogitsModel
        >>> ignore_index_of(LogitsModel(nn.Conv2d(3, 2, 1), loss=nn.CrossEntropyLoss(ignore_index=9)))
        9
    """
    for part in (*_several(getattr(model, "decode_head", None))[::-1], *_several(getattr(model, "criterion", None))):
        found = getattr(part, "ignore_index", None)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def _several(part: object) -> list[Any]:
    """Return a part, or the parts of a list of them (cascaded heads, one loss for each output)."""
    if part is None:
        return []
    return list(part) if isinstance(part, Sequence | nn.ModuleList) else [part]


def align_ignore_index(runner: LearnsLabels) -> None:
    """Let the data preprocessor and the training data give pixels that do not count the label that the loss leaves out.

    The preprocessor's `seg_pad_val` stays where it is the number of a class (but 255 always means "does not count").
    A data set is told by `leave_out(label)`, where it has that.
    """
    align_with_metrics(runner.val_loop, "val", runner.logger)
    model = unwrap(runner.model)
    label = ignore_index_of(model)
    if label is None:
        return
    dataset = getattr(runner.loaders.get("train"), "dataset", None)
    classes = _classes(dataset)
    _align_preprocessor(runner, getattr(model, "data_preprocessor", None), label, classes)
    _tell(runner.logger, "train_dataloader", dataset, label, "the model")
    if 0 <= label < len(classes):
        more = " Choose an ignore_index that is no class, for the head and the metric." if len(classes) > 255 else ""
        runner.logger.warning(
            "label %d is class %r and does not count in the loss (its ignore_index).%s", label, classes[label], more
        )


def align_with_metrics(loop: object, mode: str, logger: logging.Logger) -> None:
    """Let data of validation or test give pixels that do not count the label that their metrics leave out."""
    for name, (loader, evaluator) in getattr(loop, "sets", {}).items():
        metrics = getattr(evaluator, "metrics", None) or [evaluator]
        labels = {getattr(metric, "ignore_index", None) for metric in metrics}
        label = labels.pop() if len(labels) == 1 else None
        if isinstance(label, int):
            dataset = getattr(loader, "dataset", None)
            _tell(logger, f"{mode}_dataloader{f' of {name!r}' if name else ''}", dataset, label, "the metric")


def _tell(logger: logging.Logger, key: str, dataset: object, label: int, who: str) -> None:
    leave_out = getattr(dataset, "leave_out", None)
    told = leave_out(label) if callable(leave_out) else None
    if told:
        logger.info("%s: %s, as %s does", key, told, who)


def _align_preprocessor(runner: LearnsLabels, preprocessor: object, label: int, classes: Sequence[str]) -> None:
    value = getattr(preprocessor, "seg_pad_val", None)
    if value is None or value == label:
        return
    if 0 <= value < len(classes) and value != USUAL:
        text = "added pixels count as class %r: data_preprocessor.seg_pad_val=%g%s; ignore_index is %d"
        where = origin_of(runner.cfg, "model.data_preprocessor.seg_pad_val")
        runner.logger.warning(text, classes[int(value)], value, where, label)
        return
    setattr(preprocessor, "seg_pad_val", label)  # noqa: B010 (whatever has that attribute)
    runner.logger.info("added pixels get label %d, which the model leaves out, not seg_pad_val=%g", label, value)


def _classes(dataset: object) -> Sequence[str]:
    return (getattr(dataset, "metainfo", None) or {}).get("classes") or ()
