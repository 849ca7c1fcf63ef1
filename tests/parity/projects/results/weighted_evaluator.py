"""An evaluator that makes one number of several metrics."""

from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR


@EVALUATOR.register_module()
class WeightedEvaluator(Evaluator):
    def __init__(self, metrics, weights):
        super().__init__(metrics)
        self.weights = weights
        self.batches = 0

    def process(self, data_samples, data_batch=None):
        self.batches += 1
        super().process(data_samples=data_samples, data_batch=data_batch)

    def evaluate(self, size):
        metrics = super().evaluate(size)
        metrics["score"] = sum(weight * metrics[name] for name, weight in self.weights.items())
        return metrics


CHANGES = dict(
    val_evaluator=dict(
        _delete_=True,
        type="WeightedEvaluator",
        metrics=[dict(type="TinyAccuracy"), dict(type="TinyAccuracy", prefix="again")],
        weights={"tiny/acc": 0.7, "again/acc": 0.1},
    ),
    default_hooks=dict(checkpoint=dict(save_best="score", rule="greater")),
)


def facts(runner):
    evaluator = runner.val_loop.evaluator
    kinds = [type(metric).__name__ for metric in evaluator.metrics]
    return dict(batches=evaluator.batches, kinds=kinds, classes=evaluator.dataset_meta["classes"])
