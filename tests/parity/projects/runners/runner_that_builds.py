"""A subclass of a subclass of MMEngine's Runner: a data set is put in, rates are scaled, metrics are added."""

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner


@METRICS.register_module()
class CountSamples(BaseMetric):
    """How many samples were seen."""

    default_prefix = "seen"

    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        return {"count": float(sum(results))}


class ProjectRunner(Runner):
    """What all runners of the project share."""

    def build_dataloader(self, dataloader, seed=None, diff_rank_seed=False):
        if isinstance(dataloader, dict) and "sampler" in dataloader:
            dataloader = dict(dataloader, batch_size=4)
        return super().build_dataloader(dataloader, seed, diff_rank_seed)


@RUNNERS.register_module()
class CountingRunner(ProjectRunner):
    """Adds a metric, and freezes the first layer once the model is there."""

    def build_evaluator(self, evaluator):
        listed = evaluator if isinstance(evaluator, list) else [evaluator]
        return super().build_evaluator([*listed, dict(type="CountSamples")])

    def wrap_model(self, model_wrapper_cfg, model):
        for parameter in model.conv.parameters():
            parameter.requires_grad = False
        return super().wrap_model(model_wrapper_cfg, model)

    def build_param_scheduler(self, scheduler):
        made = super().build_param_scheduler(scheduler)
        self.number_of_schedulers = len(made)
        return made


CHANGES = dict(runner_type="CountingRunner", val_evaluator=dict(type="TinyAccuracy"))


def facts(runner):
    """Returns what the methods did."""
    return {"size": runner.train_dataloader.batch_size, "schedulers": runner.number_of_schedulers}
