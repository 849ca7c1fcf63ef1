"""A constructor that goes over the parameters as the default one does, with a rule of its own."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DepthConstructor(DefaultOptimWrapperConstructor):
    """The nearer to the output, the larger the learning rate; vectors do not decay."""

    order = ("conv", "norm", "head")

    def add_params(self, params, module, prefix="", is_dcn_module=None):
        decay = self.paramwise_cfg["depth_decay"]
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            distance = len(self.order) - 1 - self.order.index(name.split(".")[0])
            group = {"params": [parameter], "lr": self.base_lr * decay**distance}
            if parameter.ndim == 1 and self.base_wd:
                group["weight_decay"] = 0.0
            params.append(group)


CHANGES = dict(
    optim_wrapper=dict(
        constructor="DepthConstructor",
        paramwise_cfg=dict(depth_decay=0.8),
        optimizer=dict(weight_decay=0.01),
        clip_grad=dict(max_norm=1.0),
    ),
)


def facts(runner):
    return dict(groups=[(group["lr"], group["weight_decay"]) for group in runner.optim_wrapper.optimizer.param_groups])
