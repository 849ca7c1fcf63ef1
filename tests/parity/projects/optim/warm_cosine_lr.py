"""A schedule of one's own: a warm-up and half a cosine in one class, by iteration."""

import math

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmCosineLR(_ParamScheduler):
    def __init__(self, optimizer, warmup, eta_min=0.0, begin=0, end=INF, last_step=-1, by_epoch=True, verbose=False):
        self.warmup = warmup
        self.eta_min = eta_min
        self.total = end - begin
        super().__init__(optimizer, "lr", begin, end, last_step, by_epoch, verbose)

    def _get_value(self):
        if self.last_step < self.warmup:
            share = (self.last_step + 1) / self.warmup
            return [base * share for base in self.base_values]
        done = (self.last_step - self.warmup) / max(self.total - self.warmup, 1)
        return [self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * done)) / 2 for base in self.base_values]


CHANGES = dict(
    param_scheduler=dict(
        _delete_=True, type="WarmCosineLR", warmup=2, eta_min=1e-4, begin=0, end=6, by_epoch=False, verbose=True
    ),
    optim_wrapper=dict(paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10.0)})),
)


def facts(runner):
    scheduler = runner.param_schedulers[0]
    return dict(steps=scheduler.last_step, last=sorted(set(scheduler.get_last_value())))
