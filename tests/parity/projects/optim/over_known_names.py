"""Classes over the names of known ones, with `force=True`, as people replace a part everywhere at once."""

import torch
from mmengine.dataset import InfiniteSampler as KnownSampler
from mmengine.optim import DefaultOptimWrapperConstructor as KnownConstructor
from mmengine.optim import OptimWrapper as KnownWrapper
from mmengine.optim.scheduler import PolyLR as KnownPolyLR
from mmengine.registry import (
    DATA_SAMPLERS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
)
from mmengine.visualization import Visualizer as KnownVisualizer

used = []


@OPTIMIZERS.register_module(force=True)
class SGD(torch.optim.SGD):
    def step(self, closure=None):
        used.append("SGD")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.clamp_(-0.01, 0.01)
        return super().step(closure)


@PARAM_SCHEDULERS.register_module(force=True)
class PolyLR(KnownPolyLR):
    def _get_value(self):
        used.append("PolyLR")
        return [value * 0.9 for value in super()._get_value()]


@OPTIM_WRAPPERS.register_module(force=True)
class OptimWrapper(KnownWrapper):
    def backward(self, loss, **kwargs):
        used.append("OptimWrapper")
        super().backward(loss * 2, **kwargs)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class DefaultOptimWrapperConstructor(KnownConstructor):
    def __call__(self, model):
        used.append("DefaultOptimWrapperConstructor")
        return super().__call__(model)


@DATA_SAMPLERS.register_module(force=True)
class InfiniteSampler(KnownSampler):
    def __iter__(self):
        used.append("InfiniteSampler")
        for index in super().__iter__():
            yield (index + 1) % self.size


@VISUALIZERS.register_module(force=True)
class Visualizer(KnownVisualizer):
    def add_scalars(self, scalar_dict, step=0, file_path=None):
        used.append("Visualizer")
        super().add_scalars({**scalar_dict, "marked": 1}, step, file_path)


CHANGES = dict(
    visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"),
)


def facts(runner):
    return dict(used={name: used.count(name) for name in sorted(set(used))})
