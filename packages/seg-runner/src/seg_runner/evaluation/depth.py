"""DepthMetric: errors of depth maps per image, averaged over a data set, under the usual names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seg_runner.checks import choices, flag, folder, number, one_of, text, warn_unused
from seg_runner.evaluation.fields import compared, map_of, sample_field
from seg_runner.evaluation.ranks import HeldBack, sum_over_ranks
from seg_runner.evaluation.tables import SampleFiles, boxed_table

__all__ = ["DepthMetric", "depth_errors"]

NAMES = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")

NYU_CROP = (slice(45, 471), slice(41, 601))
"""The part of a 480 x 640 image of NYU that Eigen et al. (2014) evaluate on."""


class DepthMetric:
    """Accuracy within 1.25, 1.25^2 and 1.25^3, and errors of depth maps: means over images.

    An image without any depth that counts is left out; if all are, results are NaN. Samples carry `pred_depth_map` and
    `gt_depth_map`. Sums stay on the maps' device until `evaluate`.

    Args:
        depth_metrics: which of d1, d2, d3, abs_rel, sq_rel, rmse, rmse_log, log10, silog; None for all.
        min_depth_eval: pixels at most so deep do not count.
        max_depth_eval: pixels at least so deep do not count.
        crop_type: None, or 'nyu_crop'.
        depth_scale_factor: what depths are multiplied with before they are written.
        collect_device: 'cpu' or 'gpu'; sums stay where the maps are in either case.
        output_dir: where predictions are written as 16-bit PNG, if at all; more than 65535 becomes that.
        format_only: only write them, and return no values.
        prefix: stands before the keys.
        **ignored: other keys of configs; they are named in a warning.

    Example:
        >>> metric = DepthMetric(depth_metrics=["d1", "rmse"])
        >>> maps = dict(gt_depth_map=torch.full((1, 2, 2), 4.0), pred_depth_map=torch.full((1, 2, 2), 3.5))
        >>> metric.process(None, [{name: dict(data=values) for name, values in maps.items()}])
        >>> metric.evaluate(1)
        {'d1': 1.0, 'rmse': 0.5}
    """

    def __init__(
        self,
        depth_metrics: Sequence[str] | None = None,
        min_depth_eval: float = 0.0,
        max_depth_eval: float = float("inf"),
        crop_type: str | None = None,
        depth_scale_factor: float = 1.0,
        collect_device: str = "cpu",
        output_dir: str | None = None,
        format_only: bool = False,
        prefix: str | None = None,
        **ignored: Any,
    ) -> None:
        self.depth_metrics = list(NAMES) if depth_metrics is None else choices(depth_metrics, "depth_metrics", NAMES)
        self.collect_device = one_of(collect_device, "collect_device", ("cpu", "gpu"))
        self.crop_type = one_of(crop_type, "crop_type", (None, "nyu_crop"))
        number(min_depth_eval, "min_depth_eval")
        if max_depth_eval != float("inf"):
            number(max_depth_eval, "max_depth_eval")
        if not min_depth_eval < max_depth_eval:
            raise ValueError(
                f"min_depth_eval={min_depth_eval} must be less than max_depth_eval={max_depth_eval}: depths between "
                "them are measured"
            )
        self.output_dir, self.format_only = folder(output_dir, "output_dir"), flag(format_only, "format_only")
        if self.format_only and self.output_dir is None:
            raise TypeError("format_only=True writes predictions only, so output_dir must say where")
        self._files = None if self.output_dir is None else SampleFiles(self.output_dir)
        self.min_depth_eval, self.max_depth_eval = min_depth_eval, max_depth_eval
        self.depth_scale_factor = number(depth_scale_factor, "depth_scale_factor", above=0)
        self.prefix = text(prefix, "prefix")
        self.dataset_meta: dict[str, Any] | None = None
        self.logger = logging.getLogger(__name__)
        self._sum: torch.Tensor | None = None
        self._held = HeldBack(self._add)
        warn_unused(self.logger, DepthMetric, ignored)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Measure one batch."""
        for sample in data_samples:
            if self.output_dir is not None:
                self._write(sample)
            if not self.format_only:
                self._held.add(compared(sample, "pred_depth_map", "gt_depth_map", "depth map"))

    def evaluate(self, size: int) -> dict[str, float]:
        """The means over the images; then forgets them.

        Raises:
            ValueError: if no image was processed.
        """
        if self._files is not None:
            self._files.end_pass()
        if self.format_only:
            return {}
        if not self._held.finish(size):
            raise ValueError("no sample was processed: is the data set, or its loader, empty?")
        own = np.zeros(len(NAMES) + 1) if self._sum is None else self._sum.cpu().numpy()
        total, self._sum = sum_over_ranks(own), None
        with np.errstate(invalid="ignore"):
            means = dict(zip(NAMES, (total[:-1] / total[-1]).tolist(), strict=True))
        found = {name: means[name] for name in self.depth_metrics}
        self.logger.info("results:")
        self.logger.info("\n%s", boxed_table({name: [round(value, 5)] for name, value in found.items()}))
        return {f"{self.prefix}/{name}" if self.prefix else name: value for name, value in found.items()}

    def _add(self, maps: tuple[torch.Tensor, torch.Tensor]) -> None:
        predicted, true = maps
        true = true.to(predicted.device)
        counted = (true > self.min_depth_eval) & (true < self.max_depth_eval)
        if self.crop_type == "nyu_crop":
            if true.shape[-2] < NYU_CROP[0].stop or true.shape[-1] < NYU_CROP[1].stop:
                raise ValueError(
                    f"crop_type='nyu_crop' is a part of 480 x 640 pixels; this map has {tuple(true.shape)}"
                )
            inside = torch.zeros_like(counted)
            inside[..., NYU_CROP[0], NYU_CROP[1]] = True
            counted &= inside
        there = counted.any()
        errors = torch.where(there, depth_errors(predicted, true, counted), 0.0)
        row = torch.cat([errors, there.double()[None]])
        self._sum = row if self._sum is None else self._sum + row.to(self._sum.device)

    def _write(self, sample: Any) -> None:
        assert self._files is not None
        depth = map_of(sample, "pred_depth_map").cpu().numpy() * self.depth_scale_factor
        written = np.nan_to_num(depth).clip(0, 65535).astype(np.uint16)
        self._files.write(sample_field(sample, "img_path", ""), written)


def depth_errors(predicted: torch.Tensor, true: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """One image's nine numbers in the order of `NAMES`, in float64, without waiting for the device.

    With p and t the two depths, r = max(p/t, t/p), d = ln p - ln t: d_i = share of r < 1.25^i; abs_rel = mean |p-t|/t;
    sq_rel = mean (p-t)^2/t; rmse, rmse_log: roots of mean (p-t)^2, d^2; log10 = mean |log10 p - log10 t|;
    silog = sqrt(mean d^2 - (mean d)^2 / 2) (Eigen et al. 2014).
    """
    p, t = (torch.where(counted, values.double(), 1.0) for values in (predicted, true))
    number = counted.sum()

    def mean(values: torch.Tensor) -> torch.Tensor:
        return torch.where(counted, values.double(), 0.0).sum() / number

    ratio, gap, logs = torch.maximum(p / t, t / p), p - t, p.log() - t.log()
    squares = mean(logs**2)
    return torch.stack(
        [
            *(mean(ratio < 1.25**power) for power in (1, 2, 3)),
            mean(gap.abs() / t),
            mean(gap**2 / t),
            mean(gap**2).sqrt(),
            squares.sqrt(),
            mean(p.log10().sub(t.log10()).abs()),
            (squares - 0.5 * mean(logs) ** 2).sqrt(),
        ]
    )
