"""DepthMetric: errors of depth maps per image, averaged over a data set, under the usual names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.checks import choices, number, one_of, warn_unused
from seg_runner.evaluation.base_metric import BaseMetric
from seg_runner.evaluation.fields import compared, map_of
from seg_runner.evaluation.ranks import exact_sum

__all__ = ["DepthMetric", "depth_errors"]

NAMES = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")

NYU_CROP = (slice(45, 471), slice(41, 601))
"""The part of a 480 x 640 image of NYU that Eigen et al. (2014) evaluate on."""


class DepthMetric(BaseMetric[tuple[torch.Tensor, torch.Tensor]]):
    """Accuracy within 1.25, 1.25^2 and 1.25^3, and errors of depth maps: means over images.

    An image without any depth that counts is left out; if all are, results are NaN. Samples carry `pred_depth_map` and
    `gt_depth_map`. Errors stay on the maps' device until `evaluate`.

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
        **ignored: object,
    ) -> None:
        self.depth_metrics = list(NAMES) if depth_metrics is None else choices(depth_metrics, "depth_metrics", NAMES)
        self.crop_type = one_of(crop_type, "crop_type", (None, "nyu_crop"))
        number(min_depth_eval, "min_depth_eval")
        if max_depth_eval != float("inf"):
            number(max_depth_eval, "max_depth_eval")
        if not min_depth_eval < max_depth_eval:
            raise ValueError(
                f"min_depth_eval={min_depth_eval} must be less than max_depth_eval={max_depth_eval}: depths between "
                "them are measured"
            )
        super().__init__(output_dir, format_only, collect_device, prefix)
        self.min_depth_eval, self.max_depth_eval = min_depth_eval, max_depth_eval
        self.depth_scale_factor = number(depth_scale_factor, "depth_scale_factor", above=0)
        self._rows: list[torch.Tensor] = []
        warn_unused(self.logger, DepthMetric, ignored)

    def _values(self) -> dict[str, float]:
        rows = [row.cpu().numpy() for row in self._rows]
        total, self._rows = exact_sum(np.array(rows).reshape(-1, len(NAMES) + 1)), []
        with np.errstate(invalid="ignore", divide="ignore"):
            means = dict(zip(NAMES, (total[:-1] / total[-1]).tolist(), strict=True))
        found = {name: means[name] for name in self.depth_metrics}
        self.logger.info("results:")
        self._log_table({name: [round(value, 5)] for name, value in found.items()})
        return found

    def _read(self, sample: object) -> tuple[torch.Tensor, torch.Tensor]:
        return compared(sample, "pred_depth_map", "gt_depth_map", "depth map")

    def _count(self, counted: tuple[torch.Tensor, torch.Tensor]) -> None:
        predicted, true = counted
        true = true.to(predicted.device)
        valid = (true > self.min_depth_eval) & (true < self.max_depth_eval)
        if self.crop_type == "nyu_crop":
            if true.shape[-2] < NYU_CROP[0].stop or true.shape[-1] < NYU_CROP[1].stop:
                raise ValueError(
                    f"crop_type='nyu_crop' is a part of 480 x 640 pixels; this map has {tuple(true.shape)}"
                )
            inside = torch.zeros_like(valid)
            inside[..., NYU_CROP[0], NYU_CROP[1]] = True
            valid &= inside
        there = valid.any()
        errors = torch.where(there, depth_errors(predicted, true, valid), 0.0)
        self._rows.append(torch.cat([errors, there.double()[None]]))

    def _picture(self, sample: object) -> npt.NDArray[Any]:
        depth = map_of(sample, "pred_depth_map").cpu().numpy() * self.depth_scale_factor
        return np.nan_to_num(depth).clip(0, 65535).astype(np.uint16)


def depth_errors(predicted: torch.Tensor, true: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return one image's nine numbers in the order of `NAMES`, in float64, without waiting for the device.

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
