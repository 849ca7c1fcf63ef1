"""The evaluator: hands batches to metrics and gathers their results into one dict of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from seg_runner.checks import whole
from seg_runner.evaluation.fields import label_maps
from seg_runner.evaluation.ranks import PaddingFilter

__all__ = ["Evaluator", "TorchMetric"]


@runtime_checkable
class TorchmetricsMetric(Protocol):
    """A metric as torchmetrics has them."""

    def update(self, prediction: torch.Tensor, truth: torch.Tensor, /) -> object:
        """Take in one batch, N x H x W each."""

    def compute(self) -> Any:
        """Return a number, or several by name."""

    def reset(self) -> object:
        """Forget the batches."""


class Evaluator:
    """Several metrics that see the same samples.

    Metrics are anything with `process` and `evaluate` (ours, MMEngine's), or with `update`, `compute` and `reset`
    (torchmetrics). Nested results are flattened: `{'IoU': {'road': 97.5}}` becomes `IoU/road`.

    In a config: `dict(type='Evaluator', metrics=[dict(type='IoUMetric')])`.

    Args:
        metrics: one metric or several.

    Example:
        >>> from seg_runner import IoUMetric
        >>> Evaluator([IoUMetric(num_classes=7)]).metrics[0].iou_metrics
        ['mIoU']
    """

    def __init__(self, metrics: object) -> None:
        listed = list(metrics) if isinstance(metrics, Sequence) and not isinstance(metrics, str) else [metrics]
        self.metrics = [_as_metric(metric) for metric in listed]
        self._dataset_meta: Mapping[str, Any] | None = None

    @property
    def dataset_meta(self) -> Mapping[str, Any] | None:
        """What the data set says about itself: `classes`, `palette`, ..."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: Mapping[str, Any] | None) -> None:
        self._dataset_meta = meta
        for metric in self.metrics:
            metric.dataset_meta = meta

    def process(self, data_samples: Sequence[Any], data_batch: object = None) -> None:
        """Hand one batch of samples to every metric; samples reach them as nested dicts."""
        dicts = [sample.to_dict() if hasattr(sample, "to_dict") else sample for sample in data_samples]
        for metric in self.metrics:
            metric.process(data_batch, dicts)

    def evaluate(self, size: int) -> dict[str, Any]:
        """Return all results over a data set of this size, in the order of the metrics.

        Raises:
            TypeError: a metric returns no dict.
            ValueError: two metrics return the same name.
        """
        results: dict[str, Any] = {}
        for metric in self.metrics:
            found = metric.evaluate(size)
            if not isinstance(found, Mapping):
                raise TypeError(f"{type(metric).__name__}.evaluate must return a dict of results, not {found!r}")
            found = flattened(found)
            twice = sorted(results.keys() & found.keys())
            if twice:
                raise ValueError(
                    f"{type(metric).__name__} returns {', '.join(twice)}, as a metric before it does: "
                    "give each its own prefix=..."
                )
            results |= found
        return results

    def offline_evaluate(
        self, data_samples: Sequence[Any], data: Sequence[Any] | None = None, chunk_size: int = 1
    ) -> Any:
        """Evaluate samples that lie there already, `chunk_size` at a time."""
        for start in range(0, len(data_samples), whole(chunk_size, "chunk_size", 1)):
            batch = data[start : start + chunk_size] if data is not None else None
            self.process(data_samples[start : start + chunk_size], batch)
        return self.evaluate(len(data_samples))


class TorchMetric:
    """A metric of torchmetrics (anything with `update`, `compute` and `reset`) seen as one of ours.

    Args:
        metric: called with batches of one label map each: `update(prediction, truth)`, 1 x H x W.
        name: the result's name, where `compute` returns no dict; default: the class's name.
    """

    def __init__(self, metric: TorchmetricsMetric, name: str | None = None) -> None:
        self.metric = metric
        self.name = name or type(metric).__name__
        self.dataset_meta: Mapping[str, Any] | None = None
        self._samples = PaddingFilter(self._update)

    def process(self, data_batch: object, data_samples: Sequence[object]) -> None:
        """Hand one batch over."""
        for sample in data_samples:
            self._samples.add(label_maps(sample))

    def evaluate(self, size: int) -> dict[str, Any]:
        """Return what `compute` returns, then reset."""
        self._samples.finish(size)
        found = self.metric.compute()
        self.metric.reset()
        return dict(found) if isinstance(found, Mapping) else {self.name: found}

    def _update(self, maps: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Hand one sample over, on the metric's device or else on the prediction's."""
        prediction, truth = maps
        device = getattr(self.metric, "device", prediction.device)
        if device != prediction.device and hasattr(self.metric, "to"):
            self.metric = self.metric.to(prediction.device)
        self.metric.update(prediction[None], truth.to(prediction.device)[None])


def flattened(results: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    """Return one level of names from nested ones, and numbers from tensors with one element."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{lead}{key}/")
        else:
            flat[f"{lead}{key}"] = _as_number(value)
    return flat


def _as_number(value: object) -> object:
    """Return a number, or a list of them, out of a tensor; anything else as it is."""
    if hasattr(value, "numel") and hasattr(value, "tolist") and hasattr(value, "item"):
        return value.item() if value.numel() == 1 else value.tolist()
    item = getattr(value, "item", None)
    if callable(item) and hasattr(value, "dtype") and getattr(value, "size", 0) == 1:
        return item()
    return value


def _as_metric(metric: object) -> Any:
    """Return a metric as it is called here.

    Raises:
        TypeError: it is none.
    """
    if isinstance(metric, type):
        raise TypeError(f"{metric.__name__} is a class, and a metric is an object: write {metric.__name__}(...)")
    if hasattr(metric, "process") and hasattr(metric, "evaluate"):
        return metric
    if isinstance(metric, TorchmetricsMetric):
        return TorchMetric(metric)
    raise TypeError(
        f"{type(metric).__name__} is no metric: it needs process(data_batch, data_samples) and evaluate(size), "
        "or update(), compute() and reset() as in torchmetrics"
    )
