"""Batches of any usual kind, and outputs of any usual kind: how images, masks, samples and logits are found in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from seg_runner.model.samples import PixelData, SegDataSample

__all__ = [
    "check_images",
    "check_masks",
    "check_samples",
    "images_and_masks",
    "label_maps_of",
    "logits_of",
    "masks_on",
    "samples_for",
    "split_by_image",
    "stack_images",
    "stack_masks",
]

IMAGES = ("inputs", "image", "images", "img", "imgs", "pixel_values", "x")
MASKS = ("mask", "masks", "label", "labels", "target", "targets", "seg", "gt_semantic_seg", "semantic_mask", "y")
PIPELINE = "is the pipeline of the data set missing (LoadImageFromFile, LoadAnnotations, PackSegInputs)?"
MAIN = ("logits", "out", "main", "seg_logits", "pred")
AUXILIARY = ("aux", "aux_out", "auxiliary", "aux_logits", "auxiliary_logits")


def images_and_masks(batch: object) -> tuple[Any, Any]:
    """Return images and masks (None where there are none) of a batch: a tensor, a tuple, or a dict with usual names.

    Raises:
        TypeError: no images are found; says what was found.
    """
    if isinstance(batch, torch.Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        images = next((batch[name] for name in IMAGES if name in batch), None)
        if images is None:
            raise TypeError(
                f"a batch with the keys {list(batch)} has no images: one of {', '.join(IMAGES)} is expected"
                + (f"; {PIPELINE}" if "img_path" in batch else "")
            )
        return images, next((batch[name] for name in MASKS if name in batch), None)
    if isinstance(batch, Sequence) and batch and not isinstance(batch, str):
        return batch[0], batch[1] if len(batch) > 1 else None
    raise TypeError(
        f"a batch is expected as (images, masks), as a dict such as dict(image=..., mask=...), or as MMSegmentation's "
        f"dict(inputs=[...], data_samples=[...]); it is of type {type(batch).__name__}"
    )


def split_by_image(batch: object) -> list[dict[str, Any] | tuple[Any, ...]] | None:
    """Split a batch whose images differ in size into batches of one image each; return None for any other.

    >>> wide, high = torch.zeros(3, 2, 4), torch.zeros(3, 4, 2)
    >>> [one["inputs"][0].shape[1:] for one in split_by_image(dict(inputs=[wide, high], data_samples=["a", "b"]))]
    [torch.Size([2, 4]), torch.Size([4, 2])]
    """
    images, masks = images_and_masks(batch)
    if not isinstance(images, list | tuple) or len({tuple(getattr(one, "shape", ())) for one in images}) < 2:
        return None
    count = len(images)
    if isinstance(batch, Mapping):
        listed = [name for name, value in batch.items() if isinstance(value, list | tuple) and len(value) == count]
        lists = {name: batch[name] for name in listed}
        return [{**batch, **{name: value[i : i + 1] for name, value in lists.items()}} for i in range(count)]
    return [(images[i : i + 1], *([] if masks is None else [masks[i : i + 1]])) for i in range(count)]


def stack_images(images: object) -> torch.Tensor:
    """Return images as one tensor, N x C x H x W.

    Raises:
        TypeError: they are no tensors or arrays.
        ValueError: they differ in size.
    """
    if isinstance(images, torch.Tensor):
        return images
    if isinstance(images, np.ndarray):
        return torch.as_tensor(images)
    each = list(images) if isinstance(images, Iterable) else [images]
    if not each:
        raise ValueError("this batch holds no image")
    if not all(isinstance(image, torch.Tensor | np.ndarray) for image in each):
        raise TypeError(f"images must be tensors, not {type(each[0]).__name__}: a batch holds what was read, no paths")
    tensors = [torch.as_tensor(image) for image in each]
    shapes = sorted({tuple(image.shape) for image in tensors})
    if len(shapes) > 1:
        raise ValueError(
            f"images of different sizes cannot be stacked: {shapes}; make crops equal in the data set, or pad with "
            "data_preprocessor=SegDataPreProcessor(size=..., or size_divisor=...)"
        )
    return torch.stack(tensors)


def check_images(images: torch.Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        ValueError: it is not N x C x H x W, or holds no pixel.
    """
    if images.dim() != 4:
        alone = ": one image alone is image[None]" if images.dim() == 3 else ""
        raise ValueError(f"images are expected as N x C x H x W, not of shape {tuple(images.shape)}{alone}")
    if not images.numel():
        raise ValueError(f"these images hold no pixel: their shape is {tuple(images.shape)} (N x C x H x W)")


def check_masks(images: torch.Tensor, masks: torch.Tensor) -> None:
    """Refuse masks that do not fit the images of a training batch.

    Raises:
        ValueError: there are not as many, or they are not as large, or no pixel at all.
    """
    check_images(images)
    pixels = images.shape[:1] + images.shape[2:]
    if len(images) != len(masks):
        raise ValueError(f"a batch of {len(images)} images has {len(masks)} masks: each image needs one")
    if pixels in (masks.shape, masks.shape[:1] + masks.shape[2:]):  # one map, or one for each class
        return
    sizes, own = f"{images.shape[-2]} x {images.shape[-1]}", " x ".join(map(str, masks.shape[1:]))
    hint = " (colours instead of class indices?)" if masks.shape[:-1] == pixels else ""
    raise ValueError(
        f"images are {sizes} pixels, their masks {own}{hint}: give masks as large as the images, H x W each"
    )


def check_samples(samples: Sequence[SegDataSample], images: torch.Tensor) -> list[SegDataSample]:
    """Return the data samples of a batch as a list.

    Raises:
        TypeError: one is no data sample.
        ValueError: there are not as many as images.
    """
    if len(samples) != len(images):
        raise ValueError(f"a batch of {len(images)} images has {len(samples)} data samples: each image needs one")
    for sample in samples:
        if not hasattr(sample, "metainfo"):
            raise TypeError(f"data_samples must hold SegDataSamples, not {type(sample).__name__}")
    return list(samples)


def label_maps_of(samples: Sequence[SegDataSample], images: torch.Tensor) -> torch.Tensor:
    """Return the true label maps of samples, N x H x W.

    Raises:
        ValueError: one is not as large as its image; says which.
    """
    maps = [sample.gt_sem_seg.data for sample in samples]
    size = images.shape[-2:]
    for sample, labels in zip(samples, maps, strict=True):
        if labels.shape[-2:] != size:
            raise ValueError(
                f"{sample.get('img_path', 'a sample')}: the image is {size[0]} x {size[1]} pixels, its label map "
                f"{' x '.join(map(str, labels.shape[-2:]))}: resize and crop both alike in the pipeline"
            )
    return torch.cat(maps)


def stack_masks(masks: torch.Tensor | Sequence[object]) -> torch.Tensor:
    """Return masks as one tensor, N x H x W; N x C x H x W where there is one map for each class."""
    if not isinstance(masks, torch.Tensor):
        masks = torch.stack([torch.as_tensor(mask) for mask in masks])
    return masks[:, 0] if masks.dim() == 4 and masks.shape[1] == 1 else masks


def masks_on(masks: torch.Tensor | Sequence[object], device: torch.device) -> torch.Tensor:
    """Return masks as one tensor of class indices on a device, N x H x W; masks of floats stay floats."""
    masks = stack_masks(masks)
    if masks.device != device:  # first, since small integers are moved faster
        masks = masks.to(device, non_blocking=True)
    return masks if masks.dtype is torch.int64 or masks.is_floating_point() else masks.long()


def samples_for(images: torch.Tensor, masks: torch.Tensor | None) -> list[SegDataSample]:
    """Return samples for a batch that came without: their ground truth where there is one, and the size to return to.

    Args:
        images: N x C x H x W.
        masks: N x H x W, of the size that predictions are brought to; None where there are none.
    """
    size = tuple(images.shape[-2:]) if masks is None else tuple(masks.shape[-2:])
    facts = {"ori_shape": size, "img_shape": tuple(images.shape[-2:])}
    samples = [SegDataSample(metainfo=facts) for _ in range(len(images))]
    if masks is not None:
        if len(masks) != len(images):
            raise ValueError(f"a batch of {len(images)} images has {len(masks)} masks: each image needs one")
        for sample, mask in zip(samples, masks, strict=True):
            sample.gt_sem_seg = PixelData(data=mask)
    return samples


def logits_of(output: object) -> list[torch.Tensor]:
    """Return all logits in what a model returns, the main ones first, then the auxiliary ones.

    Args:
        output: A tensor; a tuple or list (main first); a dict, or Hugging Face output, with `logits` or `out` and maybe
            `aux`.

    Raises:
        TypeError: no logits are found; says what was found.
    """
    if isinstance(output, torch.Tensor):
        return [_checked(output)]
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        named = output if isinstance(output, Mapping) else vars(output)
        main = next((named[name] for name in MAIN if named.get(name) is not None), None)
        if isinstance(main, torch.Tensor):
            others = [named[name] for name in AUXILIARY if named.get(name) is not None]
            parts = [part for item in others for part in ([item] if isinstance(item, torch.Tensor) else item)]
            return [_checked(main), *parts]
    elif isinstance(output, Sequence) and output and all(isinstance(part, torch.Tensor) for part in output):
        return [_checked(output[0]), *output[1:]]
    found = list(output) if isinstance(output, Mapping) else type(output).__name__
    raise TypeError(
        f"the model returned {found}: logits are expected as a tensor N x C x H x W, as a tuple of them (main first), "
        f"or under one of the names {', '.join(MAIN)}"
    )


def _checked(logits: torch.Tensor) -> torch.Tensor:
    """Return the main logits, if they have the right number of dimensions."""
    if logits.dim() != 4:
        raise TypeError(
            f"the model returned a tensor of shape {tuple(logits.shape)}: logits are expected as N x C x H x W, a "
            "number for each class and pixel"
        )
    return logits
