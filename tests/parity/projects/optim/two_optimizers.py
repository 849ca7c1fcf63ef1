"""A model with two optimizers that it steps by itself; the constructor gives an OptimWrapperDict."""

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from torch import nn
from torch.nn import functional


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartsConstructor:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.optim_wrapper_cfg = optim_wrapper_cfg

    def __call__(self, model):
        wrappers = {}
        for name, cfg in self.optim_wrapper_cfg.items():
            optimizer = dict(cfg["optimizer"])
            optimizer["params"] = getattr(model, name).parameters()
            wrappers[name] = OptimWrapper(OPTIMIZERS.build(optimizer), accumulative_counts=1)
        return OptimWrapperDict(**wrappers)


@MODELS.register_module()
class TwoParts(BaseModel):
    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if isinstance(inputs, list):
            inputs, data_samples = torch.stack(inputs), torch.stack(data_samples)
        logits = self.head(self.features(inputs)).flatten(1)
        if mode == "tensor":
            return logits
        return list(zip(logits.argmax(1).tolist(), data_samples.tolist()))

    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        inputs, labels = torch.stack(data["inputs"]), torch.stack(data["data_samples"])
        with optim_wrapper["features"].optim_context(self):
            loss = functional.cross_entropy(self(inputs), labels)
        optim_wrapper["features"].update_params(loss)
        loss_head = functional.cross_entropy(self(inputs), labels)
        optim_wrapper["head"].update_params(loss_head)
        return dict(loss=loss.detach(), loss_head=loss_head.detach())


CHANGES = dict(
    model=dict(type="TwoParts"),
    optim_wrapper=dict(
        _delete_=True,
        constructor="PartsConstructor",
        features=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        head=dict(optimizer=dict(type="Adam", lr=0.01)),
    ),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=False),
        dict(type="PolyLR", power=0.9, begin=2, end=6, by_epoch=False),
    ],
)


def facts(runner):
    return {name: [(type(s).__name__, s.last_step) for s in listed] for name, listed in runner.param_schedulers.items()}
