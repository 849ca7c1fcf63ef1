"""Two optimizers as MMEngine's documentation writes them, each with its own schedules."""

from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn, stack
from torch.nn import functional


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultipleOptimizerConstructor:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.optim_wrapper_cfg = optim_wrapper_cfg
        self.constructor_cfg = paramwise_cfg

    def __call__(self, model):
        optimizers = {}
        for name, cfg in self.optim_wrapper_cfg.items():
            optimizers[name] = build_optim_wrapper(getattr(model, name), cfg.copy())
        return OptimWrapperDict(**optimizers)


@PARAM_SCHEDULERS.register_module()
class HalvingLR(_ParamScheduler):
    def __init__(self, optimizer, every, **kwargs):
        self.every = every
        super().__init__(optimizer, "lr", **kwargs)

    def _get_value(self):
        factor = 0.5 if self.last_step and self.last_step % self.every == 0 else 1.0
        return [group["lr"] * factor for group in self.optimizer.param_groups]


@MODELS.register_module()
class Critics(BaseModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.maker = nn.Conv2d(3, 4, 3)
        self.judge = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        logits = self.judge(self.maker(stack(inputs)))
        return list(zip(logits.argmax(1).tolist(), stack(data_samples).tolist())) if mode == "predict" else logits

    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        with optim_wrapper["judge"].optim_context(self):
            losses = dict(loss_judge=functional.cross_entropy(self(data["inputs"]), stack(data["data_samples"])))
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper["judge"].update_params(loss)
        loss_maker = -functional.softmax(self(data["inputs"]), 1).max(1).values.mean()
        optim_wrapper["maker"].zero_grad()
        optim_wrapper["maker"].backward(loss_maker)
        optim_wrapper["maker"].step()
        return {**log_vars, "loss_maker": loss_maker.detach()}


CHANGES = dict(
    model=dict(type="Critics"),
    optim_wrapper=dict(
        _delete_=True,
        constructor="MultipleOptimizerConstructor",
        maker=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)),
        judge=dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=0.01),
            clip_grad=dict(max_norm=1.0),
            paramwise_cfg=dict(bias_lr_mult=2.0),
        ),
    ),
    param_scheduler=dict(
        _delete_=True,
        maker=[dict(type="HalvingLR", every=2, end=6, by_epoch=False)],
        judge=[
            dict(type="LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=False),
            dict(type="HalvingLR", every=3, begin=2, end=6, by_epoch=False),
        ],
    ),
)


def facts(runner):
    return {name: [(type(s).__name__, s.last_step) for s in listed] for name, listed in runner.param_schedulers.items()}
