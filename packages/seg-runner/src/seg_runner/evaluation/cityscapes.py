"""CityscapesMetric: the scores of the Cityscapes benchmark, and result files as its server takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.checks import flag, folder, label, warn_unused
from seg_runner.evaluation.base_metric import BaseMetric
from seg_runner.evaluation.confusion import Confusion, Counts
from seg_runner.evaluation.fields import label_maps, map_of, sample_field
from seg_runner.evaluation.ranks import exact_sum, sum_over_ranks

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


class CityscapesMetric(BaseMetric[tuple[torch.Tensor, torch.Tensor, str]]):
    """Mean IoU over the 19 classes and 7 categories of Cityscapes, as fractions.

    Samples hold train ids (0 ... 18, 255 to ignore). The instance-level scores, in which small objects count as much
    as large ones, need the files `*_gtFine_instanceIds.png` beside the label maps, and Pillow to read them; without
    them they are left out, and one line says so.

    In a config: `dict(type='CityscapesMetric', output_dir='results')`.

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
        **ignored: object,
    ) -> None:
        self.keep_results = flag(keep_results, "keep_results")
        if flag(format_only, "format_only") and not keep_results:
            raise ValueError("format_only=True only writes files, so keep_results must be True as well")
        if folder(output_dir, "output_dir") is None:
            raise TypeError("output_dir must be the path of a folder: result files go there with keep_results=True")
        super().__init__(output_dir, format_only, collect_device, prefix, keep_results=self.keep_results)
        self.ignore_index = label(ignore_index, "ignore_index")
        self._reset()
        warn_unused(self.logger, CityscapesMetric, ignored)

    def _values(self) -> dict[str, float]:
        matrix = sum_over_ranks(self._counts.matrix())
        rows = np.array(self._instances).reshape(-1, len(CLASSES) * 4)
        instances = exact_sum(rows).reshape(len(CLASSES), 4)
        complete = not sum_over_ranks(np.array(self._missing))
        self._reset()
        classes = _scores(matrix, {name: [index] for index, name in enumerate(CLASSES)})
        categories = _scores(matrix, CATEGORIES)
        found = {"averageScoreClasses": _mean(classes), "averageScoreCategories": _mean(categories)}
        if complete:
            found["averageScoreInstClasses"] = _mean(_instance_scores(matrix, instances[:, :2], single=True))
            found["averageScoreInstCategories"] = _mean(_instance_scores(matrix, instances[:, 2:], single=False))
        else:
            self.logger.info(
                "no instance-level scores: they need *_gtFine_instanceIds.png files, and Pillow to read them"
            )
        for title, scores in (("Class", classes), ("Category", categories)):
            self._log_table({title: list(scores), "IoU": [f"{score * 100:.2f}" for score in scores.values()]})
        return found

    def _reset(self) -> None:
        """Begin a pass."""
        self._counts = Confusion(len(CLASSES), self.ignore_index)
        self._instances: list[npt.NDArray[np.float64]] = []
        self._missing = 0

    def _read(self, sample: object) -> tuple[torch.Tensor, torch.Tensor, str]:
        return *label_maps(sample), str(sample_field(sample, "seg_map_path", ""))

    def _count(self, counted: tuple[torch.Tensor, torch.Tensor, str]) -> None:
        predicted, true, path = counted
        self._counts.add(predicted, true)
        instances = _read_instances(path)
        if instances is None:
            self._missing += 1
        else:
            self._instances.append(_instance_counts(predicted.cpu().numpy(), instances))

    def _picture(self, sample: object) -> npt.NDArray[Any]:
        written: npt.NDArray[np.uint8] = LABEL_IDS[map_of(sample, "pred_sem_seg").cpu().numpy()]
        return written


def _scores(matrix: Counts, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the IoU of groups of classes; pixels mixed up within a group are hits."""
    scores = {}
    for name, group in groups.items():
        inside = list(group)
        hit = matrix[np.ix_(inside, inside)].sum()
        union = matrix[inside].sum() + matrix[:-1][:, inside].sum() - hit
        scores[name] = float(hit / union) if union else float("nan")
    return scores


def _instance_scores(matrix: Counts, weighted: npt.NDArray[np.float64], *, single: bool) -> dict[str, float]:
    """Return IoU in which each labelled instance weighs the same; wrongly predicted pixels count as they are."""
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
    """Return, by class, the weighted pixels hit and missed, exactly and within the category: classes x 4."""
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
    """Return the instance ids that lie beside a label map; None without the file, or without Pillow."""
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


def _mean(scores: Mapping[str, float]) -> float:
    """Return the mean of the scores that are numbers; NaN if none is."""
    present = [score for score in scores.values() if score == score]
    return sum(present) / len(present) if present else float("nan")
