"""An optimizer of the project's own, registered in MMEngine's OPTIMIZERS; and one over the name of a known one."""

import torch
from mmengine.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class SignMomentum(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, momentum=0.9, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "average" not in state:
                    state["average"] = torch.zeros_like(parameter)
                state["average"].mul_(group["momentum"]).add_(parameter.grad, alpha=1 - group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(state["average"].sign(), alpha=-group["lr"])


CHANGES = dict(
    optim_wrapper=dict(
        optimizer=dict(_delete_=True, type="SignMomentum", lr=0.01, weight_decay=0.01),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    ),
)


def facts(runner):
    return dict(kind=type(runner.optim_wrapper.optimizer).__name__)
