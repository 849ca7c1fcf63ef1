"""Every loss: its values by hand, pixels that do not count, batches without any, numbers that cannot be meant."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seg_engine.models.head_loss import SegmentationLoss
from seg_engine.models.loss_base import NamedLoss
from seg_engine.models.losses import CrossEntropyLoss, FocalLoss, OhemCrossEntropy, SiLogLoss, hard_pixels
from seg_engine.models.region_losses import DiceLoss, LovaszLoss, TverskyLoss

CLASSES = 3
NUMBERS = [torch.nn.MSELoss, torch.nn.SmoothL1Loss, torch.nn.BCEWithLogitsLoss, torch.nn.BCELoss]
NUMBERS += [torch.nn.L1Loss, torch.nn.HuberLoss, torch.nn.PoissonNLLLoss]
LOSSES: list[tuple[type[NamedLoss], dict[str, Any], int]] = [
    (CrossEntropyLoss, {}, CLASSES),
    (CrossEntropyLoss, {"avg_non_ignore": True}, CLASSES),
    (CrossEntropyLoss, {"class_weight": [1.0, 9.0, 0.5]}, CLASSES),
    (CrossEntropyLoss, {"class_weight": [1.0, 9.0, 0.0], "avg_non_ignore": True}, CLASSES),
    (CrossEntropyLoss, {"use_sigmoid": True}, CLASSES),
    (CrossEntropyLoss, {"use_sigmoid": True, "avg_non_ignore": True, "class_weight": [1.0, 2.0, 3.0]}, CLASSES),
    (CrossEntropyLoss, {"use_sigmoid": True, "avg_non_ignore": True}, 1),
    (CrossEntropyLoss, {"use_sigmoid": True, "class_weight": [4.0]}, 1),
    (CrossEntropyLoss, {"reduction": "sum"}, CLASSES),
    (CrossEntropyLoss, {"reduction": "none"}, CLASSES),
    (FocalLoss, {}, CLASSES),
    (FocalLoss, {"gamma": 0.5, "alpha": [0.2, 0.3, 0.9], "class_weight": [1.0, 2.0, 3.0]}, CLASSES),
    (FocalLoss, {"gamma": 0}, 1),
    (OhemCrossEntropy, {"min_kept": 5}, CLASSES),
    (OhemCrossEntropy, {"class_weight": [1.0, 9.0, 0.5]}, CLASSES),
    (DiceLoss, {}, CLASSES),
    (DiceLoss, {"use_sigmoid": False, "naive_dice": True}, CLASSES),
    (DiceLoss, {"naive_dice": True}, 1),
    (DiceLoss, {}, 1),
    (TverskyLoss, {}, CLASSES),
    (TverskyLoss, {"class_weight": [1.0, 9.0, 0.5], "alpha": 0.5, "beta": 0.5}, CLASSES),
    (LovaszLoss, {}, CLASSES),
    (LovaszLoss, {"per_image": True, "classes": "all"}, CLASSES),
    (LovaszLoss, {"classes": [0, 2], "class_weight": [1.0, 9.0, 0.5]}, CLASSES),
    (LovaszLoss, {"loss_type": "binary"}, 1),
    (LovaszLoss, {"loss_type": "binary", "per_image": True}, 1),
]
IDS = [f"{kind.__name__}-{channels}-{index}" for index, (kind, _, channels) in enumerate(LOSSES)]
each_loss = pytest.mark.parametrize(("kind", "options", "channels"), LOSSES, ids=IDS)


def example(channels: int, ignore: int = 255, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, max(channels, 2), (2, 5, 7), generator=generator)
    labels[:, :2] = ignore
    labels[1, 3] = ignore
    return torch.randn(2, channels, 5, 7, generator=generator).requires_grad_(), labels


@each_loss
def test_a_batch_in_which_no_pixel_counts_gives_0_and_gradients_of_0(
    kind: type[NamedLoss], options: dict[str, Any], channels: int
) -> None:
    logits, labels = example(channels)
    value = kind(**options)(logits, torch.full_like(labels, 255)).mean()
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@each_loss
def test_an_image_in_which_no_pixel_counts_has_no_gradients(
    kind: type[NamedLoss], options: dict[str, Any], channels: int
) -> None:
    logits, labels = example(channels)
    labels[0] = 255
    kind(**options)(logits, labels).mean().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[0].any()
    assert logits.grad[1].any()


@each_loss
def test_what_is_predicted_where_pixels_do_not_count_is_all_the_same(
    kind: type[NamedLoss], options: dict[str, Any], channels: int
) -> None:
    logits, labels = example(channels)
    other = torch.where((labels == 255)[:, None], 7.0, logits)
    loss = kind(**options)
    assert torch.equal(loss(logits, labels), loss(other, labels))


@each_loss
def test_the_label_of_pixels_that_do_not_count_may_be_any(
    kind: type[NamedLoss], options: dict[str, Any], channels: int
) -> None:
    logits, labels = example(channels)
    loss = kind(**options)
    for other in (-1, 254, 1000):
        moved = torch.where(labels == 255, other, labels)
        assert torch.equal(loss(logits, moved, ignore_index=other), loss(logits, labels))


@each_loss
def test_a_weight_of_0_switches_off(kind: type[NamedLoss], options: dict[str, Any], channels: int) -> None:
    logits, labels = example(channels)
    value = kind(**options, loss_weight=0)(logits, labels)
    value.backward()
    assert value.item() == 0
    twice, once = kind(**options, loss_weight=2)(logits, labels), kind(**options)(logits, labels)
    assert torch.allclose(twice, 2 * once)


@each_loss
def test_half_precision_runs_not_over(kind: type[NamedLoss], options: dict[str, Any], channels: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, channels, 300, 300).to(torch.bfloat16)
    labels = torch.randint(0, max(channels, 2), (1, 300, 300))
    loss = kind(**options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(logits, labels).float()
    assert torch.allclose(half, loss(logits.float(), labels), rtol=2e-2, atol=1e-3)


@each_loss
def test_gradients_stay_finite_with_logits_far_out(
    kind: type[NamedLoss], options: dict[str, Any], channels: int
) -> None:
    logits, labels = example(channels)
    far = (logits.detach() * 1000).requires_grad_()
    kind(**options)(far, labels).mean().backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


@pytest.mark.parametrize("avg", [False, True])
def test_class_weights_divide_by_the_weights_of_the_pixels_that_count(avg: bool) -> None:
    logits, labels = example(CLASSES)
    weight = torch.tensor([1.0, 9.0, 0.5])
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255)
    assert torch.allclose(CrossEntropyLoss(class_weight=weight.tolist(), avg_non_ignore=avg)(logits, labels), expected)


def test_sigmoid_takes_each_channel_for_itself() -> None:
    logits, labels = example(CLASSES)
    counted = labels != 255
    target = F.one_hot(torch.where(counted, labels, 0), CLASSES).permute(0, 3, 1, 2).float()
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted[:, None]
    assert torch.allclose(CrossEntropyLoss(use_sigmoid=True)(logits, labels), each.mean())
    mean = each.sum() / (counted.sum() * CLASSES)
    assert torch.allclose(CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)(logits, labels), mean)
    heavy = F.binary_cross_entropy_with_logits(
        logits, target, reduction="none", pos_weight=torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1)
    )
    found = CrossEntropyLoss(use_sigmoid=True, class_weight=[1, 2, 3])(logits, labels)
    assert torch.allclose(found, (heavy * counted[:, None]).mean())


def test_one_channel_is_the_foreground() -> None:
    right = torch.tensor([[[[9.0, -9.0]]]])
    labels = torch.tensor([[[1, 0]]])
    for loss in (
        CrossEntropyLoss(use_sigmoid=True),
        FocalLoss(),
        DiceLoss(),
        DiceLoss(naive_dice=True),
        LovaszLoss(loss_type="binary"),
    ):
        assert float(loss(right, labels)) < 0.01 < 0.3 < float(loss(-right, labels))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (CrossEntropyLoss(), "CrossEntropyLoss', use_sigmoid=True"),
        (TverskyLoss(), "CrossEntropyLoss', use_sigmoid=True"),
        (OhemCrossEntropy(), "CrossEntropyLoss', use_sigmoid=True"),
        (DiceLoss(use_sigmoid=False), "DiceLoss', use_sigmoid=True"),
        (LovaszLoss(), "LovaszLoss', loss_type='binary'"),
    ],
)
def test_softmax_over_one_channel_is_an_error_that_says_what_to_set(loss: NamedLoss, words: str) -> None:
    with pytest.raises(ValueError, match=f"softmax is always 1: set num_classes=2, out_channels=1 and .*{words}"):
        loss(*example(1))


@pytest.mark.parametrize("kind", [CrossEntropyLoss, OhemCrossEntropy, TverskyLoss, LovaszLoss, FocalLoss])
def test_class_weights_of_another_length_are_explained(kind: type[NamedLoss]) -> None:
    with pytest.raises(ValueError, match="class_weight has 2 numbers, and the head gives 3 channels"):
        kind(class_weight=[1.0, 2.0])(*example(3))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"1 channel: .*the weight of the foreground"):
        CrossEntropyLoss(use_sigmoid=True, class_weight=[1.0, 2.0])(*example(1))


@each_loss
def test_labels_beyond_the_classes_are_errors(kind: type[NamedLoss], options: dict[str, Any], channels: int) -> None:
    logits, labels = example(channels)
    labels[0, -1, -1] = 3
    with pytest.raises((IndexError, RuntimeError), match=r"3|out of bounds"):
        kind(**options)(logits, labels)


def test_class_weights_from_a_file(tmp_path: Path) -> None:
    logits, labels = example(3)
    expected = CrossEntropyLoss(class_weight=[1.0, 2.0, 3.0])(logits, labels)
    (tmp_path / "w.json").write_text(json.dumps([1, 2, 3]))
    np.save(tmp_path / "w.npy", np.array([1.0, 2.0, 3.0]))
    for name in ("w.json", "w.npy"):
        assert torch.equal(CrossEntropyLoss(class_weight=str(tmp_path / name))(logits, labels), expected)
    (tmp_path / "w.pkl").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a \.json or \.npy file is expected"):
        CrossEntropyLoss(class_weight=str(tmp_path / "w.pkl"))
    for text in ("{", "[" * 100_000, "\udcff"):
        (tmp_path / "bad.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match="cannot be read as a list of numbers"):
            CrossEntropyLoss(class_weight=str(tmp_path / "bad.json"))
    (tmp_path / "big.json").write_text(" " * (1 << 21))
    with pytest.raises(ValueError, match="too large"):
        CrossEntropyLoss(class_weight=str(tmp_path / "big.json"))
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("folder.json", "pipe.json"):
        with pytest.raises(ValueError, match=rf"class_weight=.*{name}.*a file is expected, and this is a"):
            CrossEntropyLoss(class_weight=str(tmp_path / name))
    away = CrossEntropyLoss(class_weight=str(tmp_path / "gone.json"))  # a trained model is used elsewhere
    with pytest.raises(FileNotFoundError, match=r"class_weight=.*gone\.json.*no such file"):
        away(logits, labels)


NOT_NUMBERS: list[Any] = [-1, math.nan, math.inf, "1", True, None, [1], 1j]


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[(kind, "loss_weight") for kind, _, _ in {loss[0]: loss for loss in LOSSES}.values()],
        (FocalLoss, "gamma"),
        (FocalLoss, "alpha"),
        (OhemCrossEntropy, "thres"),
        (OhemCrossEntropy, "min_kept"),
        (DiceLoss, "eps"),
        (TverskyLoss, "smooth"),
        (TverskyLoss, "alpha"),
        (TverskyLoss, "beta"),
        (SiLogLoss, "eps"),
        (SiLogLoss, "loss_weight"),
    ],
)
def test_numbers_that_cannot_be_meant_are_named(kind: type[NamedLoss], name: str, value: Any) -> None:
    if (name, value) == ("alpha", [1]) and kind is FocalLoss:
        return
    with pytest.raises((TypeError, ValueError), match=f"{kind.__name__}: {name}"):
        kind(**{name: value})


@pytest.mark.parametrize("value", [[-1.0, 1.0], [math.nan, 1.0], ["a", "b"], [], [0, 0], True, {"a": 1}])
def test_class_weights_that_cannot_be_meant_are_named(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"CrossEntropyLoss: .*class_weight"):
        CrossEntropyLoss(class_weight=value)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (CrossEntropyLoss, {"use_mask": True}, "use_mask=True is for masks of instances"),
        (CrossEntropyLoss, {"reduction": "avg"}, "reduction: 'mean' or 'sum' or 'none' is expected, not 'avg'"),
        (CrossEntropyLoss, {"use_sigmoid": "False"}, "use_sigmoid must be True or False"),
        (CrossEntropyLoss, {"loss_name": 3}, "loss_name must be a text"),
        (FocalLoss, {"use_sigmoid": False}, "use_sigmoid=False is not supported"),
        (TverskyLoss, {"alpha": 0.5}, "alpha and beta must add up to 1, not 0.5 \\+ 0.7"),
        (LovaszLoss, {"classes": "presnt"}, "classes must be 'present', 'all' or a list"),
        (LovaszLoss, {"classes": []}, "classes must be 'present', 'all' or a list"),
        (LovaszLoss, {"classes": [0.5]}, "each of classes"),
        (LovaszLoss, {"loss_type": "hinge"}, "loss_type: 'multi_class' or 'binary'"),
        (LovaszLoss, {"loss_type": "binary", "class_weight": [1.0]}, "class_weight has no use"),
        (DiceLoss, {"ignore_index": 1.5}, "ignore_index must be the label"),
    ],
)
def test_options_act_or_are_refused(kind: type[NamedLoss], options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        kind(**options)


def test_channels_that_fit_no_option_are_refused() -> None:
    with pytest.raises(ValueError, match="classes holds 3; the head gives 3 channels"):
        LovaszLoss(classes=[0, 3])(*example(3))
    with pytest.raises(ValueError, match="'binary' is for one channel; the head gives 3"):
        LovaszLoss(loss_type="binary")(*example(3))
    with pytest.raises(ValueError, match="alpha has 2 numbers, and the head gives 3 channels"):
        FocalLoss(alpha=[0.1, 0.2])(*example(3))


def test_hard_pixels_need_no_wait_and_are_those_below_the_threshold() -> None:
    logits = torch.tensor([[[[3.0, 1.0, 0.0, -2.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    labels = torch.tensor([[[0, 0, 0, 0]]])
    each = F.cross_entropy(logits, labels, reduction="none")[0, 0]
    assert torch.allclose(OhemCrossEntropy(thres=0.7, min_kept=1)(logits, labels), each[2:].mean())
    assert torch.allclose(OhemCrossEntropy(thres=0.7, min_kept=3)(logits, labels), each[1:].mean())
    assert torch.allclose(OhemCrossEntropy(thres=0.8, min_kept=1)(logits, labels), each[1:].mean())
    assert torch.allclose(OhemCrossEntropy(ignore_label=0)(logits, labels), torch.zeros(()))


def test_depths() -> None:
    predicted, depths = torch.rand(2, 1, 4, 4).add(0.1).requires_grad_(), torch.rand(2, 4, 4) * 5
    depths[:, 0] = 0
    off = torch.log(depths[:, 1:]) - torch.log(predicted[:, 0, 1:])
    expected = ((off**2).mean((1, 2)) - 0.5 * off.mean((1, 2)) ** 2).sqrt().mean()
    assert torch.allclose(SiLogLoss()(predicted, depths), expected)
    value = SiLogLoss()(predicted, depths * 0)
    value.backward()
    assert value.item() == 0
    assert predicted.grad is not None
    assert not predicted.grad.any()
    with pytest.raises(TypeError, match="compares depths"):
        SiLogLoss()(predicted, depths.long())


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_any_floating_type_without_autocast(
    kind: type[NamedLoss], options: dict[str, Any], channels: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, channels, 300, 300).to(dtype), torch.randint(0, max(channels, 2), (1, 300, 300))
    value = kind(**options)(logits, labels)
    assert value.isfinite().all()
    assert torch.allclose(value.double(), kind(**options)(logits.float(), labels).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_class_weights_go_with_logits_of_any_floating_type(dtype: torch.dtype) -> None:
    logits = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]]).to(dtype)
    labels, weights = torch.tensor([[[0, 0]]]), [1.0, 3.0]
    right, wrong = math.log1p(math.exp(-4)), 4 + math.log1p(math.exp(-4))
    assert CrossEntropyLoss(class_weight=weights)(logits, labels).item() == pytest.approx((right + wrong) / 2, rel=1e-5)
    assert OhemCrossEntropy(class_weight=weights)(logits, labels).item() == pytest.approx(wrong, rel=1e-5)


def test_hard_pixels_of_one_channel_are_chosen_by_sigmoid() -> None:
    logits = torch.tensor([[[[4.0, 4.0, -4.0, -4.0, 4.0]]]])
    labels = torch.tensor([[[1, 0, 1, 0, 255]]])
    assert hard_pixels(logits, labels, 255, 0.7, 1).tolist() == [[[False, True, True, False, False]]]
    assert not hard_pixels(logits, torch.full_like(labels, 255), 255, 0.7, 1).any()


def test_a_sampler_with_a_threshold_goes_with_one_channel() -> None:
    sampler = {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 1}
    head = SegmentationLoss({"type": "CrossEntropyLoss", "use_sigmoid": True}, sampler=sampler)
    logits = torch.tensor([[[[4.0, 4.0, -4.0, -4.0]]]], requires_grad=True)
    loss = head(logits, torch.tensor([[[1, 0, 1, 0]]]))["loss_ce"]
    assert loss.item() == pytest.approx(2 * (4 + math.log1p(math.exp(-4))) / 4, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0].ne(0).tolist() == [False, True, True, False]


def test_a_loss_that_compares_equal_shapes_is_told_what_to_set_instead() -> None:
    for kind in (*NUMBERS, torch.nn.SoftMarginLoss, torch.nn.HingeEmbeddingLoss, torch.nn.KLDivLoss):
        head = SegmentationLoss(kind())  # as many channels as images: torch would spread one over the other
        with pytest.raises(ValueError, match=rf"{kind.__name__} compares .*\(2, 2, 4, 4\)") as caught:
            head(torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
        assert "dict(type='CrossEntropyLoss'), with use_sigmoid=True" in str(caught.value)
    with pytest.raises(ValueError, match="mse_loss compares numbers"):
        SegmentationLoss(F.mse_loss)(torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_losses_of_torch_compare_one_channel_with_labels_and_leave_ignored_ones_out(kind: Any, reduction: str) -> None:
    logits = torch.rand(2, 1, 3, 4, requires_grad=True)
    labels = torch.randint(0, 2, (2, 3, 4))
    head = SegmentationLoss(kind(reduction=reduction))
    each = kind(reduction="none")(logits[:, 0], labels.float())
    expected = each.sum() if reduction == "sum" else each.mean()
    (found,) = (value for name, value in head(logits, labels).items() if "loss" in name)
    assert torch.allclose(found, expected)
    labels[:, 1] = 255
    (found,) = (value for name, value in head(logits, labels).items() if "loss" in name)
    counted = each.masked_fill(labels == 255, 0.0)
    assert torch.allclose(found, counted.sum() if reduction == "sum" else counted.mean())
    found.backward()
    assert logits.grad is not None
    assert not logits.grad[:, 0, 1].any()


def test_floats_that_do_not_count_are_left_out_of_a_loss_of_two_classes() -> None:
    logits = torch.tensor([[[[2.0, 7.0]]]])
    expected = F.binary_cross_entropy_with_logits(logits[0, 0, 0, :1], torch.ones(1)) / 2
    for loss in (torch.nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits):
        (found, _) = SegmentationLoss(loss)(logits, torch.tensor([[[1.0, 255.0]]])).values()
        assert torch.allclose(found, expected)


def test_depths_are_compared_as_they_are() -> None:
    depths = torch.tensor([[[1.5, 255.0]]])
    head = SegmentationLoss({"type": "torch.nn.L1Loss"})
    assert head(torch.zeros(1, 1, 1, 2), depths)["loss_l1"].item() == 256.5 / 2
