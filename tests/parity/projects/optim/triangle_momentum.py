"""A schedule of momentum and one of the learning rate, both by epoch and both the project's own."""

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


class TriangleParamScheduler(_ParamScheduler):
    def __init__(self, optimizer, param_name, peak, period, *args, **kwargs):
        self.peak = peak
        self.period = period
        super().__init__(optimizer, param_name, *args, **kwargs)

    def _get_value(self):
        place = self.last_step % self.period / self.period
        height = 1 - abs(2 * place - 1)
        return [base + (self.peak - base) * height for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class TriangleLR(TriangleParamScheduler):
    def __init__(self, optimizer, *args, **kwargs):
        super().__init__(optimizer, "lr", *args, **kwargs)


@PARAM_SCHEDULERS.register_module()
class TriangleMomentum(TriangleParamScheduler):
    def __init__(self, optimizer, *args, **kwargs):
        super().__init__(optimizer, "momentum", *args, **kwargs)


CHANGES = dict(
    train_cfg=dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    param_scheduler=[
        dict(type="TriangleLR", peak=0.1, period=2),
        dict(type="TriangleMomentum", peak=0.5, period=3, by_epoch=True),
    ],
    default_hooks=dict(checkpoint=dict(by_epoch=True, interval=1), logger=dict(log_metric_by_epoch=True)),
    log_processor=dict(by_epoch=True),
)


def facts(runner):
    return dict(momentum=runner.optim_wrapper.get_momentum())
