"""SegDataPreProcessor: from a list of images of any size to one normalised, padded batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seg_runner.checks import flag, number, pair, unused, whole
from seg_runner.errors import check_options, did_you_mean
from seg_runner.model.photometric import distortion_from
from seg_runner.model.samples import SegDataSample

__all__ = ["SegDataPreProcessor", "preprocessor_from"]

Padding = tuple[int, int, int, int]

Images = torch.Tensor | list[torch.Tensor]
"""N x C x H x W, or images of different sizes."""

MAPS = ("gt_sem_seg", "gt_edge_map", "gt_depth_map")


class SegDataPreProcessor(nn.Module):
    """Moves, normalises, pads (right and bottom, after normalising) and stacks images and their label maps.

    Args:
        mean: what is subtracted, per channel; None leaves images as they are.
        std: what they are divided by, per channel.
        size: (height, width) that training images are padded to. Give this or `size_divisor`.
        size_divisor: training images are padded to a multiple of it.
        pad_val: the value of added pixels; 0 after normalising is the mean colour.
        seg_pad_val: the label of added pixels. A runner sets it to the label that the model's loss leaves out, unless
            it is the number of a class.
        bgr_to_rgb: swap the colour channels first.
        rgb_to_bgr: the same; only one of them may be set.
        batch_augments: called with (inputs, data_samples) in training, one after the other.
        photometric_distortion: changes colours of training images on the device, before normalising, instead of
            `PhotoMetricDistortion` in the pipeline, whose options this dict takes; `dict()` for the usual numbers.
        test_cfg: `dict(size=...)` or `dict(size_divisor=...)`, where images are padded for testing too.

    Example:
        >>> from seg_runner import SegDataSample
        >>> prepare = SegDataPreProcessor(mean=[128.0] * 3, std=[64.0] * 3, test_cfg=dict(size_divisor=8))
        >>> image = torch.full((3, 5, 6), 192, dtype=torch.uint8)
        >>> batch = prepare(dict(inputs=[image], data_samples=[SegDataSample()]))
        >>> batch["inputs"].shape, batch["inputs"].max().item(), batch["data_samples"][0].img_padding_size
        (torch.Size([1, 3, 8, 8]), 1.0, (0, 2, 0, 3))
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        size_divisor: int | None = None,
        pad_val: float = 0,
        seg_pad_val: float = 255,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        batch_augments: Sequence[Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
        photometric_distortion: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_norm(mean, std)
        for name, value in (("bgr_to_rgb", bgr_to_rgb), ("rgb_to_bgr", rgb_to_bgr)):
            flag(value, f"data_preprocessor.{name}")
        if bgr_to_rgb and rgb_to_bgr:
            raise ValueError("data_preprocessor: only one of bgr_to_rgb and rgb_to_bgr can be set")
        if size is not None and size_divisor is not None:
            raise ValueError("data_preprocessor: give size or size_divisor, not both")
        self.size = None if size is None else pair(size, "data_preprocessor.size")
        self.size_divisor = None if size_divisor is None else whole(size_divisor, "data_preprocessor.size_divisor", 1)
        self.pad_val = number(pad_val, "data_preprocessor.pad_val")
        self.seg_pad_val = whole(seg_pad_val, "data_preprocessor.seg_pad_val", None)
        self.channel_conversion = bgr_to_rgb or rgb_to_bgr
        self.batch_augments = _callables(batch_augments)
        self.test_cfg = _read_test_cfg(test_cfg)
        self.distortion = distortion_from(photometric_distortion)
        self._comes_as_bgr = not rgb_to_bgr  # what OpenCV reads, unless the option says that it is RGB
        self.normalises = mean is not None
        self.register_buffer("mean", _column(mean, 0.0), persistent=False)
        self.register_buffer("std", _column(std, 1.0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.mean.device

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Make a batch for the model.

        Args:
            data: `inputs` (a list of C x H x W images, or a stacked batch) and `data_samples` (may be missing when
                testing).
            training: pad as for training, label maps too.

        Returns:
            `inputs`: N x C x H x W, float; `data_samples`, with `img_shape`, `pad_shape` and the padding written in.

        Raises:
            TypeError: the batch is no such dict.
            ValueError: images have different sizes and no padding makes them equal, or not as many channels as `mean`
                has numbers.
        """
        if not isinstance(data, Mapping) or "inputs" not in data:
            found = f"the keys {list(data)}" if isinstance(data, Mapping) else type(data).__name__
            raise TypeError(f"data_preprocessor takes dict(inputs=[...], data_samples=[...]), not {found}")
        inputs = data["inputs"]
        if not len(inputs) or not (
            isinstance(inputs, torch.Tensor) or all(isinstance(i, torch.Tensor) for i in inputs)
        ):
            raise TypeError(
                "data_preprocessor: inputs must be a list of one image tensor or more, C x H x W each "
                "(PackSegInputs at the end of a pipeline makes them)"
            )
        samples = data.get("data_samples")
        samples = [sample.to(self.device, non_blocking=True) for sample in samples] if samples is not None else None
        images = self._normalised([image.to(self.device, non_blocking=True) for image in inputs], training)
        if training:
            return self._train_batch(images, samples)
        return self._test_batch(images, samples)

    def _normalised(self, images: list[torch.Tensor], training: bool) -> Images:
        """Normalise images of one size in one go, others one by one; in training, distort them first."""
        if len({(tuple(image.shape), image.dtype) for image in images}) == 1:
            return self._normalised_tensor(self._distorted(torch.stack(images), training))
        return [self._normalised_tensor(self._distorted(image[None], training)[0]) for image in images]

    def _distorted(self, images: torch.Tensor, training: bool) -> torch.Tensor:
        """Change the colours of a batch, where that is asked for."""
        return self.distortion(images, self._comes_as_bgr) if training and self.distortion is not None else images

    def _normalised_tensor(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise one image C x H x W, or a batch of them."""
        if self.channel_conversion and images.shape[-3] == 3:
            images = images.flip(-3)
        if self.mean.shape[0] not in (1, images.shape[-3]):
            raise ValueError(
                f"data_preprocessor: mean and std have {self.mean.shape[0]} numbers, but images have "
                f"{images.shape[-3]} channels: give one number for each channel"
            )
        if not self.normalises:
            return images.float()
        bytes_ = images.dtype == torch.uint8  # become floats as they are subtracted: a pass and a copy less
        return torch.sub(images if bytes_ else images.float(), self.mean).div_(self.std)

    def _train_batch(self, images: Images, samples: list[SegDataSample] | None) -> dict[str, Any]:
        """Pad images and label maps for training, and write into the samples how."""
        if samples is None:
            raise ValueError("data_preprocessor: training needs data_samples beside inputs")
        paddings = paddings_for(images, self.size, self.size_divisor, "data_preprocessor")
        for image, sample, padding in zip(images, samples, paddings, strict=True):
            _pad_maps(sample, padding, self.seg_pad_val)
            padded = (image.shape[-2] + padding[3], image.shape[-1] + padding[1])
            own = tuple(image.shape[-2:])
            sample.set_metainfo({"img_shape": own, "pad_shape": padded, "padding_size": padding})
        batch = _stacked(images, paddings, self.pad_val)
        for augment in self.batch_augments:
            batch, samples = augment(batch, samples)
        return {"inputs": batch, "data_samples": samples}

    def _test_batch(self, images: Images, samples: list[SegDataSample] | None) -> dict[str, Any]:
        """Pad images for testing, where `test_cfg` says so; label maps stay as they are."""
        if self.test_cfg is None:
            paddings: list[Padding] = [(0, 0, 0, 0)] * len(images)
        else:
            size, divisor = self.test_cfg.get("size"), self.test_cfg.get("size_divisor")
            paddings = paddings_for(images, size, divisor, "data_preprocessor.test_cfg")
        batch = _stacked(images, paddings, self.pad_val)
        if self.test_cfg is not None:
            for sample, padding in zip(samples or [], paddings, strict=False):
                sample.set_metainfo({"img_padding_size": padding, "pad_shape": tuple(batch.shape[-2:])})
        return {"inputs": batch, "data_samples": samples}


def preprocessor_from(preprocessor: nn.Module | Mapping[str, Any] | None) -> nn.Module | None:
    """Return a preprocessor as it is, or build it from its config: `type` is a class, or this package's by its name.

    >>> preprocessor_from({"type": "SegDataPreProcessor", "size": (8, 8)}).size
    (8, 8)
    """
    if preprocessor is None or isinstance(preprocessor, nn.Module):
        return preprocessor
    if not isinstance(preprocessor, Mapping):
        raise TypeError(
            f"data_preprocessor must be a module such as SegDataPreProcessor, or its config, not {preprocessor!r}"
        )
    cfg = {key: value for key, value in preprocessor.items() if key != "_delete_"}
    kind = cfg.pop("type", SegDataPreProcessor)
    if kind == "SegDataPreProcessor":
        kind = SegDataPreProcessor
    if not callable(kind):
        near = did_you_mean(str(kind), ["SegDataPreProcessor"])
        raise ValueError(f"data_preprocessor: type must be a class or 'SegDataPreProcessor', not {kind!r}.{near}")
    check_options(kind, cfg, "data_preprocessor")
    built: nn.Module = kind(**cfg)
    return built


def paddings_for(images: Images, size: tuple[int, int] | None, divisor: int | None, where: str) -> list[Padding]:
    """Return, for each image, the padding (left, right, top, bottom) to the size, or a multiple of the divisor.

    Raises:
        ValueError: neither is given.
    """
    if size is None and divisor is None:
        raise ValueError(f"{where}: images are stacked, so give size=(height, width) or size_divisor=...")
    heights, widths = [image.shape[-2] for image in images], [image.shape[-1] for image in images]
    if size is not None:
        wanted = (max(size[0], min(heights)), max(size[1], min(widths)))
    else:
        assert divisor is not None
        wanted = (-(-max(heights) // divisor) * divisor, -(-max(widths) // divisor) * divisor)
    return [(0, max(wanted[1] - w, 0), 0, max(wanted[0] - h, 0)) for h, w in zip(heights, widths, strict=True)]


def _pad_maps(sample: SegDataSample, padding: Padding, value: float) -> None:
    """Pad the ground truth of one sample in place."""
    if not any(padding):
        return
    for name in MAPS:
        if name in sample:
            field = getattr(sample, name)
            data = F.pad(_holding(field.data, value), padding, value=value)
            delattr(sample, name)
            setattr(sample, name, type(field)(data=data))


def _holding(labels: torch.Tensor, value: float) -> torch.Tensor:
    """Return labels in a type that has room for a value."""
    if labels.is_floating_point() or torch.iinfo(labels.dtype).min <= value <= torch.iinfo(labels.dtype).max:
        return labels
    return labels.long()


def _stacked(images: Images, paddings: Sequence[Padding], value: float) -> torch.Tensor:
    """Pad images, and stack them."""
    if isinstance(images, torch.Tensor):
        return F.pad(images, paddings[0], value=value) if any(paddings[0]) else images
    padded = [
        F.pad(image, pad, value=value) if any(pad) else image for image, pad in zip(images, paddings, strict=True)
    ]
    shapes = {tuple(image.shape) for image in padded}
    if len(shapes) > 1:
        raise ValueError(
            f"images of different sizes cannot be stacked: {sorted(shapes)}; make crops equal in the pipeline, "
            "pad with data_preprocessor.size or size_divisor (test_cfg=dict(size_divisor=...) when testing), or use "
            "batch_size=1"
        )
    return torch.stack(padded)


def _column(values: Sequence[float] | None, default: float) -> torch.Tensor:
    """Return one number per channel as C x 1 x 1."""
    return torch.tensor([default] if values is None else list(values), dtype=torch.float32).view(-1, 1, 1)


def _check_norm(mean: object, std: object) -> None:
    """Refuse mean and std that nothing can be normalised with."""
    if (mean is None) != (std is None):
        raise ValueError("data_preprocessor: mean and std belong together; give both or none")
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            continue
        if not isinstance(values, Sequence | np.ndarray | torch.Tensor) or isinstance(values, str) or not len(values):
            raise TypeError(f"data_preprocessor.{name} must be a list of one number per channel, not {values!r}")
        for value in values:
            value = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
            number(value, f"each number of data_preprocessor.{name}", above=0 if name == "std" else -math.inf)
    if isinstance(mean, Sized) and isinstance(std, Sized) and len(mean) != len(std):
        raise ValueError(f"data_preprocessor: mean has {len(mean)} numbers, and std {len(std)}: as many are needed")


def _read_test_cfg(test_cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a checked copy of `test_cfg`; None where nothing is padded for testing."""
    if not test_cfg:
        return None
    where = "data_preprocessor.test_cfg"
    if not isinstance(test_cfg, Mapping):
        raise TypeError(f"{where} must be a dict such as dict(size_divisor=32), not {test_cfg!r}")
    cfg = dict(test_cfg)
    if (cfg.get("size") is None) == (cfg.get("size_divisor") is None):
        others = unused(set(cfg) - {"size", "size_divisor"}, ["size", "size_divisor"])
        found = f"; it has {others}" if others else ""
        raise ValueError(f"{where}: give size=(height, width) or size_divisor=..., one of them{found}")
    if cfg.get("size") is not None:
        return cfg | {"size": pair(cfg["size"], f"{where}.size")}
    return cfg | {"size_divisor": whole(cfg["size_divisor"], f"{where}.size_divisor", 1)}


def _callables(batch_augments: Sequence[Any] | None) -> list[Callable[..., Any]]:
    """Return the augmentations of batches, if they can be called."""
    if not isinstance(batch_augments, Sequence | None):
        raise TypeError(f"data_preprocessor.batch_augments must be a list of callables, not {batch_augments!r}")
    augments = list(batch_augments or [])
    for augment in augments:
        if not callable(augment):
            raise TypeError(
                f"data_preprocessor.batch_augments: callables (inputs, data_samples) -> (inputs, data_samples) are "
                f"expected, not {type(augment).__name__}"
            )
    return augments
