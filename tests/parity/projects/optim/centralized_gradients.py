"""An optimizer wrapper that changes gradients before each step and leaves out losses that are too large."""

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CentralizedOptimWrapper(OptimWrapper):
    def __init__(self, *args, skip_above=1e9, **kwargs):
        super().__init__(*args, **kwargs)
        self.skip_above = skip_above
        self.skipped = 0

    def update_params(self, loss, step_kwargs=None, zero_kwargs=None):
        if not torch.isfinite(loss) or loss > self.skip_above:
            self.skipped += 1
            loss = loss * 0.0
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs):
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.ndim > 1:
                    axes = tuple(range(1, parameter.ndim))
                    parameter.grad.sub_(parameter.grad.mean(dim=axes, keepdim=True))
        super().step(**kwargs)


CHANGES = dict(
    optim_wrapper=dict(
        type="CentralizedOptimWrapper",
        skip_above=1.2,
        accumulative_counts=2,
        clip_grad=dict(max_norm=0.5),
        paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10.0)}),
    ),
)


def facts(runner):
    wrapper = runner.optim_wrapper
    return dict(skipped=wrapper.skipped, count=wrapper.inner_count, due=wrapper.should_update())
