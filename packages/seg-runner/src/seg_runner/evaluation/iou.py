"""IoUMetric: IoU, Dice and F-score per class from exact counts, with the keys and the table of MMSegmentation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.checks import choices, flag, folder, label, number, one_of, text, warn_unused, whole
from seg_runner.evaluation.confusion import Confusion, Counts
from seg_runner.evaluation.fields import label_maps, prediction_of, sample_field
from seg_runner.evaluation.ranks import HeldBack, sum_over_ranks
from seg_runner.evaluation.tables import SampleFiles, boxed_table

__all__ = ["IoUMetric", "class_scores"]

Scores = dict[str, npt.NDArray[np.float64]]

KINDS = {"mIoU": ("IoU", "Acc"), "mDice": ("Dice", "Acc"), "mFscore": ("Fscore", "Precision", "Recall")}


class IoUMetric:
    """Mean IoU, Dice or F-score over a data set.

    Counts are exact (int64, one matrix whatever the number of images), are kept where the tensors are, and are right
    over several processes with a sampler that pads. The values returned are percentages in full precision, so that
    the best checkpoint is chosen on what was measured; the table shows two decimals. Give `decimals=2` for the
    rounded values that MMSegmentation returns.

    Args:
        ignore_index: the label of pixels that do not count.
        iou_metrics: any of 'mIoU' (IoU and Acc), 'mDice' (Dice and Acc), 'mFscore' (Fscore, Precision and Recall).
        nan_to_num: the number (a fraction, not a percentage) that stands for classes without any pixel; they are left
            out of the means where it is None.
        beta: the weight of recall in the F-score.
        collect_device: 'cpu' or 'gpu'; counts stay where the tensors are in either case.
        output_dir: where predictions are written as PNG, if at all.
        format_only: only write them, and return no values.
        prefix: stands before the keys: `prefix/mIoU`.
        num_classes: needed where the data set has no `metainfo['classes']`.
        per_class: return `IoU.<class>`, ... as well, so that they are logged and a checkpoint can be best on one.
        decimals: round returned values to so many; None leaves them as they are.
        **ignored: other keys of MMSegmentation's configs; they are named in a warning.

    Example:
        >>> metric = IoUMetric(num_classes=2)
        >>> truth, predicted = torch.tensor([[0, 0, 1, 255]]), torch.tensor([[0, 1, 1, 0]])
        >>> sample = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=predicted))
        >>> metric.process(None, [sample])
        >>> {name: round(value, 2) for name, value in metric.evaluate(1).items()}
        {'aAcc': 66.67, 'mIoU': 50.0, 'mAcc': 75.0}
    """

    def __init__(
        self,
        ignore_index: int = 255,
        iou_metrics: str | Sequence[str] = ("mIoU",),
        nan_to_num: int | None = None,
        beta: int = 1,
        collect_device: str = "cpu",
        output_dir: str | None = None,
        format_only: bool = False,
        prefix: str | None = None,
        *,
        num_classes: int | None = None,
        per_class: bool = False,
        decimals: int | None = None,
        **ignored: Any,
    ) -> None:
        self.iou_metrics = choices(iou_metrics, "iou_metrics", list(KINDS))
        self.collect_device = one_of(collect_device, "collect_device", ("cpu", "gpu"))
        self.ignore_index, self.beta = label(ignore_index, "ignore_index"), number(beta, "beta", least=0)
        self.nan_to_num = None if nan_to_num is None else number(nan_to_num, "nan_to_num")
        self.prefix = text(prefix, "prefix")
        self.output_dir, self.format_only = folder(output_dir, "output_dir"), flag(format_only, "format_only")
        if self.format_only and self.output_dir is None:
            raise TypeError("format_only=True writes predictions only, so output_dir must say where")
        self._files = None if self.output_dir is None else SampleFiles(self.output_dir)
        self.per_class = flag(per_class, "per_class")
        self.decimals = None if decimals is None else whole(decimals, "decimals")
        self.dataset_meta: dict[str, Any] | None = None
        self.logger = logging.getLogger(__name__)
        self._num_classes = None if num_classes is None else whole(num_classes, "num_classes", 1)
        self._counts: Confusion | None = None
        self._held = HeldBack(self._count)
        self._pixels, self._told = 0, False
        warn_unused(self.logger, IoUMetric, ignored)

    @property
    def class_names(self) -> list[str]:
        """The classes, from the data set or else as numbers.

        Raises:
            ValueError: if neither the data set nor `num_classes` tells them.
        """
        names = (self.dataset_meta or {}).get("classes")
        if names is None and self._num_classes is None:
            raise ValueError(
                "IoUMetric does not know the classes: give num_classes=..., or a data set with metainfo['classes']"
            )
        if names is None:
            return [str(index) for index in range(self._num_classes or 0)]
        if self._num_classes not in (None, len(names)):
            raise ValueError(f"num_classes={self._num_classes}, but the data set has {len(names)} classes")
        return list(names)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Count one batch; samples are `SegDataSample`s or dicts of that shape."""
        for sample in data_samples:
            if self.output_dir is not None:
                self._write(sample)
            if not self.format_only:
                self._held.add(label_maps(sample))

    def evaluate(self, size: int) -> dict[str, float]:
        """The values over the data set of this size; then forgets the counts.

        Raises:
            ValueError: if nothing was counted.
        """
        if self._files is not None:
            self._files.end_pass()
        if self.format_only:
            return {}
        if not self._held.finish(size):
            raise ValueError("no sample was processed: is the data set, or its loader, empty?")
        matrix = self._counts.matrix() if self._counts is not None else self._confusion().matrix()
        self._counts = None
        left_out, self._pixels = 1 - matrix.sum() / max(self._pixels, 1), 0
        matrix = sum_over_ranks(matrix)
        if strange := int(matrix[-1].sum()):
            self.logger.warning(
                "%d of %d labelled pixels (%.1f %%) hold no class, since labels are 0 ... %d or ignore_index=%s: is "
                "the number of classes right, or reduce_zero_label missing?",
                strange, matrix.sum(), 100 * strange / matrix.sum(), len(matrix) - 2, self.ignore_index,
            )  # fmt: skip
        if not self._told:
            self._told = True
            for text in oddities(matrix, self.class_names, 100 * left_out):
                self.logger.warning(text)
        results, scores = self.compute(matrix)
        self._print(scores)
        return {f"{self.prefix}/{name}" if self.prefix else name: value for name, value in results.items()}

    def compute(self, matrix: Counts) -> tuple[dict[str, float], Scores]:
        """The results from a confusion matrix, and the percentages per class that they are means of."""
        scores = class_scores(matrix, self.iou_metrics, self.beta)
        if self.nan_to_num is not None:
            scores = {name: np.nan_to_num(values, nan=self.nan_to_num) for name, values in scores.items()}
        percent = {name: values * 100 for name, values in scores.items()}
        results = {"aAcc": float(percent.pop("aAcc")[0])}
        results |= {f"m{name}": _mean(values) for name, values in percent.items()}
        if self.per_class:
            for name, values in percent.items():
                results |= {f"{name}.{label}": float(v) for label, v in zip(self.class_names, values, strict=True)}
        if self.decimals is not None:
            results = {name: round(value, self.decimals) for name, value in results.items()}
        return results, percent

    def _confusion(self) -> Confusion:
        if self._counts is None:
            self._counts = Confusion(len(self.class_names), self.ignore_index)
        return self._counts

    def _count(self, maps: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._pixels += maps[1].numel()
        self._confusion().add(*maps)

    def _print(self, percent: Scores) -> None:
        columns: dict[str, Sequence[Any]] = {"Class": self.class_names}
        columns |= {name: [str(round(float(value), 2)) for value in values] for name, values in percent.items()}
        self.logger.info("per class results:")
        self.logger.info("\n%s", boxed_table(columns))

    def _write(self, sample: Any) -> None:
        assert self._files is not None
        labels = prediction_of(sample).cpu().numpy() + int(bool(sample_field(sample, "reduce_zero_label", False)))
        kind = np.uint8 if labels.max(initial=0) <= 255 else np.uint16
        self._files.write(sample_field(sample, "img_path", ""), labels.astype(kind))


def oddities(matrix: Counts, names: Sequence[str], left_out: float) -> list[str]:
    """What the labels of a data set look like, where that may be a mistake: a line for each.

    Args:
        matrix: Their counts.
        names: The classes.
        left_out: How many percent of the pixels are left out.

    Example:
        >>> oddities(np.array([[5, 0, 0], [0, 2, 0], [0, 0, 0]]), ["soil", "crop"], 60.0)
        ['60.0 % of the pixels are left out (ignore_index): is that meant?']
    """
    labelled = matrix.sum(1)[: len(names)]
    absent = np.flatnonzero(labelled == 0)
    lines = []
    if 0 < len(absent) < len(names):
        first = ", ".join(f"{index} {names[index]!r}" for index in absent[:3].tolist())
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        one = len(absent) == 1
        word, verb = ("class", "has") if one else ("classes", "have")
        lines.append(f"{word} {first}{more} {verb} no labelled pixel in this data set")
    if len(names) > 1 and len(absent) == len(names) - 1:
        only = names[int(labelled.argmax())]
        lines.append(f"all labelled pixels are of one class, {only!r}: is this the right folder?")
    if left_out > 50:
        lines.append(f"{left_out:.1f} % of the pixels are left out (ignore_index): is that meant?")
    return lines


def class_scores(matrix: Counts, kinds: Sequence[str], beta: float = 1) -> Scores:
    """Fractions per class from a (classes + 1) x (classes + 1) matrix; NaN for classes without pixels.

    IoU = intersection / union; Dice = 2 intersection / (predicted + labelled); Acc and Recall = intersection /
    labelled; Precision = intersection / predicted; Fscore = (1 + b^2) P R / (b^2 P + R).
    """
    hit = np.diag(matrix)[:-1].astype(np.float64)
    labelled, predicted = matrix.sum(1)[:-1].astype(np.float64), matrix.sum(0)[:-1].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision = hit / labelled, hit / predicted
        known = {
            "IoU": hit / (labelled + predicted - hit),
            "Acc": recall,
            "Dice": 2 * hit / (labelled + predicted),
            "Fscore": (1 + beta**2) * precision * recall / (beta**2 * precision + recall),
            "Precision": precision,
            "Recall": recall,
        }
        scores = {"aAcc": np.atleast_1d(hit.sum() / labelled.sum())}
    return scores | {name: known[name] for kind in kinds for name in KINDS[kind]}


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean without the classes that have no pixels; NaN if none has."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
