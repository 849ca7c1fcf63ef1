"""MMEngine's DistSamplerSeedHook, with an offset from epoch to epoch."""

from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class OffsetSamplerSeed(DistSamplerSeedHook):
    """Another order than MMEngine's: the epochs are counted from a number."""

    def __init__(self, offset=100):
        self.offset = offset

    def before_train_epoch(self, runner):
        super().before_train_epoch(runner)
        runner.train_dataloader.sampler.set_epoch(runner.epoch + self.offset)


CHANGES = dict(
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=2, val_interval=2),
    param_scheduler=[dict(type="ExponentialLR", gamma=0.5, by_epoch=True)],
    default_hooks=dict(sampler_seed=dict(type="OffsetSamplerSeed"), checkpoint=dict(type="CheckpointHook", interval=2)),
    log_processor=dict(by_epoch=True),
)
