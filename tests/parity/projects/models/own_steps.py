"""A model that does everything by itself: its steps, its losses, its device."""

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional


@MODELS.register_module()
class Encoder(BaseModule):
    def __init__(self, width=6, init_cfg=None):
        super().__init__(init_cfg or dict(type="Kaiming", layer="Conv2d", a=1))
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x):
        return self.layers(x).mean((2, 3))


@MODELS.register_module()
class SelfTaught(BaseModel):
    def __init__(self, encoder, temperature=0.5, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.encoder = MODELS.build(encoder)
        self.head = nn.Linear(encoder["width"], 3)
        self.temperature = temperature
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.head(self.encoder(torch.stack(inputs)))

    def train_step(self, data, optim_wrapper):
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            logits = self(data["inputs"])
            noisy = self([image + 0.1 * torch.randn_like(image) for image in data["inputs"]])
        labels = torch.stack(data["data_samples"])
        losses = dict(
            loss_ce=functional.cross_entropy(logits, labels),
            loss_agree=[functional.mse_loss(noisy, logits.detach()), (noisy**2).mean() * 0.01],
            confidence=logits.softmax(1).max(),
        )
        total, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(total)
        self.seen += len(labels)
        return log_vars

    def val_step(self, data):
        data = self.data_preprocessor(data, False)
        logits = self(data["inputs"]) / self.temperature
        return list(zip(logits.argmax(1).tolist(), torch.stack(data["data_samples"]).tolist()))

    test_step = val_step


CHANGES = dict(
    model=dict(_delete_=True, type="SelfTaught", encoder=dict(type="Encoder", width=4), temperature=2.0),
    optim_wrapper=dict(clip_grad=dict(max_norm=0.5), accumulative_counts=2),
)


def facts(runner):
    return dict(seen=int(runner.model.seen))
