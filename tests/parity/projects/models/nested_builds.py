"""Code that builds its parts itself, in every way that MMEngine offers; and an initializer of its own."""

import torch
from mmengine.model import BaseModel
from mmengine.model.weight_init import update_init_info
from mmengine.registry import (
    MODELS,
    TASK_UTILS,
    WEIGHT_INITIALIZERS,
    DefaultScope,
    Registry,
    build_from_cfg,
    build_model_from_cfg,
)
from torch import nn

NECKS = Registry("neck", parent=MODELS, scope="necks")
RULES = Registry("rule")


@NECKS.register_module()
class MeanNeck(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


@RULES.register_module(name=["margin", "gap"])
class MarginRule:
    def __init__(self, margin):
        self.margin = margin

    def __call__(self, logits):
        top = logits.topk(2, dim=1).values
        return (top[:, 0] - top[:, 1] - self.margin).clamp(max=0).neg().mean()


@TASK_UTILS.register_module()
def class_weights(shares):
    return torch.tensor([1 / share for share in shares])


@MODELS.register_module()
class ConvBlock(nn.Module):
    def __init__(self, width, act_cfg):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.act = build_from_cfg(act_cfg, MODELS)

    def forward(self, x):
        return self.act(self.conv(x))


@WEIGHT_INITIALIZERS.register_module(name="Checker")
class CheckerInit:
    def __init__(self, scale=0.1, layer="Conv2d", **kwargs):
        self.scale = scale
        self.layer = layer

    def __call__(self, module):
        def fill(m):
            if type(m).__name__ == self.layer:
                with torch.no_grad():
                    signs = torch.arange(m.weight.numel()).remainder(2).mul(2).sub(1).view_as(m.weight)
                    m.weight.copy_(self.scale * signs + 0.05 * torch.randn_like(m.weight))

        module.apply(fill)
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"Checker: scale={self.scale}")


@MODELS.register_module()
class Assembled(BaseModel):
    def __init__(self, block, neck, head, rule, shares, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.block = build_model_from_cfg(block, MODELS)
        self.neck = NECKS.build(neck)
        self.head = MODELS.build(head)
        self.rule = RULES.build(rule)
        self.weights = TASK_UTILS.build(dict(type="class_weights", shares=shares))
        self.scope = DefaultScope.get_current_instance().scope_name

    def forward(self, inputs, data_samples=None, mode="tensor"):
        logits = self.head(self.neck(self.block(torch.stack(inputs))))
        labels = torch.stack(data_samples)
        if mode == "loss":
            loss = nn.functional.cross_entropy(logits, labels, weight=self.weights.to(logits))
            return dict(loss_ce=loss, loss_rule=self.rule(logits))
        return list(zip(logits.argmax(1).tolist(), labels.tolist()))


MODELS.register_module(name="PlainLinear", module=nn.Linear, force=True)
MODELS.register_module(name="PlainReLU", module=nn.ReLU, force=True)

CHANGES = dict(
    default_scope="mmengine",
    model=dict(
        type="Assembled",
        block=[
            dict(type="ConvBlock", width=5, act_cfg=dict(type="PlainReLU", inplace=True)),
            dict(type="torch.nn.Dropout2d", p=0.1),
        ],
        neck=dict(type="MeanNeck", _scope_="necks"),
        head=dict(type="PlainLinear", in_features=5, out_features=3),
        rule=dict(type="gap", margin=0.5),
        shares=(0.5, 0.3, 0.2),
        init_cfg=[dict(type="Checker", scale=0.2), dict(type="Normal", layer="Linear", std=0.02)],
    ),
)


def facts(runner):
    return dict(scope=runner.model.scope, kinds=[type(m).__name__ for m in runner.model.modules()])
