"""An average of the weights by a rule of the project's own, as `ema_type`."""

from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS


@MODELS.register_module()
class SlowStartEMA(ExponentialMovingAverage):
    """Follows closely at first."""

    def __init__(self, model, momentum=0.01, warmup=4, interval=1, device=None, update_buffers=False):
        super().__init__(model, momentum, interval, device, update_buffers)
        self.warmup = warmup

    def avg_func(self, averaged_param, source_param, steps):
        momentum = max(self.momentum, 1 / (1 + steps)) if steps < self.warmup else self.momentum
        averaged_param.lerp_(source_param, float(momentum))


CHANGES = dict(
    custom_hooks=[
        dict(type="EMAHook", ema_type="SlowStartEMA", momentum=0.05, warmup=3, update_buffers=True, priority=49),
    ],
    train_cfg=dict(val_interval=3),
)


def facts(runner):
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    average = hook.ema_model
    return dict(
        kind=type(average).__name__,
        steps=int(average.steps),
        total=float(sum(value.double().sum() for value in average.module.parameters())),
    )
