"""Two metrics of the project's own beside another; the best checkpoint of each."""

import os

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class ErrorRate(BaseMetric):
    default_prefix = "error"

    def __init__(self, weights=(1.0, 1.0, 1.0), collect_device="cpu", prefix=None, collect_dir=None):
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.weights = np.array(weights)

    def process(self, data_batch, data_samples):
        for guess, truth in data_samples:
            self.results.append({"wrong": guess != truth, "weight": self.weights[truth]})

    def compute_metrics(self, results):
        wrong = sum(one["weight"] * one["wrong"] for one in results)
        return {"rate": wrong / sum(one["weight"] for one in results), "images": len(results)}


@METRICS.register_module(name=["ClassShare", "ShareOfClasses"])
class ClassShare(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(guess for guess, _ in data_samples)

    def compute_metrics(self, results):
        shares = np.bincount(results, minlength=3) / len(results)
        return {f"of_{name}": shares[index] for index, name in enumerate(self.dataset_meta["classes"])}


CHANGES = dict(
    val_evaluator=[
        dict(type="TinyAccuracy"),
        dict(type="ErrorRate"),
        dict(type="ErrorRate", weights=(1.0, 2.0, 4.0), prefix="weighted", collect_device="cpu"),
        dict(type="ShareOfClasses", prefix="share"),
    ],
    train_cfg=dict(val_interval=3),
    default_hooks=dict(checkpoint=dict(save_best=["tiny/acc", "error/rate"], rule=["greater", "less"])),
)


def facts(runner):
    return dict(best=sorted(name for name in os.listdir(runner.work_dir) if name.startswith("best")))
