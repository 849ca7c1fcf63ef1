from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from seg_runner import PixelData, SegDataPreProcessor, SegDataSample
from seg_runner.model.accumulation import counted_pixels
from torch import nn

from seg_engine.models.segmentor import SegmentationLoss, Segmentor

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
        ({"type": "DicLoss"}, KeyError, "DicLoss.*DiceLoss"),
        ({"type": "CrossEntropyLoss", "wieght": 1}, TypeError, "'wieght'.*loss_weight"),
        ({"type": "CrossEntropyLoss", "pos_weight": 1}, TypeError, "'pos_weight'.*class_weight"),
        ({"type": "DiceLoss", "class_weight": [1.0, 2.0, 3.0]}, TypeError, "'class_weight'"),
    ],
)
def test_losses_that_it_has_not_are_refused(loss: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Segmentor(BACKBONE, head(loss_decode=loss))


def test_the_loss_says_what_it_divides_by() -> None:
    labels = torch.tensor([[[0, 1, 255]]])
    assert SegmentationLoss(avg_non_ignore=True).counted_pixels(labels).item() == 2
    assert SegmentationLoss().counted_pixels(labels) is None


# -- one loss for each head, lists, one class, hard pixels -----------------------------------------------------------


def train(**parts: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Segmentor(BACKBONE, data_preprocessor=PREPARE, **parts).train_step(batch(), Update())


def test_each_head_has_its_own_loss() -> None:
    other = {**auxiliary(0.4), "loss_decode": {"type": "DiceLoss", "loss_weight": 0.4, "loss_name": "loss_other"}}
    logs = train(decode_head=head(loss_decode={"type": "FocalLoss"}), auxiliary_head=[other, auxiliary(0.2)])
    assert list(logs) == [
        "loss", "decode.loss_focal", "decode.acc_seg", "aux_0.loss_other", "aux_0.acc_seg", "aux_1.loss_ce",
        "aux_1.acc_seg",
    ]  # fmt: skip
    assert float(logs["loss"]) == pytest.approx(sum(float(logs[name]) for name in logs if ".loss" in name))
    assert 0 < float(logs["aux_0.loss_other"]) < 0.4


def test_settings_of_one_head_are_not_those_of_another() -> None:
    torch.manual_seed(0)
    data = batch()
    for sample in data["data_samples"]:
        sample.gt_sem_seg.data[:, :8] = 255
    decode = head(loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True})
    logs = []
    for avg in (False, True):
        torch.manual_seed(1)
        other = {**auxiliary(1.0), "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": avg}}
        model = Segmentor(BACKBONE, decode, auxiliary_head=other, data_preprocessor=PREPARE)
        torch.manual_seed(2)
        logs.append(model.train_step(data, Update()))
    assert torch.equal(logs[0]["decode.loss_ce"], logs[1]["decode.loss_ce"])
    assert torch.allclose(2 * logs[0]["aux.loss_ce"], logs[1]["aux.loss_ce"])


def test_lists_of_losses() -> None:
    losses = [{"type": "CrossEntropyLoss"}, {"type": "DiceLoss", "loss_weight": 3.0}]
    logs = train(decode_head=head(loss_decode=losses))
    assert list(logs) == ["loss", "decode.loss_ce", "decode.loss_dice", "decode.acc_seg"]
    assert torch.equal(logs["loss"], logs["decode.loss_ce"] + logs["decode.loss_dice"])
    twice = train(decode_head=head(loss_decode=[losses[0], losses[0]]))
    assert list(twice) == ["loss", "decode.loss_ce", "decode.acc_seg"]
    assert torch.allclose(twice["loss"], 2 * logs["decode.loss_ce"])


class Registered(nn.Module):
    """A loss as people write them for MMSegmentation."""

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_mine") -> None:
        super().__init__()
        self.loss_weight, self.loss_name = loss_weight, loss_name

    def forward(self, pred: torch.Tensor, target: torch.Tensor, weight: Any = None, ignore_index: int = 255) -> Any:
        return self.loss_weight * pred[(target != ignore_index)[:, None].expand_as(pred)].square().mean()


class Shorter(nn.Module):
    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return pred.square()


def test_a_loss_of_ones_own() -> None:
    logs = train(decode_head=head(loss_decode=[{"type": Registered, "loss_weight": 2.0}, {"type": Shorter}]))
    assert list(logs) == ["loss", "decode.loss_mine", "decode.loss_shorter", "decode.acc_seg"]
    assert float(logs["decode.loss_mine"]) == pytest.approx(2 * float(logs["decode.loss_shorter"]), rel=1e-5)
    plain = train(decode_head=head(loss_decode=lambda pred, target: pred.mean() ** 2))
    assert "decode.loss__lambda_" in plain
    with pytest.raises(TypeError, match="gives one tensor"):
        train(decode_head=head(loss_decode=lambda pred, target: 1.0))


def test_torchs_own_cross_entropy_leaves_out_what_the_head_leaves_out() -> None:
    data = batch()
    data["data_samples"][0].gt_sem_seg.data[:] = 255
    data["data_samples"][1].gt_sem_seg.data[:] = 255
    model = Segmentor(BACKBONE, head(loss_decode={"type": nn.CrossEntropyLoss}), data_preprocessor=PREPARE)
    logs = model.train_step(data, Update())
    assert float(logs["loss"]) == 0


@pytest.mark.parametrize("channels", [{"num_classes": 2, "out_channels": 1}, {"num_classes": 1}])
@pytest.mark.parametrize("threshold", [None, 0.6])
def test_one_class(channels: dict[str, int], threshold: float | None) -> None:
    own = {**channels, "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": True}}
    own |= {} if threshold is None else {"threshold": threshold}
    torch.manual_seed(0)
    model = Segmentor(BACKBONE, head(**own), data_preprocessor=PREPARE)
    data = batch()
    for sample in data["data_samples"]:
        sample.gt_sem_seg.data.clamp_(max=1)
    logs = model.train_step(data, Update())
    model.eval()
    sample = model.val_step(data)[0]
    assert sample.seg_logits.data.shape == (1, 16, 16)
    assert torch.equal(sample.pred_sem_seg.data, (sample.seg_logits.data > (threshold or 0.3)).long())
    model.test_cfg = {"mode": "slide", "crop_size": (8, 8), "stride": (8, 8)}
    sample = model.test_step(data)[0]
    assert torch.equal(sample.pred_sem_seg.data, (sample.seg_logits.data > (threshold or 0.3)).long())
    assert 0 <= float(logs["decode.acc_seg"]) <= 100


def test_the_accuracy_of_one_class_is_that_of_the_threshold() -> None:
    loss = SegmentationLoss({"type": "CrossEntropyLoss", "use_sigmoid": True}, threshold=0.9)
    found = loss(torch.tensor([[[[5.0, 1.0, -5.0, 5.0]]]]), torch.tensor([[[1, 1, 0, 255]]]))
    assert float(found["acc_seg"]) == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"num_classes": 1}, r"softmax is always 1: set num_classes=2, out_channels=1 and loss_decode=dict"),
        ({"num_classes": 2, "out_channels": 1}, "softmax is always 1"),
        ({"num_classes": 3, "out_channels": 1}, "out_channels=1 does not go with num_classes=3"),
        ({"num_classes": 3, "out_channels": 4}, "out_channels=4 does not go with num_classes=3"),
        ({"num_classes": 0}, "decode_head: num_classes must be a whole number of at least 1, not 0"),
        ({"threshold": 2}, "decode_head: threshold must be a number of at least 0 and at most 1, not 2"),
        ({"ignore_index": 0.5}, "decode_head: ignore_index must be a whole number, not 0.5"),
        ({"align_corners": "x"}, "decode_head: align_corners must be True or False, not 'x'"),
        ({"loss_decode": []}, "loss_decode is an empty list"),
        ({"loss_decode": 3}, "loss_decode must be a dict such as"),
        ({"loss_decode": [{"type": "CrossEntropyLoss"}, "x"]}, "loss_decode must be a dict such as"),
        ({"loss_decode": {"class_weight": [1.0, 2.0]}}, "class_weight has 2 numbers, and the head gives 3 channels"),
        ({"loss_decode": {"loss_weight": 0}}, "loss_weight is 0 in decode_head: nothing would be trained"),
        ({"loss_decode": {"loss_weight": -1}}, "CrossEntropyLoss: loss_weight must be a number of at least 0, not -1"),
        ({"sampler": {"type": "OHEM"}}, "sampler: dict"),
        ({"sampler": {"type": "OHEMPixelSampler", "tresh": 0.7}}, "sampler has 'tresh'.*Did you mean 'thresh'"),
        ({"sampler": {"type": "OHEMPixelSampler", "min_kept": 0}}, "min_kept must be a whole number of at least 1"),
        ({"sampler": {"type": "OHEMPixelSampler"}, "loss_decode": {"type": "DiceLoss"}}, "loss_dice cannot be told"),
    ],
)
def test_settings_of_a_head_that_cannot_be_meant(own: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Segmentor(BACKBONE, head(**own))


def test_an_auxiliary_loss_of_weight_0_is_off_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    logs = train(decode_head=head(), auxiliary_head=auxiliary(0))
    assert float(logs["aux.loss_ce"]) == 0
    assert torch.equal(logs["loss"], logs["decode.loss_ce"])
    assert "auxiliary_head[0]: loss_weight=0 switches its loss off" in caplog.text


def test_what_is_logged_only_is_said(caplog: pytest.LogCaptureFixture) -> None:
    losses = [{"type": "CrossEntropyLoss"}, {"type": "DiceLoss", "loss_name": "dice"}]
    logs = train(decode_head=head(loss_decode=losses, threshold=0.4))
    assert torch.equal(logs["loss"], logs["decode.loss_ce"])
    assert "loss_name='dice' has no 'loss' in it" in caplog.text
    assert "threshold=0.4 has no use with 3 channels" in caplog.text


@pytest.mark.parametrize("sampler", [{"thresh": 0.0, "min_kept": 5}, {"min_kept": 5}])
def test_hard_pixels(sampler: dict[str, Any]) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[:, 0] = 255
    loss = SegmentationLoss({"type": "CrossEntropyLoss"}, sampler={"type": "OHEMPixelSampler", **sampler})
    each = nn.functional.cross_entropy(logits, labels, ignore_index=255, reduction="none").flatten()
    hardest = each.sort(descending=True).values[:10]
    assert float(loss(logits, labels)["loss_ce"]) == pytest.approx(float(hardest.sum() / 32))
    assert float(loss(logits, torch.full_like(labels, 255))["loss_ce"]) == 0


def test_models_with_losses_are_copied_with_them() -> None:
    decode = head(loss_decode=[{"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 3.0]}])
    model = Segmentor(BACKBONE, decode, data_preprocessor=PREPARE)
    twin = copy.deepcopy(model).double()
    own = twin.criterion[0]
    assert own.losses[0] is own._listed[0]
    assert own.losses[0].class_weight.dtype is torch.float64
    assert list(twin.state_dict()) == list(model.state_dict())
    assert not [name for name in model.state_dict() if "criterion" in name]


def test_accumulation_counts_pixels_where_all_losses_divide_alike() -> None:
    labels = torch.tensor([[[0, 1, 255]]])
    cross = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
    heavy = {"type": "CrossEntropyLoss", "class_weight": [1.0, 3.0]}
    assert SegmentationLoss([cross, cross]).counted_pixels(labels).item() == 2
    assert SegmentationLoss([heavy, heavy]).counted_pixels(labels).item() == 4
    assert SegmentationLoss([cross, heavy]).counted_pixels(labels) is None
    assert SegmentationLoss([cross, {"type": "DiceLoss"}]).counted_pixels(labels) is None
    same = Segmentor(BACKBONE, head(loss_decode=cross), auxiliary_head={**auxiliary(1), "loss_decode": cross})
    assert counted_pixels(same.criterion, labels).item() == 2
    mixed = Segmentor(BACKBONE, head(loss_decode=cross), auxiliary_head=auxiliary(1))
    assert counted_pixels(mixed.criterion, labels) is None


def test_a_network_of_one_channel_says_what_to_do() -> None:
    model = Segmentor(network=nn.Conv2d(3, 1, 1))
    with pytest.raises(ValueError, match="softmax is always 1"):
        model.train().batch_losses((torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4)))
