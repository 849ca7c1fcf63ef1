"""Makes batches larger in the middle of a run that counts iterations, by the batch sampler of the loader."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class GrowBatchAt(Hook):
    """Doubles the size of a batch at an iteration."""

    def __init__(self, at=3):
        self.at = at
        self.sizes = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.sizes.append(len(data_batch["inputs"]))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            runner.train_dataloader.batch_sampler.batch_size *= 2


CHANGES = dict(custom_hooks=[dict(type="GrowBatchAt")])


def facts(runner):
    return {"sizes": next(hook.sizes for hook in runner.hooks if type(hook).__name__ == "GrowBatchAt")}
