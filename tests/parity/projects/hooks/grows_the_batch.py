"""Makes batches larger from epoch to epoch, by the batch sampler of the loader."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class GrowBatch(Hook):
    """Doubles the size of a batch after each epoch."""

    def __init__(self, factor=2):
        self.factor = factor
        self.sizes = []

    def before_train_epoch(self, runner):
        sampler = runner.train_dataloader.batch_sampler
        if runner.epoch > 0:
            sampler.batch_size = sampler.batch_size * self.factor

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.sizes.append(len(data_batch["inputs"]))


CHANGES = dict(
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=2, val_interval=2),
    param_scheduler=None,
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    log_processor=dict(by_epoch=True),
    custom_hooks=[dict(type="GrowBatch")],
)


REFUSED = "Count iterations instead"


def facts(runner):
    return {"sizes": next(hook.sizes for hook in runner.hooks if type(hook).__name__ == "GrowBatch")}
