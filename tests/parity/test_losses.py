"""Losses beside MMSegmentation's: values and gradients, over shapes, seeds, pixels that do not count, class weights."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
import torch.nn.functional as F

for package in ("mmengine", "mmcv", "mmseg", "seg_registry"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402
from seg_engine.models import losses, region_losses  # noqa: E402
from seg_engine.models.segmentor import SegmentationLoss  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPES = [(2, 3, 5, 7), (1, 19, 8, 8), (3, 2, 1, 9)]
Pair = tuple[torch.Tensor, torch.Tensor]


def example(shape: tuple[int, ...], seed: int, ignored: bool) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, max(shape[1], 2), (shape[0], *shape[2:]), generator=generator)
    if ignored:
        labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    return torch.randn(shape, generator=generator) * 2, labels


def value_and_gradient(loss: Any, logits: torch.Tensor, *rest: Any, **more: Any) -> Pair:
    own = logits.clone().requires_grad_()
    value = loss(own, *rest, **more).mean()
    value.backward()
    assert own.grad is not None
    return value.detach(), own.grad


def theirs(name: str, **options: Any) -> Any:
    import_mmseg()
    from mmseg.registry import MODELS

    return MODELS.build({"type": name, **options})


def ours(name: str, **options: Any) -> Any:
    return getattr(losses if hasattr(losses, name) else region_losses, name)(**options)


def agree(one: Pair, other: Pair) -> None:
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def weights(shape: tuple[int, ...]) -> list[float]:
    return [0.5 + 2.0 * index for index in range(shape[1])]


EQUAL: list[tuple[str, dict[str, Any], bool]] = [
    ("CrossEntropyLoss", {}, True),
    ("CrossEntropyLoss", {"avg_non_ignore": True}, True),
    ("CrossEntropyLoss", {"loss_weight": 0.4, "reduction": "sum"}, True),
    ("CrossEntropyLoss", {"reduction": "none"}, True),
    ("CrossEntropyLoss", {"class_weight": True}, False),
    ("CrossEntropyLoss", {"class_weight": True, "avg_non_ignore": True}, False),
    ("CrossEntropyLoss", {"use_sigmoid": True}, True),
    ("CrossEntropyLoss", {"use_sigmoid": True, "avg_non_ignore": True, "loss_weight": 3.0}, True),
    ("DiceLoss", {}, False),
    ("DiceLoss", {"naive_dice": True, "loss_weight": 2.0}, False),
    ("DiceLoss", {"use_sigmoid": False, "eps": 1.0}, False),
    ("DiceLoss", {"reduction": "sum"}, False),
    ("TverskyLoss", {}, True),
    ("TverskyLoss", {"alpha": 0.6, "beta": 0.4, "smooth": 0.1}, True),
    ("TverskyLoss", {"class_weight": True}, True),
    ("TverskyLoss", {"ignore_index": 1}, False),
    ("LovaszLoss", {"reduction": "none"}, True),
    ("LovaszLoss", {"reduction": "none", "class_weight": True}, True),
    ("LovaszLoss", {"reduction": "none", "classes": "all"}, True),
    ("LovaszLoss", {"reduction": "none", "classes": [0, 1]}, True),
    ("LovaszLoss", {"per_image": True}, True),
    ("LovaszLoss", {"per_image": True, "reduction": "sum", "loss_weight": 0.7}, True),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options", "ignored"), EQUAL)
def test_values_and_gradients_are_equal(
    name: str, options: dict[str, Any], ignored: bool, shape: tuple[int, ...], seed: int
) -> None:
    options = dict(options)
    if options.get("class_weight"):
        options["class_weight"] = weights(shape)
    more = {} if "ignore_index" in options else {"ignore_index": 255}
    logits, labels = example(shape, seed, ignored)
    agree(
        value_and_gradient(ours(name, **options), logits, labels, **more),
        value_and_gradient(theirs(name, **options), logits, labels, **more),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("thres", "kept"), [(0.7, 100000), (0.3, 5), (0.1, 20), (0.9, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_hard_pixels_are_equal(weighted: bool, thres: float, kept: int, seed: int) -> None:
    options = {"thres": thres, "min_kept": kept, "class_weight": weights(SHAPES[0]) if weighted else None}
    pair = example(SHAPES[0], seed, True)
    agree(
        value_and_gradient(ours("OhemCrossEntropy", **options), *pair),
        value_and_gradient(theirs("OhemCrossEntropy", **options), *pair),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options", [{}, {"gamma": 1.5, "alpha": 0.25}, {"alpha": [0.2, 0.3, 0.9]}, {"reduction": "sum"}]
)
def test_focal_loss_is_equal(options: dict[str, Any], seed: int) -> None:
    """On a CPU MMSegmentation's takes one map per class only."""
    logits, labels = example(SHAPES[0], seed, False)
    maps = F.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    agree(
        value_and_gradient(ours("FocalLoss", **options), logits, labels),
        value_and_gradient(theirs("FocalLoss", **options), logits, maps, ignore_index=255),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CrossEntropyLoss", {"use_sigmoid": True}),
        ("CrossEntropyLoss", {"use_sigmoid": True, "avg_non_ignore": True}),
        ("CrossEntropyLoss", {"use_sigmoid": True, "class_weight": [4.0]}),
        ("LovaszLoss", {"loss_type": "binary", "per_image": True}),
    ],
)
def test_one_channel_is_equal(name: str, options: dict[str, Any], seed: int) -> None:
    pair = example((2, 1, 5, 7), seed, True)
    agree(
        value_and_gradient(ours(name, **options), *pair, ignore_index=255),
        value_and_gradient(theirs(name, **options), *pair, ignore_index=255),
    )


def test_dice_of_one_channel_is_that_of_the_foreground() -> None:
    """Given a map of its shape, MMSegmentation's takes it as it is; given labels, it takes the background."""
    logits, labels = example((2, 1, 5, 7), 0, False)
    agree(
        value_and_gradient(ours("DiceLoss"), logits, labels),
        value_and_gradient(theirs("DiceLoss"), logits, labels[:, None]),
    )


@pytest.mark.parametrize("seed", range(3))
def test_depths_are_equal(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, depths = (torch.rand(2, 1, 5, 7, generator=generator) * 5 for _ in range(2))
    depths[:, :, 0] = 0
    agree(
        value_and_gradient(ours("SiLogLoss"), predicted, depths),
        value_and_gradient(theirs("SiLogLoss"), predicted, depths),
    )


SAMPLERS: list[dict[str, Any] | None] = [
    None,
    {"thresh": 0.7, "min_kept": 100000},
    {"thresh": 0.3, "min_kept": 5},
    {"min_kept": 5},
    {"min_kept": 99},
]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "decode",
    [
        {"type": "CrossEntropyLoss"},
        [{"type": "CrossEntropyLoss", "avg_non_ignore": True}, {"type": "CrossEntropyLoss", "loss_weight": 3.0}],
        [
            {"type": "CrossEntropyLoss", "loss_name": "loss_a"},
            {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_name": "loss_b"},
        ],
    ],
)
def test_heads_log_the_same(decode: Any, sampler: dict[str, Any] | None) -> None:
    import_mmseg()
    from mmengine.structures import PixelData
    from mmseg.models.decode_heads import FCNHead
    from mmseg.structures import SegDataSample

    if sampler is not None and "thresh" not in sampler and isinstance(decode, list):
        decode = decode[:1]  # MMSegmentation cannot add up the losses of pixels with those of channels
    own = None if sampler is None else {"type": "OHEMPixelSampler", **sampler}
    logits, labels = example(SHAPES[0], 0, True)
    shape = {"in_channels": 4, "channels": 4, "num_convs": 1, "concat_input": False, "num_classes": 3}
    head = FCNHead(**shape, loss_decode=decode, sampler=own)
    samples = []
    for each in labels:
        sample = SegDataSample()
        sample.gt_sem_seg = PixelData(data=each[None])
        samples.append(sample)
    expected = head.loss_by_feat(logits, samples)
    found = SegmentationLoss(decode, sampler=own)(logits, labels)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-6), name
