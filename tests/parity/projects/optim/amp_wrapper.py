"""A subclass of AmpOptimWrapper that also runs without a GPU, and writes down the scale of the loss."""

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AnywhereAmpOptimWrapper(AmpOptimWrapper):
    def __init__(self, scale=512.0, **kwargs):
        if torch.cuda.is_available():
            super().__init__(loss_scale=scale, **kwargs)
        else:
            OptimWrapper.__init__(self, **kwargs)
            self.cast_dtype = torch.bfloat16
            self._scale_update_param = None
            self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
        self.scales = []

    def optim_context(self, model):
        return torch.autocast("cpu", dtype=self.cast_dtype) if self.on_cpu(model) else super().optim_context(model)

    @staticmethod
    def on_cpu(model):
        return next(model.parameters()).device.type == "cpu"

    def backward(self, loss, **kwargs):
        self.scales.append(self.loss_scaler.get_scale())
        super().backward(loss, **kwargs)


CHANGES = dict(optim_wrapper=dict(type="AnywhereAmpOptimWrapper", scale=64.0, clip_grad=dict(max_norm=1.0)))


def facts(runner):
    return dict(scales=runner.optim_wrapper.scales, state=runner.optim_wrapper.state_dict()["loss_scaler"])
