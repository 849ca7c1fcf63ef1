"""A top-level preprocessor that builds what it mixes batches with; a model that begins in its own way."""

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS


@MODELS.register_module()
class CutMix:
    def __init__(self, share=0.5, prob=1.0):
        self.share = share
        self.prob = prob

    def __call__(self, inputs):
        if np.random.rand() >= self.prob:
            return inputs
        rows = int(inputs.shape[2] * self.share * np.random.rand())
        mixed = inputs.clone()
        mixed[:, :, :rows] = inputs.flip(0)[:, :, :rows]
        return mixed


@MODELS.register_module()
class AugmentedPreprocessor(BaseDataPreprocessor):
    def __init__(self, batch_augments=None, **kwargs):
        super().__init__(**kwargs)
        self.batch_augments = [MODELS.build(one) for one in batch_augments or []]

    def forward(self, data, training=False):
        data = self.cast_data(data)
        inputs, labels = torch.stack(data["inputs"]), torch.stack(data["data_samples"])
        for augment in self.batch_augments if training else []:
            inputs = augment(inputs)
        return dict(inputs=inputs, data_samples=labels)


@MODELS.register_module()
class Prototypes(BaseModel):
    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.prototypes = torch.nn.Parameter(torch.empty(3, 4))
        self.begun = 0

    def init_weights(self):
        super().init_weights()
        torch.nn.init.orthogonal_(self.prototypes)
        self.begun += 1

    def forward(self, inputs, data_samples=None, mode="tensor"):
        features = self.conv(inputs).relu().mean((2, 3))
        logits = -torch.cdist(features, self.prototypes)
        if mode == "loss":
            return self.loss(logits, data_samples)
        return list(zip(logits.argmax(1).tolist(), data_samples.tolist()))

    def loss(self, logits, labels):
        return dict(
            loss_ce=torch.nn.functional.cross_entropy(logits, labels), acc=logits.argmax(1).eq(labels).float().mean()
        )


CHANGES = dict(
    model=dict(type="Prototypes", init_cfg=dict(type="Xavier", layer="Conv2d", distribution="uniform")),
    data_preprocessor=dict(
        type="AugmentedPreprocessor", batch_augments=[dict(type="CutMix", share=0.8), dict(type="CutMix", prob=0.3)]
    ),
    randomness=dict(seed=5, deterministic=True),
)


def facts(runner):
    return dict(begun=runner.model.begun)
