"""Models of other libraries behind the adapter: a step, a prediction, and checkpoints with their own names."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch

for package in ("torchvision", "transformers"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}", allow_module_level=True)

from seg_runner import Evaluator, IoUMetric, LogitsModel  # noqa: E402

from seg_engine.mmseg.vision import import_torchvision  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

CLASSES = 5


class Wrapper:
    """A plain optimizer as a step sees it."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.optimizer = torch.optim.AdamW(model.parameters(), 3e-4)

    def optim_context(self, model: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def segformer() -> torch.nn.Module:
    """SegFormer of Hugging Face, as small as it gets: logits at a quarter of the size, under a name."""
    import_torchvision()
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 4]}
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES, decoder_hidden_size=16, **sizes))


def torchvision_model(name: str) -> torch.nn.Module:
    """A torchvision model with an auxiliary head: a dict with `out` and `aux`."""
    import_torchvision()
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)


MODELS = {
    "segformer": segformer,
    "fcn": lambda: torchvision_model("fcn_resnet50"),
    "lraspp": lambda: torchvision_lraspp(),
}


def torchvision_lraspp() -> torch.nn.Module:
    """A torchvision model without one."""
    import_torchvision()
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_predicts(name: str) -> None:
    torch.manual_seed(0)
    net = MODELS[name]()
    model = LogitsModel(net, loss=torch.nn.CrossEntropyLoss(ignore_index=255))
    batch = {"pixel_values": torch.randn(2, 3, 64, 64), "labels": torch.randint(0, CLASSES, (2, 64, 64))}
    wrapper = Wrapper(model)
    losses = [model.train_step(batch, wrapper) for _ in range(6)]
    assert min(step["loss"] for step in losses[1:]) < losses[0]["loss"]
    assert ("aux.loss" in losses[0]) == (name == "fcn")
    model.eval()
    evaluator = Evaluator(IoUMetric(num_classes=CLASSES))
    evaluator.process(data_samples=model.val_step(batch))
    assert 0 <= evaluator.evaluate(2)["mIoU"] <= 100
    assert list(model.state_dict()) == list(net.state_dict())
