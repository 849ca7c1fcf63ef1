"""CityscapesMetric: the scores of the Cityscapes benchmark, and result files as its server takes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.checks import flag, folder, label, one_of, text, warn_unused
from seg_runner.evaluation.confusion import Confusion, Counts
from seg_runner.evaluation.fields import label_maps, prediction_of, sample_field
from seg_runner.evaluation.ranks import HeldBack, sum_over_ranks
from seg_runner.evaluation.tables import SampleFiles, boxed_table

__all__ = ["CityscapesMetric"]

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
LABEL_IDS = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33], np.uint8)
CATEGORIES = {
    "flat": range(2),
    "construction": range(2, 5),
    "object": range(5, 8),
    "nature": range(8, 10),
    "sky": range(10, 11),
    "human": range(11, 13),
    "vehicle": range(13, 19),
}
MEAN_SIZES = {
    11: 3462.4756337644,
    12: 3930.4788056518,
    13: 12794.0202738185,
    14: 27855.1264367816,
    15: 35732.1511111111,
    16: 67583.7075812274,
    17: 6298.7200839748,
    18: 4672.3249222261,
}
"""Mean number of pixels of an instance in the training set, by class: weights of the instance-level scores."""


class CityscapesMetric:
    """Mean IoU over the 19 classes and 7 categories of Cityscapes, as fractions.

    Samples hold train ids (0 ... 18, 255 to ignore). The instance-level scores, in which small objects count as much
    as large ones, need the files `*_gtFine_instanceIds.png` beside the label maps, and Pillow to read them; without
    them they are left out, and one line says so.

    Args:
        output_dir: where result files are written: label ids, under the image's name.
        ignore_index: the label of pixels that do not count.
        format_only: only write files; needs `keep_results=True`.
        keep_results: whether files are written.
        collect_device: 'cpu' or 'gpu'; counts stay where the tensors are in either case.
        prefix: stands before the keys.
        **ignored: other keys of configs; they are named in a warning.
    """

    def __init__(
        self,
        output_dir: str,
        ignore_index: int = 255,
        format_only: bool = False,
        keep_results: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
        **ignored: Any,
    ) -> None:
        self.format_only, self.keep_results = flag(format_only, "format_only"), flag(keep_results, "keep_results")
        if format_only and not keep_results:
            raise ValueError("format_only=True only writes files, so keep_results must be True as well")
        where = folder(output_dir, "output_dir")
        if where is None:
            raise TypeError("output_dir must be the path of a folder: result files go there with keep_results=True")
        self.output_dir, self._files = where, SampleFiles(where)
        self.collect_device = one_of(collect_device, "collect_device", ("cpu", "gpu"))
        self.ignore_index, self.prefix = label(ignore_index, "ignore_index"), text(prefix, "prefix")
        self.dataset_meta: dict[str, Any] | None = None
        self.logger = logging.getLogger(__name__)
        self._held = HeldBack(self._add)
        self._reset()
        warn_unused(self.logger, CityscapesMetric, ignored)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Count one batch, and write its files."""
        for sample in data_samples:
            if self.keep_results:
                self._write(sample)
            if not self.format_only:
                self._held.add((*label_maps(sample), str(sample_field(sample, "seg_map_path", ""))))

    def evaluate(self, size: int) -> dict[str, float]:
        """The scores over the data set; then forgets the counts.

        Raises:
            ValueError: if no image was processed.
        """
        self._files.end_pass()
        if self.format_only:
            return {}
        if not self._held.finish(size):
            raise ValueError("no sample was processed: is the data set, or its loader, empty?")
        matrix = sum_over_ranks(self._counts.matrix())
        instances, whole = sum_over_ranks(self._instances), not sum_over_ranks(np.array(self._missing))
        self._reset()
        classes, categories = (
            _scores(matrix, {name: [i] for i, name in enumerate(CLASSES)}),
            _scores(matrix, CATEGORIES),
        )
        found = {
            "averageScoreClasses": _mean(classes),
            "averageScoreCategories": _mean(categories),
        }
        if whole:
            found["averageScoreInstClasses"] = _mean(_instance_scores(matrix, instances[:, :2], single=True))
            found["averageScoreInstCategories"] = _mean(_instance_scores(matrix, instances[:, 2:], single=False))
        else:
            self.logger.info(
                "no instance-level scores: they need *_gtFine_instanceIds.png files, and Pillow to read them"
            )
        self._print({"Class": classes, "Category": categories})
        return {f"{self.prefix}/{name}" if self.prefix else name: value for name, value in found.items()}

    def _reset(self) -> None:
        self._counts = Confusion(len(CLASSES), self.ignore_index)
        self._instances = np.zeros((len(CLASSES), 4))
        self._missing = 0

    def _add(self, sample: tuple[torch.Tensor, torch.Tensor, str]) -> None:
        predicted, true, path = sample
        self._counts.add(predicted, true)
        instances = _read_instances(path)
        if instances is None:
            self._missing += 1
        else:
            self._instances += _instance_counts(predicted.cpu().numpy(), instances)

    def _print(self, tables: dict[str, dict[str, float]]) -> None:
        for title, scores in tables.items():
            rows = {title: list(scores), "IoU": [f"{score * 100:.2f}" for score in scores.values()]}
            self.logger.info("\n%s", boxed_table(rows))

    def _write(self, sample: Any) -> None:
        labels = prediction_of(sample).cpu().numpy()
        self._files.write(sample_field(sample, "img_path", ""), LABEL_IDS[labels])


def _scores(matrix: Counts, groups: dict[str, Any]) -> dict[str, float]:
    """IoU of groups of classes: pixels mixed up within a group are hits."""
    scores = {}
    for name, group in groups.items():
        inside = list(group)
        hit = matrix[np.ix_(inside, inside)].sum()
        union = matrix[inside].sum() + matrix[:-1][:, inside].sum() - hit
        scores[name] = float(hit / union) if union else float("nan")
    return scores


def _instance_scores(matrix: Counts, weighted: npt.NDArray[np.float64], *, single: bool) -> dict[str, float]:
    """IoU in which each labelled instance has the same weight; only pixels wrongly predicted count as they are."""
    scores = {}
    names = (
        {CLASSES[index]: [index] for index in MEAN_SIZES}
        if single
        else {n: CATEGORIES[n] for n in ("human", "vehicle")}
    )
    for name, group in names.items():
        inside = list(group)
        hit, miss = weighted[inside].sum(0)
        wrong = matrix[:-1][:, inside].sum() - matrix[np.ix_(inside, inside)].sum()
        scores[name] = float(hit / (hit + miss + wrong)) if hit + miss + wrong else float("nan")
    return scores


def _instance_counts(predicted: npt.NDArray[Any], instances: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """By class: weighted pixels hit and missed, exactly and within the category."""
    counts = np.zeros((len(CLASSES), 4))
    category_of = {index: group for group in CATEGORIES.values() for index in group}
    train_ids = {int(label): index for index, label in enumerate(LABEL_IDS)}
    for instance in np.unique(instances[instances > 1000]):
        index = train_ids.get(int(instance) // 1000)
        if index not in MEAN_SIZES:
            continue
        pixels = predicted[instances == instance]
        weight = MEAN_SIZES[index] / pixels.size
        hit, near = (pixels == index).sum(), np.isin(pixels, list(category_of[index])).sum()
        counts[index] += weight * np.array([hit, pixels.size - hit, near, pixels.size - near])
    return counts


def _read_instances(seg_map_path: str) -> npt.NDArray[Any] | None:
    """The instance ids that lie beside a label map; None without the file, or without Pillow."""
    path = Path(
        seg_map_path.replace("_labelTrainIds.png", "_instanceIds.png").replace("_labelIds.png", "_instanceIds.png")
    )
    if not path.name.endswith("_instanceIds.png") or not path.is_file():
        return None
    try:
        from PIL import Image
    except ImportError:
        return None
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int64)


def _mean(scores: dict[str, float]) -> float:
    present = [score for score in scores.values() if score == score]
    return sum(present) / len(present) if present else float("nan")
