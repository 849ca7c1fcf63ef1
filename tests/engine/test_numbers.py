"""Every number that parts of a config can hold here: it is meant, or refused with an error that names it."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch import nn

from seg_engine.data.colour import PhotoMetricDistortion
from seg_engine.data.datasets import BaseSegDataset
from seg_engine.data.geometry import Pad, RandomCrop, RandomFlip, RandomRotate
from seg_engine.data.joined_datasets import ClassBalancedDataset, ConcatDataset, RepeatDataset
from seg_engine.data.loading import LoadAnnotations, LoadImageFromFile
from seg_engine.data.resizing import RandomChoiceResize, RandomResize, Resize
from seg_engine.models.backbones import TinyConvNeXt, TinyViT
from seg_engine.models.head_loss import OHEMPixelSampler
from seg_engine.models.heads import FuseHead, TinyFCNHead
from seg_engine.models.losses import CrossEntropyLoss, FocalLoss, OhemCrossEntropy, SiLogLoss
from seg_engine.models.region_losses import DiceLoss, LovaszLoss, TverskyLoss
from seg_engine.models.segmentor import Segmentor

VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "-0.5": -0.5, "0.5": 0.5, "1": 1, "1.5": 1.5, "2": 2, "255": 255,
    "float32": np.float32(1), "int64": np.int64(2), "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
    "text": "1", "bool": True, "None": None, "dict": {"a": 1}, "complex": 1j,
    "pair": [1, 2], "turned": [2, 1], "bad pair": [math.nan, 1], "three": [1, 2, 3], "empty": [],
}  # fmt: skip
COUNT = {"1", "2", "255", "float32", "int64"}
WHOLE = {"0", *COUNT}
LABEL = {"-1", *WHOLE}
POSITIVE = {"0.5", "1.5", *COUNT}
NOT_NEGATIVE = {"0", *POSITIVE}
FINITE = {"-1", "-0.5", *NOT_NEGATIVE}
SHARE = {"0", "0.5", "1", "float32"}
SIZE = {*COUNT, "pair", "turned"}
SWITCH = {"0", "1", "bool", "None"}
HERE = {"data_root": Path(__file__).parent, "img_suffix": ".py", "test_mode": True, "lazy_init": True}


def sliding(**options: Any) -> Segmentor:
    """A model that is tested in windows."""
    return Segmentor(network=nn.Conv2d(3, 4, 1), test_cfg={"mode": "slide", "crop_size": 8, "stride": 8, **options})


def headed(**options: Any) -> Segmentor:
    """A model whose head has these options."""
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": True}
    head = {"type": "TinyFCNHead", "in_channels": 4, "channels": 4, "num_classes": 2, "loss_decode": loss, **options}
    return Segmentor(backbone=nn.Identity(), decode_head=head)


class Held:
    """A data set of three images that hold class 0."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {}

    def get_cat_ids(self, index: int) -> list[int]:
        return [0]


CASES: list[tuple[Callable[..., Any], dict[str, Any], str, set[str]]] = [
    (RandomCrop, {}, "crop_size", SIZE),
    (RandomCrop, {"crop_size": 8}, "cat_max_ratio", SHARE - {"0"}),
    (RandomCrop, {"crop_size": 8}, "ignore_index", LABEL),
    (RandomFlip, {}, "prob", {*SHARE, "None"}),
    (Pad, {}, "size", SIZE),
    (Pad, {}, "size_divisor", COUNT),
    (Pad, {"size": 8}, "pad_val", FINITE),
    (RandomRotate, {"degree": 9}, "prob", SHARE),
    (RandomRotate, {"prob": 1}, "degree", {*NOT_NEGATIVE, "pair"}),
    (RandomRotate, {"prob": 1, "degree": 9}, "pad_val", FINITE),
    (RandomRotate, {"prob": 1, "degree": 9}, "seg_pad_val", {*LABEL, "None"}),
    (Resize, {}, "scale", SIZE),
    (Resize, {}, "scale_factor", {*POSITIVE, "pair", "turned"}),
    (RandomResize, {"ratio_range": (0.5, 2)}, "scale", SIZE),
    (RandomResize, {"scale": (8, 8)}, "ratio_range", {"pair"}),
    (RandomChoiceResize, {}, "scales", {"pair", "turned", "three"}),
    (RandomChoiceResize, {"scales": [8]}, "max_size", {*WHOLE, "None"}),
    (PhotoMetricDistortion, {}, "brightness_delta", NOT_NEGATIVE),
    (PhotoMetricDistortion, {}, "contrast_range", {"pair"}),
    (PhotoMetricDistortion, {}, "saturation_range", {"pair"}),
    (PhotoMetricDistortion, {}, "hue_delta", WHOLE - {"255"}),
    *[(FuseHead, {"in_channels": [4, 4], "channels": 4, "num_classes": 3}, name, COUNT)
      for name in ("channels", "num_classes")],
    (FuseHead, {"channels": 4, "num_classes": 3}, "in_channels", {"pair", "turned", "three"}),
    (FuseHead, {"in_channels": [4], "channels": 4, "num_classes": 3}, "in_index", {"pair", "turned", "three", "None"}),
    (FuseHead, {"in_channels": [4], "channels": 4, "num_classes": 2}, "out_channels", {*COUNT, "None"}),
    (FuseHead, {"in_channels": [4], "channels": 4, "num_classes": 2}, "dropout_ratio", {"-1", "-0.5", "0", "0.5"}),
    *[(TinyFCNHead, {"in_channels": 4, "channels": 4, "num_classes": 3}, name, COUNT)
      for name in ("in_channels", "channels", "num_classes")],
    (TinyFCNHead, {"in_channels": 4, "channels": 4, "num_classes": 3}, "in_index", LABEL),
    (TinyFCNHead, {"in_channels": 4, "channels": 4, "num_classes": 2}, "out_channels", {*COUNT, "None"}),
    (TinyFCNHead, {"in_channels": 4, "channels": 4, "num_classes": 3}, "num_convs", WHOLE),
    (TinyFCNHead, {"in_channels": 4, "channels": 4, "num_classes": 2}, "dropout_ratio", {"-1", "-0.5", "0", "0.5"}),
    *[(TinyConvNeXt, {"depths": (1,), "channels": (4,)}, name, COUNT) for name in ("ratio", "in_channels")],
    (TinyConvNeXt, {"depths": (1,), "channels": (4,)}, "kernel_size", {"1", "255", "float32"}),
    (TinyConvNeXt, {"depths": (1,), "channels": (4,)}, "stem_stride", {"1", "2", "255", "float32", "int64"}),
    (TinyConvNeXt, {"channels": (4, 4)}, "depths", {"pair", "turned"}),
    (TinyConvNeXt, {"depths": (1, 1)}, "channels", {"pair", "turned"}),
    *[(TinyViT, {"img_size": 16, "embed_dims": 8, "num_layers": 1}, name, COUNT)
      for name in ("mlp_ratio", "in_channels")],
    (TinyViT, {"img_size": 16, "embed_dims": 8}, "num_layers", COUNT),
    (TinyViT, {"img_size": 16, "embed_dims": 8, "num_layers": 1}, "num_heads", {"1", "2", "float32", "int64"}),
    (TinyViT, {"img_size": 16, "embed_dims": 8, "num_layers": 1}, "patch_size", {"2", "int64"}),
    *[(BaseSegDataset, HERE, name, SWITCH) for name in ("test_mode", "lazy_init")],
    (BaseSegDataset, {"lazy_init": True}, "reduce_zero_label", {*SWITCH, "None"}),
    (BaseSegDataset, {"lazy_init": True}, "ignore_index", LABEL),
    (RepeatDataset, {"dataset": Held()}, "times", COUNT),
    (RepeatDataset, {"dataset": Held(), "times": 2}, "lazy_init", SWITCH),
    (ClassBalancedDataset, {"dataset": Held()}, "oversample_thr", POSITIVE),
    (ClassBalancedDataset, {"dataset": Held(), "oversample_thr": 1}, "lazy_init", SWITCH),
    (ConcatDataset, {"datasets": [Held()]}, "lazy_init", SWITCH),
    (LoadAnnotations, {}, "reduce_zero_label", {*SWITCH, "None"}),
    (LoadAnnotations, {}, "check_labels", SWITCH - {"None"}),
    (LoadImageFromFile, {}, "to_float32", SWITCH),
    (Resize, {"scale": (8, 8)}, "keep_ratio", SWITCH),
    (RandomResize, {"scale": (8, 8), "ratio_range": (0.5, 2)}, "keep_ratio", SWITCH),
    (RandomChoiceResize, {"scales": [8]}, "keep_ratio", SWITCH),
    *[(kind, {"reduction": "none"} if kind is LovaszLoss else {}, "loss_weight", NOT_NEGATIVE)
      for kind in (CrossEntropyLoss, FocalLoss, OhemCrossEntropy, SiLogLoss, DiceLoss, LovaszLoss, TverskyLoss)],
    *[(CrossEntropyLoss, {}, name, SWITCH) for name in ("use_sigmoid", "avg_non_ignore")],
    (CrossEntropyLoss, {}, "use_mask", {"0", "None"}),
    (FocalLoss, {}, "use_sigmoid", {"1", "bool"}),
    (FocalLoss, {}, "gamma", NOT_NEGATIVE),
    (OhemCrossEntropy, {}, "min_kept", COUNT),
    *[(DiceLoss, {}, name, SWITCH) for name in ("use_sigmoid", "activate", "naive_dice")],
    *[(kind, {}, "eps", POSITIVE) for kind in (SiLogLoss, DiceLoss)],
    (LovaszLoss, {"reduction": "none"}, "per_image", SWITCH),
    (TverskyLoss, {}, "smooth", POSITIVE),
    *[(kind, {"reduction": "none"} if kind is LovaszLoss else {}, "class_weight",  # a text is a file, read when needed
       {*POSITIVE, "text", "None", "pair", "turned", "three"})
      for kind in (CrossEntropyLoss, FocalLoss, OhemCrossEntropy, LovaszLoss, TverskyLoss)],
    (LovaszLoss, {"reduction": "none"}, "classes", {"pair", "turned", "three"}),
    (FocalLoss, {}, "alpha", SHARE),
    (TverskyLoss, {"beta": 0.5}, "alpha", {"0.5"}),  # both add up to 1
    (TverskyLoss, {"alpha": 0.5}, "beta", {"0.5"}),
    (OhemCrossEntropy, {}, "thres", SHARE),
    (OhemCrossEntropy, {}, "ignore_label", {"None", *LABEL} - {"float32"}),
    *[(kind, {}, "ignore_index", {"None", *LABEL} - {"float32"}) for kind in (DiceLoss, TverskyLoss)],
    (TinyViT, {"patch_size": 2, "embed_dims": 8}, "img_size", {"2", "255", "int64"}),
    (TinyViT, {"patch_size": 2, "num_heads": 1}, "embed_dims", {"2", "255", "int64"}),
    (BaseSegDataset, {"lazy_init": True}, "indices", {"-1", "None", "pair", "turned", "three", *COUNT}),
    (OHEMPixelSampler, {}, "thresh", {"None", *SHARE}),
    (OHEMPixelSampler, {}, "min_kept", COUNT),
    *[(sliding, {}, name, {"1", "2", "255", "int64", "pair", "turned"}) for name in ("crop_size", "stride")],
    (sliding, {}, "mode", set()),
    (headed, {}, "ignore_index", LABEL),
    (headed, {}, "align_corners", SWITCH),
    (headed, {"out_channels": 1}, "threshold", {"None", *SHARE}),
    (headed, {}, "num_classes", COUNT),
    (headed, {}, "out_channels", {"2", "int64", "None", "1", "float32"}),
    (Segmentor, {"network": nn.Identity()}, "train_cfg", {"None", "dict"}),
    (Segmentor, {"network": nn.Identity()}, "test_cfg", {"None"}),
]  # fmt: skip
MAY_BE_LARGE = {"brightness_delta", "pad_val", "degree", "oversample_thr", "dropout_ratio"}
HUGE = [row[:3] for row in CASES if row[2] not in MAY_BE_LARGE]


def test_no_number_of_a_class_is_forgotten() -> None:
    tested = {(row[0], row[2]) for row in CASES if isinstance(row[0], type)}
    groups = ("datasets", "models", "transforms")
    for point in (one for name in groups for one in entry_points(group=f"seg_engine.{name}")):
        if not point.value.startswith("seg_engine."):
            continue  # of another package, with a table of its own
        kind = point.load()
        for each in inspect.signature(kind).parameters.values():
            if not any(word in str(each.annotation) for word in ("int", "float", "bool")):
                continue
            assert any(issubclass(kind, one) and each.name == name for one, name in tested), (kind, each.name)


@pytest.mark.filterwarnings("ignore:.*=None is taken as False", "ignore:test_cfg.stride .* is larger than crop_size")
@pytest.mark.parametrize(
    ("kind", "base", "name", "works"), CASES, ids=[f"{case[0].__name__}-{case[2]}" for case in CASES]
)
def test_a_number_works_or_is_refused_by_name(
    kind: Callable[..., Any], base: dict[str, Any], name: str, works: set[str]
) -> None:
    for word, value in VALUES.items():
        if (word == "255" and name in ("num_convs", "num_layers", "stem_stride")) or (
            value is None and name in ("scale", "scale_factor", "size", "size_divisor")
        ):
            continue
        if word in works:
            kind(**base, **{name: value}) if name not in base else kind(**{**base, name: value})
            continue
        with pytest.raises((TypeError, ValueError), match=name):
            kind(**{**base, name: value})


@pytest.mark.parametrize(("kind", "base", "name"), HUGE, ids=[f"{row[0].__name__}-{row[2]}" for row in HUGE])
@pytest.mark.parametrize("value", [1e30, 10**30])
def test_no_count_is_believed_that_nobody_means(
    kind: Callable[..., Any], base: dict[str, Any], name: str, value: float
) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        kind(**{**base, name: value})


def test_none_for_a_switch_is_false_with_a_warning_and_an_error_by_option(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Resize: keep_ratio=None is taken as False: write False"):
        assert Resize(scale=8, keep_ratio=None).keep_ratio is False  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="BaseSegDataset: test_mode=None is taken as False"):
        assert BaseSegDataset(data_root=tmp_path, lazy_init=True, test_mode=None).test_mode is False  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="lazy_init=None"):
            ConcatDataset(datasets=[Held()], lazy_init=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["True", "no", "false", "0", ""])
def test_a_text_is_no_switch(tmp_path: Path, text: Any) -> None:
    for name in ("test_mode", "lazy_init", "reduce_zero_label"):
        with pytest.raises(TypeError, match=f"BaseSegDataset: {name} must be True or False, not {text!r}"):
            BaseSegDataset(data_root=tmp_path, **{"lazy_init": True, name: text})


@pytest.mark.parametrize("value", [1e39, 1e30, [1.0, 1e16], [1e-40, 1.0], [1.0, math.nan], [1.0, -1.0], [0, 0], [True]])
def test_class_weights_that_32_bits_do_not_hold_are_refused(value: Any) -> None:
    for kind in (CrossEntropyLoss, FocalLoss, TverskyLoss):
        with pytest.raises((TypeError, ValueError), match=f"{kind.__name__}: .*class_weight"):
            kind(class_weight=value)


def test_what_a_train_cfg_holds_is_named_as_of_no_use(caplog: pytest.LogCaptureFixture) -> None:
    Segmentor(network=nn.Identity(), train_cfg={"num_points": 9})
    assert "train_cfg has no use here; num_points does nothing" in caplog.text


@pytest.mark.parametrize("head", [FuseHead, TinyFCNHead])
def test_a_dropout_below_0_is_none(head: Any) -> None:
    width: Any = [4] if head is FuseHead else 4
    assert head(width, 4, 2, dropout_ratio=-1).dropout.p == 0
    with pytest.raises(ValueError, match="dropout_ratio=1 would drop everything"):
        head(width, 4, 2, dropout_ratio=1)


def test_a_very_thin_picture_keeps_a_pixel() -> None:
    record = {"img": np.zeros((1, 400, 3), np.uint8)}
    assert Resize(scale=(40, 40), keep_ratio=True)(record)["img"].shape == (1, 40, 3)


@pytest.mark.parametrize(
    ("indices", "found"), [(None, "abcd"), (2, "ab"), (-1, "d"), ([3, 0], "da"), (np.int64(1), "a"), (9, "abcd")]
)
def test_some_images_of_a_data_set(tmp_path: Path, indices: Any, found: str) -> None:
    for name in "abcd":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((2, 2, 3), np.uint8))
    data = BaseSegDataset(data_root=tmp_path, img_suffix=".png", indices=indices, test_mode=True)
    assert "".join(Path(data.get_data_info(i)["img_path"]).stem for i in range(len(data))) == found


@pytest.mark.parametrize("name", ["indices", "ignore_index"])
@pytest.mark.parametrize("value", [1.5, math.nan, "1", True, {"a": 1}, [1.5], []])
def test_numbers_of_a_data_set(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        BaseSegDataset(data_root=tmp_path, **{name: value})
    with pytest.raises(ValueError, match="indices=0 leaves no image"):
        BaseSegDataset(data_root=tmp_path, indices=0)
