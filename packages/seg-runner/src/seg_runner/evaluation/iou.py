"""IoUMetric: IoU, Dice and F-score per class from exact counts, with the keys and the table of MMSegmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.checks import choices, flag, label, number, warn_unused, whole
from seg_runner.evaluation.base_metric import BaseMetric
from seg_runner.evaluation.confusion import Confusion, Counts
from seg_runner.evaluation.fields import label_maps, map_of, sample_field
from seg_runner.evaluation.ranks import sum_over_ranks

__all__ = ["IoUMetric", "class_scores"]

Scores = dict[str, npt.NDArray[np.float64]]

KINDS = {"mIoU": ("IoU", "Acc"), "mDice": ("Dice", "Acc"), "mFscore": ("Fscore", "Precision", "Recall")}


class IoUMetric(BaseMetric[tuple[torch.Tensor, torch.Tensor]]):
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
        **ignored: object,
    ) -> None:
        self.iou_metrics = choices(iou_metrics, "iou_metrics", list(KINDS))
        super().__init__(output_dir, format_only, collect_device, prefix)
        self.ignore_index, self.beta = label(ignore_index, "ignore_index"), number(beta, "beta", least=0)
        self.nan_to_num = None if nan_to_num is None else number(nan_to_num, "nan_to_num")
        self.per_class = flag(per_class, "per_class")
        self.decimals = None if decimals is None else whole(decimals, "decimals")
        self._num_classes = None if num_classes is None else whole(num_classes, "num_classes", 1)
        self._counts: Confusion | None = None
        self._pixels, self._described = 0, False
        warn_unused(self.logger, IoUMetric, ignored)

    @property
    def class_names(self) -> list[str]:
        """Return the classes, from the data set or else as numbers.

        Raises:
            ValueError: neither the data set nor `num_classes` gives them.
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

    def _values(self) -> dict[str, float]:
        matrix, pixels = sum_over_ranks(self._confusion().matrix()), int(sum_over_ranks(np.array(self._pixels)))
        self._counts, self._pixels = None, 0
        left_out = 1 - matrix.sum() / max(pixels, 1)
        if unknown := int(matrix[-1].sum()):
            self.logger.warning(
                "%d of %d labelled pixels (%.1f %%) hold no class, since labels are 0 ... %d or ignore_index=%s: is "
                "the number of classes right, or reduce_zero_label missing?",
                unknown, matrix.sum(), 100 * unknown / matrix.sum(), len(matrix) - 2, self.ignore_index,
            )  # fmt: skip
        if not self._described:
            self._described = True
            for line in oddities(matrix, self.class_names, 100 * left_out):
                self.logger.warning(line)
        results, scores = self.compute(matrix)
        self.logger.info("per class results:")
        columns = {name: [str(round(float(value), 2)) for value in values] for name, values in scores.items()}
        self._log_table({"Class": self.class_names, **columns})
        return results

    def compute(self, matrix: Counts) -> tuple[dict[str, float], Scores]:
        """Return the results from a confusion matrix, and the percentages per class that they are means of."""
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
        """Return the counts of this pass."""
        if self._counts is None:
            self._counts = Confusion(len(self.class_names), self.ignore_index)
        return self._counts

    def _read(self, sample: object) -> tuple[torch.Tensor, torch.Tensor]:
        return label_maps(sample)

    def _count(self, counted: tuple[torch.Tensor, torch.Tensor]) -> None:
        predicted, true = counted
        self._pixels += true.numel()
        self._confusion().add(predicted, true)

    def _picture(self, sample: object) -> npt.NDArray[Any]:
        labels = map_of(sample, "pred_sem_seg").cpu().numpy()
        labels = labels + int(bool(sample_field(sample, "reduce_zero_label", False)))
        return labels.astype(np.uint8 if labels.max(initial=0) <= 255 else np.uint16)


def oddities(matrix: Counts, names: Sequence[str], left_out: float) -> list[str]:
    """Return a line for each thing about the labels of a data set that may be a mistake.

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
    """Return fractions per class from a (classes + 1) x (classes + 1) matrix; NaN for classes without pixels.

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
    """Return the mean without the classes that have no pixels; NaN if none has."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
