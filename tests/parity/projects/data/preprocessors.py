"""Data preprocessors of the project's own: on MMEngine's base, and on the one for images."""

import torch
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmengine.registry import MODELS


@MODELS.register_module()
class NoisyPreprocessor(BaseDataPreprocessor):
    """Moves data to the device, and adds noise while training."""

    def __init__(self, level=0.1, non_blocking=False):
        super().__init__(non_blocking)
        self.level = level

    def forward(self, data, training=False):
        data = self.cast_data(data)
        if training:
            data["inputs"] = [image + self.level * torch.randn_like(image) for image in data["inputs"]]
        return data


@MODELS.register_module()
class StackedPreprocessor(ImgDataPreprocessor):
    """Mixes the channels of what ImgDataPreprocessor gives, by a buffer of its own."""

    def __init__(self, *args, noise=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.noise = None if noise is None else MODELS.build(noise)
        self.register_buffer("mix", torch.tensor([0.2, 0.3, 0.5]).view(3, 1, 1))

    def forward(self, data, training=False):
        if self.noise is not None:
            data = self.noise(data, training)
        data = super().forward(data, training)
        data["inputs"] = data["inputs"] * self.mix
        data["inputs"] = list(data["inputs"])
        return data


CHANGES = dict(
    data_preprocessor=dict(
        type="StackedPreprocessor",
        mean=[0.1, 0.2, 0.3],
        std=[0.5, 0.5, 2.0],
        bgr_to_rgb=True,
        pad_size_divisor=4,
        noise=dict(type="NoisyPreprocessor", level=0.3),
    )
)


def facts(runner):
    model = runner.model
    return dict(kind=type(model.data_preprocessor).__name__, device=str(model.data_preprocessor.device))
