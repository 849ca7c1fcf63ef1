"""The evaluator: what metrics get, and how their results become one dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import Evaluator, IoUMetric, PixelData, SegDataSample
from seg_runner.evaluation.evaluator import TorchMetric


class Fixed:
    """A metric that returns what it was given."""

    def __init__(self, **values: Any) -> None:
        self.values, self.seen, self.dataset_meta = values, [], None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.seen += list(data_samples)

    def evaluate(self, size: int) -> dict[str, Any]:
        return self.values


class Accuracy:
    """A metric in the manner of torchmetrics."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right, self.total = torch.tensor(0.0), 0

    def update(self, pred: torch.Tensor, true: torch.Tensor) -> None:
        self.right += (pred == true).sum()
        self.total += true.numel()

    def compute(self) -> Any:
        return self.right / self.total


def a_sample() -> SegDataSample:
    sample = SegDataSample()
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[0, 1, 1, 1]]]))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[0, 1, 1, 0]]]))
    return sample


def test_results_of_several_metrics_come_together_in_order() -> None:
    evaluator = Evaluator([Fixed(b=1, a=2.5), Fixed(c="text")])
    assert list(evaluator.evaluate(1).items()) == [("b", 1), ("a", 2.5), ("c", "text")]


def test_samples_reach_metrics_as_dicts() -> None:
    metric = Fixed()
    Evaluator(metric).process(data_samples=[a_sample(), {"ready": 1}], data_batch="batch")
    assert metric.seen[0]["pred_sem_seg"]["data"].shape == (1, 1, 4)
    assert metric.seen[1] == {"ready": 1}


def test_nested_results_and_tensors_become_flat_numbers() -> None:
    nested = Fixed(IoU={"road": torch.tensor(0.5), "car": {"left": np.float32(0.25)}}, table=torch.tensor([1, 2]))
    assert Evaluator(nested).evaluate(1) == {"IoU/road": 0.5, "IoU/car/left": 0.25, "table": [1, 2]}


def test_the_same_name_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="Fixed returns a, as a metric before it does"):
        Evaluator([Fixed(a=1), Fixed(a=2)]).evaluate(1)


def test_what_is_no_metric_is_refused() -> None:
    with pytest.raises(TypeError, match="process"):
        Evaluator([object()])


def test_dataset_meta_reaches_all() -> None:
    metrics = [Fixed(), IoUMetric()]
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = {"classes": ("a",)}
    assert [metric.dataset_meta for metric in metrics] == [{"classes": ("a",)}] * 2
    assert evaluator.dataset_meta == {"classes": ("a",)}


def test_metrics_in_the_manner_of_torchmetrics() -> None:
    evaluator = Evaluator([Accuracy(), IoUMetric(num_classes=2)])
    for _ in range(2):
        evaluator.process(data_samples=[a_sample(), a_sample()])
        found = evaluator.evaluate(2)
        assert found["Accuracy"] == 0.75
        assert found["aAcc"] == 75.0


def test_a_collection_returns_its_own_names() -> None:
    class Several(Accuracy):
        def compute(self) -> dict[str, Any]:
            return {"acc": super().compute(), "per_class": {"a": torch.tensor(1)}}

    evaluator = Evaluator(Several())
    evaluator.process(data_samples=[a_sample()])
    assert evaluator.evaluate(1) == {"acc": 0.75, "per_class/a": 1}


def test_torchmetrics_itself() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    evaluator = Evaluator(TorchMetric(torchmetrics.JaccardIndex("multiclass", num_classes=2), name="jaccard"))
    evaluator.process(data_samples=[a_sample(), a_sample()])
    assert evaluator.evaluate(2)["jaccard"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_evaluating_what_lies_there() -> None:
    metric = Fixed(a=1)
    assert Evaluator(metric).offline_evaluate([a_sample()] * 5, [1, 2, 3, 4, 5], chunk_size=2) == {"a": 1}
    assert len(metric.seen) == 5


def test_one_metric_is_enough() -> None:
    assert Evaluator(Fixed(a=2)).evaluate(1) == {"a": 2}
