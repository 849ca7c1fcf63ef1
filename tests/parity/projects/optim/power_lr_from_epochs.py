"""Schedules written with MMEngine's mix-ins, in epochs; the config turns them into iterations."""

from mmengine.optim.scheduler import PolyLR, PolyParamScheduler, _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class FlooredPolyLR(LRSchedulerMixin, PolyParamScheduler):
    """Never falls below a share of the first value."""

    def __init__(self, optimizer, *args, floor=0.1, **kwargs):
        self.floor = floor
        super().__init__(optimizer, *args, **kwargs)

    def _get_value(self):
        lowest = [base * self.floor for base in self.base_values]
        return [max(value, least) for value, least in zip(super()._get_value(), lowest)]


@PARAM_SCHEDULERS.register_module()
class LatePolyLR(PolyLR):
    """Falls faster in its second half."""

    def _get_value(self):
        if self.last_step > self.total_iters // 2:
            self.power = 2.0
        return super()._get_value()


@PARAM_SCHEDULERS.register_module()
class HoldLR(_ParamScheduler):
    def __init__(self, optimizer, *args, factor=0.5, **kwargs):
        self.factor = factor
        super().__init__(optimizer, "lr", *args, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=10**9, by_epoch=True, epoch_length=None, **kwargs):
        assert by_epoch
        return cls(*args, begin=begin * epoch_length, end=end * epoch_length, by_epoch=False, **kwargs)

    def _get_value(self):
        factor = self.factor if self.last_step == 0 else 1.0
        return [group[self.param_name] * factor for group in self.optimizer.param_groups]


CHANGES = dict(
    train_cfg=dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=3, val_interval=3),
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    param_scheduler=[
        dict(type="FlooredPolyLR", power=0.9, floor=0.3, end=2, convert_to_iter_based=True),
        dict(type="LatePolyLR", power=0.5, begin=1, convert_to_iter_based=True),
        dict(type="HoldLR", factor=0.7, begin=2, end=3, convert_to_iter_based=True),
    ],
    default_hooks=dict(checkpoint=dict(by_epoch=True, interval=1)),
)


def facts(runner):
    return dict(schedules=[(one.by_epoch, one.begin, one.end, one.last_step) for one in runner.param_schedulers])
