"""What goes into and comes out of a model that knows nothing of this package: batches and outputs, by their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from seg_runner.model.samples import PixelData, SegDataSample

__all__ = [
    "Outputs",
    "check_images",
    "check_masks",
    "check_samples",
    "images_and_masks",
    "logits_of",
    "of_several_sizes",
    "samples_for",
    "stacked",
    "target_of",
    "truth_of",
]

IMAGES = ("inputs", "image", "images", "img", "imgs", "pixel_values", "x")
MASKS = ("mask", "masks", "label", "labels", "target", "targets", "seg", "gt_semantic_seg", "semantic_mask", "y")
PIPELINE = "is the pipeline of the data set missing (LoadImageFromFile, LoadAnnotations, PackSegInputs)?"
MAIN = ("logits", "out", "main", "seg_logits", "pred")
AUXILIARY = ("aux", "aux_out", "auxiliary", "aux_logits", "auxiliary_logits")

Outputs = tuple[torch.Tensor, list[torch.Tensor]]


def images_and_masks(batch: Any) -> tuple[Any, Any]:
    """Images and masks (None where there are none) of a batch: a tensor, a tuple, or a dict with usual names.

    Raises:
        TypeError: if they cannot be told; says what was found.
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


def of_several_sizes(batch: Any) -> list[Any] | None:
    """A batch whose images differ in size as batches of one image each; None for any other.

    >>> wide, high = torch.zeros(3, 2, 4), torch.zeros(3, 4, 2)
    >>> [one["inputs"][0].shape[1:] for one in of_several_sizes(dict(inputs=[wide, high], data_samples=["a", "b"]))]
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


def stacked(images: Any) -> torch.Tensor:
    """Images as one tensor.

    Raises:
        TypeError: they are no tensors or arrays.
        ValueError: they differ in size.
    """
    if isinstance(images, torch.Tensor):
        return images
    if isinstance(images, np.ndarray):
        return torch.as_tensor(images)
    each = list(images)
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
        ValueError: there are not as many, or they are not as large.
    """
    pixels = images.shape[:1] + images.shape[2:]
    if masks.shape == pixels and masks.numel():
        return
    check_images(images)
    if len(images) != len(masks):
        raise ValueError(f"a batch of {len(images)} images has {len(masks)} masks: each image needs one")
    if masks.shape[:1] + masks.shape[2:] == pixels:  # one map for each class
        return
    sizes, own = f"{images.shape[-2]} x {images.shape[-1]}", " x ".join(map(str, masks.shape[1:]))
    hint = " (colours instead of class indices?)" if masks.shape[:-1] == pixels else ""
    raise ValueError(
        f"images are {sizes} pixels, their masks {own}{hint}: give masks as large as the images, H x W each"
    )


def check_samples(samples: Sequence[Any], images: torch.Tensor) -> list[Any]:
    """The data samples of a batch as a list.

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


def truth_of(samples: Sequence[Any], images: torch.Tensor) -> torch.Tensor:
    """The label maps of samples, N x H x W.

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


def target_of(masks: Any, device: torch.device) -> torch.Tensor:
    """Masks as one N x H x W tensor of class indices (float masks stay floats)."""
    target: torch.Tensor = (
        masks if isinstance(masks, torch.Tensor) else torch.stack([torch.as_tensor(m) for m in masks])
    )
    if target.dim() == 4 and target.shape[1] == 1:
        target = target[:, 0]
    if target.device != device:
        target = target.to(device, non_blocking=True)
    return target if target.dtype is torch.int64 or target.is_floating_point() else target.long()


def samples_for(images: torch.Tensor, masks: torch.Tensor | None) -> list[SegDataSample]:
    """Samples for a batch that came without: ground truth where there is one, and the size to return to."""
    size = tuple(images.shape[-2:]) if masks is None else tuple(masks.shape[-2:])
    facts = {"ori_shape": size, "img_shape": tuple(images.shape[-2:])}
    samples = [SegDataSample(metainfo=facts) for _ in range(len(images))]
    if masks is not None:
        if len(masks) != len(images):
            raise ValueError(f"a batch of {len(images)} images has {len(masks)} masks: each image needs one")
        for sample, mask in zip(samples, masks, strict=True):
            sample.gt_sem_seg = PixelData(data=mask)
    return samples


def logits_of(output: Any) -> Outputs:
    """The main logits and the auxiliary ones of whatever a model returns.

    A tensor; a tuple or list (main first); a dict, or Hugging Face output, with `logits` or `out` and maybe `aux`.

    Raises:
        TypeError: if no logits can be told; says what was found.
    """
    if isinstance(output, torch.Tensor):
        return _checked(output), []
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        named = output if isinstance(output, Mapping) else vars(output)
        main = next((named[name] for name in MAIN if named.get(name) is not None), None)
        if isinstance(main, torch.Tensor):
            found = [named[name] for name in AUXILIARY if named.get(name) is not None]
            return _checked(main), [
                part for item in found for part in ([item] if isinstance(item, torch.Tensor) else item)
            ]
    elif isinstance(output, Sequence) and output and all(isinstance(part, torch.Tensor) for part in output):
        return _checked(output[0]), list(output[1:])
    held = list(output) if isinstance(output, Mapping) else type(output).__name__
    raise TypeError(
        f"the model returned {held}: logits are expected as a tensor N x C x H x W, as a tuple of them (main first), "
        f"or under one of the names {', '.join(MAIN)}"
    )


def _checked(logits: torch.Tensor) -> torch.Tensor:
    if logits.dim() != 4:
        raise TypeError(
            f"the model returned a tensor of shape {tuple(logits.shape)}: logits are expected as N x C x H x W, a "
            "number for each class and pixel"
        )
    return logits
