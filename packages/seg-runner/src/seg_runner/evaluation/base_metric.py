"""BaseMetric: what metrics over samples have in common: padding left out, predictions as PNG, names of results."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from seg_runner.checks import flag, folder, one_of, text
from seg_runner.evaluation.fields import sample_field
from seg_runner.evaluation.ranks import PaddingFilter
from seg_runner.evaluation.tables import SampleFiles, boxed_table

__all__ = ["BaseMetric"]

Counted = TypeVar("Counted")
"""What a metric reads off a sample, and counts once it is known that the sample is no padding."""


class BaseMetric(ABC, Generic[Counted]):
    """Counts samples, each once over all processes, and writes their predictions as PNG where that is asked for.

    Args:
        output_dir: where predictions are written; None for nowhere.
        format_only: only write them, and return no values.
        collect_device: 'cpu' or 'gpu'; counts stay where the tensors are in either case.
        prefix: stands before the keys.
        keep_results: whether predictions are written, where `output_dir` says where.
    """

    def __init__(
        self,
        output_dir: str | None,
        format_only: bool,
        collect_device: str,
        prefix: str | None,
        *,
        keep_results: bool = True,
    ) -> None:
        self.collect_device = one_of(collect_device, "collect_device", ("cpu", "gpu"))
        self.prefix = text(prefix, "prefix")
        self.output_dir, self.format_only = folder(output_dir, "output_dir"), flag(format_only, "format_only")
        if self.format_only and self.output_dir is None:
            raise TypeError("format_only=True writes predictions only, so output_dir must say where")
        self._files = SampleFiles(self.output_dir) if self.output_dir is not None and keep_results else None
        self._samples = PaddingFilter(self._count)
        self.dataset_meta: dict[str, Any] | None = None
        self.logger = logging.getLogger(__name__)

    def process(self, data_batch: object, data_samples: Sequence[object]) -> None:
        """Take in one batch; samples are `SegDataSample`s or dicts of that shape."""
        for sample in data_samples:
            if self._files is not None:
                self._files.write(sample_field(sample, "img_path", ""), self._picture(sample))
            if not self.format_only:
                self._samples.add(self._read(sample))

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the values over the data set of this size; then forget the samples.

        Raises:
            ValueError: no sample was processed.
        """
        if self._files is not None:
            self._files.end_pass()
        if self.format_only:
            return {}
        if not self._samples.finish(size):
            raise ValueError("no sample was processed: is the data set, or its loader, empty?")
        return {f"{self.prefix}/{name}" if self.prefix else name: value for name, value in self._values().items()}

    def _log_table(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Log a table, of values by their headings."""
        self.logger.info("\n%s", boxed_table(columns))

    @abstractmethod
    def _read(self, sample: object) -> Counted:
        """Return what is counted of a sample."""

    @abstractmethod
    def _count(self, counted: Counted) -> None:
        """Count a sample."""

    @abstractmethod
    def _values(self) -> dict[str, float]:
        """Return the values over all processes, and begin anew."""

    @abstractmethod
    def _picture(self, sample: object) -> npt.NDArray[Any]:
        """Return the prediction of a sample as it is written, H x W of uint8 or uint16."""
