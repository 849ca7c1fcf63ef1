"""A training sample as each contestant makes it: read image and labels, resize, crop, flip, distort colours, pack.

All give a 3 x 512 x 512 tensor of bytes and 512 x 512 labels (int64) of a picture of 1024 x 2048 that is resized by 0.5
to 2 and cropped. Ours, MMSegmentation and both forms by hand draw the same random numbers, so that they cut the same
windows; a crop is drawn again, up to ten times, while one class covers more than three quarters of it.

The plain form, the bare limit, is what one writes who knows OpenCV: one call for each thing, the fastest that there is,
bytes all the way (a table of 256 values for brightness, contrast, saturation and hue), no check of anything. The fused
form cuts the window before it resizes, so that windows begin at whole pixels of the file, and colours differ a little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

__all__ = ["FACTS", "STEPS", "albumentations", "bare_step", "fused", "kornia", "mmsegmentation", "ours", "plain"]
__all__ += ["torchvision"]

Pixels = npt.NDArray[Any]
Sampler = Callable[[str, str], tuple[torch.Tensor, torch.Tensor]]
BYTES = np.arange(256, dtype=np.float32)
CROP, SCALE, RANGE = 512, (2048, 1024), (0.5, 2.0)

STEPS: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomResize", "scale": SCALE, "ratio_range": RANGE, "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": (CROP, CROP), "cat_max_ratio": 0.75},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
]
"""As configs write them."""

FACTS = {"classes": tuple(map(str, range(19))), "ignore_index": 255, "reduce_zero_label": False, "label_map": None}
"""What a data set says of each image."""


def drawn_size() -> tuple[int, int]:
    """Return a random (width, height) of the shape of the picture."""
    ratio = np.random.random_sample() * (RANGE[1] - RANGE[0]) + RANGE[0]
    wanted = int(SCALE[0] * ratio), int(SCALE[1] * ratio)
    factor = min(wanted[0] / SCALE[0], wanted[1] / SCALE[1])
    return int(SCALE[0] * factor + 0.5), int(SCALE[1] * factor + 0.5)


def drawn_window(size: tuple[int, int], labels_of: Callable[[int, int], Pixels]) -> tuple[int, int, Pixels]:
    """Return top, left and labels of a random window that no class covers too much of."""
    for attempt in range(11):
        top, left = (int(np.random.randint(0, max(have - CROP, 0) + 1)) for have in size[::-1])
        labels = labels_of(top, left)
        if attempt < 10:
            counts = np.bincount(labels.ravel(), minlength=256)[:255]
            if (counts > 0).sum() > 1 and counts.max() / counts.sum() < 0.75:
                break
    return top, left, labels


def flipped(image: Pixels, labels: Pixels) -> tuple[Pixels, Pixels]:
    """Mirror both, half of the time."""
    if np.random.choice(2, p=[0.5, 0.5]) == 0:
        return cv2.flip(image, 1), cv2.flip(labels, 1)
    return image, labels


def by_table(image: Pixels, values: Pixels) -> Pixels:
    return cv2.LUT(image, np.clip(values, 0, 255).astype(np.uint8))


def coin() -> bool:
    return bool(np.random.randint(2))


def distorted(image: Pixels) -> Pixels:
    """Change brightness, contrast, saturation and hue, each half of the time."""
    if coin():
        image = by_table(image, BYTES + np.random.uniform(-32, 32))
    contrast_first = coin()
    if contrast_first and coin():
        image = by_table(image, BYTES * np.random.uniform(0.5, 1.5))
    if coin():
        image = in_hsv(image, 1, np.clip(BYTES * np.random.uniform(0.5, 1.5), 0, 255))
    if coin():
        image = in_hsv(image, 0, (BYTES + np.random.randint(-18, 18)) % 180)
    if not contrast_first and coin():
        image = by_table(image, BYTES * np.random.uniform(0.5, 1.5))
    return image


def in_hsv(image: Pixels, channel: int, table: Pixels) -> Pixels:
    """Change one channel of hue, saturation and value by a table."""
    tables = np.repeat(BYTES[:, None], 3, axis=1)
    tables[:, channel] = table
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables.astype(np.uint8)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def packed(image: Pixels, labels: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return inputs, torch.from_numpy(labels.astype(np.int64))


def bare_step(number: int, record: dict[str, Any]) -> object:
    """Do what the transform of this number does to a record, as the plain form does."""
    if number < 2:
        path, flags = [(record["img_path"], cv2.IMREAD_COLOR), (record["seg_map_path"], cv2.IMREAD_UNCHANGED)][number]
        return cv2.imread(path, flags)
    image, labels = record["img"], record["gt_seg_map"]
    if number == 2:
        size = drawn_size()
        return cv2.resize(image, size), cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    if number == 3:
        return drawn_window(image.shape[1::-1], lambda top, left: labels[top : top + CROP, left : left + CROP])
    return [flipped, lambda image, _: distorted(image), packed][number - 4](image, labels)


def plain() -> Sampler:
    """One OpenCV call after the other."""

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(image_path)
        whole = cv2.imread(labels_path, cv2.IMREAD_UNCHANGED)
        size = drawn_size()
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        whole = cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST)
        top, left, labels = drawn_window(size, lambda top, left: whole[top : top + CROP, left : left + CROP])
        image, labels = flipped(image[top : top + CROP, left : left + CROP], labels)
        return packed(distorted(image), labels)

    return sample


def fused() -> Sampler:
    """The window is cut before it is resized; it begins at a whole pixel of the file."""

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(image_path)
        whole = cv2.imread(labels_path, cv2.IMREAD_UNCHANGED)
        size = drawn_size()
        factor = size[1] / image.shape[0]

        def cut(pixels: Pixels, top: int, left: int, how: int) -> Pixels:
            rows, columns = (slice(int(at / factor), int((at + CROP) / factor)) for at in (top, left))
            return cv2.resize(pixels[rows, columns], (CROP, CROP), interpolation=how)

        top, left, labels = drawn_window(size, lambda top, left: cut(whole, top, left, cv2.INTER_NEAREST))
        image, labels = flipped(cut(image, top, left, cv2.INTER_LINEAR), labels)
        return packed(distorted(image), labels)

    return sample


def chained(pipeline: Callable[[dict[str, Any]], Any], **facts: Any) -> Sampler:
    """A sampler of a pipeline of transforms that take a record."""

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        made = pipeline({"img_path": image_path, "seg_map_path": labels_path, "seg_fields": [], **facts})
        return made["inputs"], made["data_samples"].gt_sem_seg.data[0]

    return sample


def ours() -> Sampler:
    """Our transforms, with their checks; the names of 19 classes are known, so that labels are checked."""
    from seg_engine.data.pipeline import Compose

    return chained(Compose(STEPS), **FACTS)


def mmsegmentation() -> Sampler:
    """MMSegmentation's transforms under MMEngine's Compose, reading by OpenCV."""
    from _mmsegmentation import import_mmseg

    import_mmseg()
    import mmseg.datasets  # noqa: F401 (its names are registered)
    from mmengine.dataset import Compose

    return chained(Compose(STEPS), **FACTS)


def albumentations() -> Sampler:
    """Albumentations' transforms of the same kinds, after OpenCV's readers; it knows no share of a class."""
    import albumentations as aug

    chain = aug.Compose(
        [
            aug.RandomScale((RANGE[0] - 1, RANGE[1] - 1), p=1.0),
            aug.RandomCrop(CROP, CROP, p=1.0),
            aug.HorizontalFlip(p=0.5),
            aug.RandomBrightnessContrast(32 / 255, 0.5, p=0.75),
            aug.HueSaturationValue(18, 64, 0, p=0.75),
            aug.ToTensorV2(),
        ]
    )

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        labels = cv2.imread(labels_path, cv2.IMREAD_UNCHANGED)
        made = chain(image=cv2.imread(image_path), mask=labels)
        return made["image"], made["mask"].long()

    return sample


def kornia() -> Sampler:
    """Kornia's transforms of the same kinds, on float tensors, after OpenCV's readers."""
    import kornia.augmentation as aug
    from kornia.geometry.transform import resize

    chain = aug.AugmentationSequential(
        aug.RandomCrop((CROP, CROP)),
        aug.RandomHorizontalFlip(p=0.5),
        aug.ColorJiggle(0.125, 0.5, 0.5, 0.05, p=0.75),
        data_keys=["input", "mask"],
    )

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.from_numpy(cv2.imread(image_path)).permute(2, 0, 1)[None].float() / 255
        labels = torch.from_numpy(cv2.imread(labels_path, cv2.IMREAD_UNCHANGED))[None, None].float()
        size = drawn_size()[::-1]
        made, mask = chain(resize(image, size), resize(labels, size, interpolation="nearest"))
        return (made[0] * 255).byte(), mask[0, 0].long()

    return sample


def torchvision() -> Sampler:
    """torchvision's transforms (v2) of the same kinds, on tensors of bytes, after OpenCV's readers."""
    from seg_engine.mmseg import prepare

    prepare()  # a torchvision whose compiled part does not fit this torch is imported without it
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    chain = v2.Compose(
        [
            v2.RandomCrop((CROP, CROP)),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomPhotometricDistort((0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05)),
        ]
    )

    def sample(image_path: str, labels_path: str) -> tuple[torch.Tensor, torch.Tensor]:
        image = tv_tensors.Image(torch.from_numpy(cv2.imread(image_path)).permute(2, 0, 1))
        labels = tv_tensors.Mask(torch.from_numpy(cv2.imread(labels_path, cv2.IMREAD_UNCHANGED))[None])
        size = drawn_size()[::-1]
        made, mask = chain(v2.functional.resize(image, size), v2.functional.resize(labels, size))
        return made.as_subclass(torch.Tensor), mask[0].as_subclass(torch.Tensor).long()

    return sample
