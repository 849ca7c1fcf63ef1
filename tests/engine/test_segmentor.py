from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataPreProcessor, SegDataSample
from torch import nn

from seg_engine.segmentor import SegmentationLoss, Segmentor

BACKBONE = {"type": "TinyConvNeXt", "depths": (1, 1), "channels": (4, 8)}


def head(**more: Any) -> dict[str, Any]:
    return {"type": "FuseHead", "in_channels": [4, 8], "channels": 6, "num_classes": 3, **more}


def auxiliary(weight: float) -> dict[str, Any]:
    loss = {"type": "CrossEntropyLoss", "loss_weight": weight}
    return {
        "type": "TinyFCNHead",
        "in_channels": 8,
        "channels": 4,
        "num_classes": 3,
        "in_index": 1,
        "loss_decode": loss,
    }


def batch(size: int = 16) -> dict[str, Any]:
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo={"ori_shape": (size, size)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, size, size)))
        samples.append(sample)
    return {"inputs": [torch.randint(0, 256, (3, size, size), dtype=torch.uint8)] * 2, "data_samples": samples}


class Update:
    """An optimizer wrapper that only remembers the loss."""

    def optim_context(self, model: nn.Module) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        loss.backward()
        self.loss = float(loss.detach())


PREPARE = {"type": "SegDataPreProcessor", "mean": [128.0] * 3, "std": [64.0] * 3, "size": (16, 16)}


def test_a_training_step_names_losses_as_log_readers_expect() -> None:
    model = Segmentor(BACKBONE, head(), auxiliary_head=auxiliary(0.4), data_preprocessor=PREPARE)
    update = Update()
    logs = model.train_step(batch(), update)
    assert list(logs) == ["loss", "decode.loss_ce", "decode.acc_seg", "aux.loss_ce", "aux.acc_seg"]
    assert float(logs["loss"]) == pytest.approx(float(logs["decode.loss_ce"] + logs["aux.loss_ce"]))
    assert update.loss == pytest.approx(float(logs["loss"]))
    assert 0 <= float(logs["decode.acc_seg"]) <= 100
    assert model.backbone.downsample_layers[0][0].weight.grad is not None


@torch.no_grad()
def by_hand(model: Segmentor, data: dict[str, Any]) -> list[float]:
    """The loss of the decode head and of the first auxiliary head, without weights."""
    maps = model.backbone(model.data_preprocessor(data, True)["inputs"])
    truth = torch.cat([sample.gt_sem_seg.data for sample in data["data_samples"]])
    outputs = (model.decode_head(maps), model.auxiliary_head[0](maps))
    up = [nn.functional.interpolate(x, size=(16, 16), mode="bilinear") for x in outputs]
    return [float(SegmentationLoss()(x, truth)["loss_ce"]) for x in up]


def test_loss_weights_are_each_heads_own() -> None:
    torch.manual_seed(0)
    parts: dict[str, Any] = {"data_preprocessor": PREPARE}
    decode = head(dropout_ratio=0.0, loss_decode={"type": "CrossEntropyLoss", "loss_weight": 2.0})
    model = Segmentor(BACKBONE, decode, auxiliary_head=[{**auxiliary(0.5), "dropout_ratio": 0.0}], **parts)
    data = batch()
    logs = model.train_step(data, Update())
    main, other = by_hand(model, data)
    assert float(logs["decode.loss_ce"]) == pytest.approx(2 * main, rel=1e-4)
    assert float(logs["aux.loss_ce"]) == pytest.approx(0.5 * other, rel=1e-4)


def test_several_auxiliary_heads_are_numbered() -> None:
    model = Segmentor(BACKBONE, head(), auxiliary_head=[auxiliary(0.4), auxiliary(0.2)], data_preprocessor=PREPARE)
    assert {"aux_0.loss_ce", "aux_1.loss_ce"} <= set(model.train_step(batch(), Update()))


def test_predictions_have_the_original_size() -> None:
    model = Segmentor(BACKBONE, head(), data_preprocessor=PREPARE).eval()
    data = batch()
    data["data_samples"][0].set_metainfo({"ori_shape": (40, 30)})
    samples = model.val_step(data)
    assert samples[0].pred_sem_seg.shape == (40, 30)
    assert samples[1].seg_logits.data.shape == (3, 16, 16)
    assert model.test_step(data)[1].pred_sem_seg.shape == (16, 16)


def test_parameter_names_are_those_that_optimizer_settings_know() -> None:
    names = Segmentor(BACKBONE, head(), auxiliary_head=auxiliary(0.4), data_preprocessor=PREPARE).state_dict()
    assert {name.split(".")[0] for name in names} == {"backbone", "decode_head", "auxiliary_head"}


def test_weights_come_back() -> None:
    one, two = Segmentor(BACKBONE, head()), Segmentor(BACKBONE, head())
    two.load_state_dict(one.state_dict())
    image = torch.randn(1, 3, 16, 16)
    assert torch.equal(one.eval()(image), two.eval()(image))


def test_a_network_of_any_kind_will_do() -> None:
    model = Segmentor(network=nn.Conv2d(3, 3, 1), data_preprocessor=SegDataPreProcessor(size=(16, 16)))
    assert "loss" in model.train_step(batch(), Update())
    with pytest.raises(TypeError, match=r"backbone=\.\.\. and decode_head"):
        Segmentor(backbone=nn.Identity())


def test_a_neck_stands_between() -> None:
    class Half(nn.Module):
        def forward(self, maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
            return [0 * x for x in maps]

    model = Segmentor(BACKBONE, head(dropout_ratio=0.0), neck=Half()).eval()
    one, two = (model(torch.randn(1, 3, 16, 16)) for _ in range(2))
    assert torch.equal(one, two)


def test_ignored_pixels_count_for_nothing_and_in_the_divisor_only_if_asked() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    labels = torch.tensor([[[0, 1, 255, 255]]])
    assert float(SegmentationLoss()(logits, labels)["loss_ce"]) == pytest.approx(0.6931 / 2, abs=1e-4)
    assert float(SegmentationLoss(avg_non_ignore=True)(logits, labels)["loss_ce"]) == pytest.approx(0.6931, abs=1e-4)
    nothing = SegmentationLoss(avg_non_ignore=True)(logits, torch.full((1, 1, 4), 255))
    assert float(nothing["loss_ce"]) == float(nothing["acc_seg"]) == 0.0


def test_class_weights() -> None:
    logits, labels = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    assert float(SegmentationLoss(class_weight=[2.0, 0.0])(logits, labels)["loss_ce"]) == pytest.approx(
        0.6931, abs=1e-4
    )


@pytest.mark.parametrize(
    ("loss", "kind", "words"),
    [
        ({"type": "DiceLoss"}, ValueError, "DiceLoss"),
        ({"type": "CrossEntropyLoss", "use_sigmoid": True}, ValueError, "softmax"),
        ({"type": "CrossEntropyLoss", "wieght": 1}, TypeError, "'wieght'.*loss_weight"),
    ],
)
def test_losses_that_it_has_not_are_refused(loss: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Segmentor(BACKBONE, head(loss_decode=loss))


def test_the_loss_says_what_it_divides_by() -> None:
    labels = torch.tensor([[[0, 1, 255]]])
    assert SegmentationLoss(avg_non_ignore=True).counted_pixels(labels).item() == 2
    assert SegmentationLoss().counted_pixels(labels) is None
