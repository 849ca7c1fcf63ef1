"""Test-time augmentation: predictions for scaled and flipped versions of an image, averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

import torch
from torch import nn

from seg_runner.checks import flag, number
from seg_runner.errors import install_line
from seg_runner.model.batches_and_outputs import images_and_masks, masks_on, samples_for
from seg_runner.model.inference import labels_of, resize
from seg_runner.model.samples import SegDataSample
from seg_runner.model.wrapping import TransparentWrapper
from seg_runner.protocols import find_builder

__all__ = ["SegTTAModel"]


class SegTTAModel(TransparentWrapper):
    """Averages a model's probabilities over versions of each image.

    The versions come from the pipeline (`tta_pipeline` of MMSegmentation: every value of a batch is a list with one
    entry per version), or are made here from an ordinary batch by `scales` and `flip`.

    Args:
        module: the model, or its config; has `test_step`, which undoes the flips and sizes in `metainfo`.
        data_preprocessor: kept for configs; the model has its own.
        scales: the sizes of the versions made here, as factors.
        flip: make each of them mirrored as well.
        threshold: above which probability a pixel is foreground, where there is one channel; default: the model's.

    Example:
        >>> from seg_runner import LogitsModel
        >>> net = SegTTAModel(LogitsModel(nn.Conv2d(3, 4, 1)), scales=[0.5, 1.0], flip=True)
        >>> net.test_step((torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8)))[0].seg_logits.data.shape
        torch.Size([4, 8, 8])
    """

    model_name: ClassVar[str] = "module"

    def __init__(
        self,
        module: nn.Module | Mapping[str, Any],
        data_preprocessor: object = None,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        threshold: float | None = None,
    ) -> None:
        super().__init__(_built(module))
        model = self.module
        if not callable(getattr(model, "test_step", None)):
            raise TypeError(f"test-time augmentation needs a model with test_step: {type(model).__name__} has none")
        if not isinstance(scales, Sequence) or isinstance(scales, str) or not scales:
            raise ValueError(f"scales: a list of positive factors is expected, not {scales!r}")
        self.scales = [number(scale, "each of scales, positive factors,", above=0) for scale in scales]
        self.flip = flag(flip, "flip")
        self.threshold = None if threshold is None else number(threshold, "threshold", least=0, most=1)

    @torch.no_grad()
    def test_step(self, data: object) -> list[SegDataSample]:
        """Return one sample per image, with the average of its versions' probabilities as `seg_logits`."""
        batches = versions_of(data) if _is_augmented(data) else self._make_versions(data)
        return self.merge_preds(list(zip(*(self.module.test_step(batch) for batch in batches), strict=True)))

    def val_step(self, data: object) -> list[SegDataSample]:
        """Do the same as `test_step`."""
        return self.test_step(data)

    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """Merge the samples of each image's versions into one."""
        return [self._merged(samples) for samples in data_samples_list]

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Call the model's own forward."""
        return self.module(*args, **kwargs)

    def _make_versions(self, data: object) -> list[dict[str, Any]]:
        """Return one batch per version of an ordinary batch."""
        images, samples = _images_and_samples(data)
        sizes = [(scale, mirrored) for mirrored in ([False, True] if self.flip else [False]) for scale in self.scales]
        return [_version(images, samples, scale, mirrored) for scale, mirrored in sizes]

    def _merged(self, samples: Sequence[SegDataSample]) -> SegDataSample:
        """Put the mean of all versions' probabilities into the first sample, and return it."""
        total: torch.Tensor | None = None
        for sample in samples:
            logits = sample.seg_logits.data
            chances = logits.softmax(0) if logits.shape[0] > 1 else logits
            total = chances if total is None else total + chances
        assert total is not None
        mean, merged = total / len(samples), samples[0]
        pixels = type(merged.seg_logits)
        merged.seg_logits, merged.pred_sem_seg = pixels(data=mean), pixels(data=self._labels(mean))
        return merged

    def _labels(self, chances: torch.Tensor) -> torch.Tensor:
        """Return 1 x H x W class indices of C x H x W probabilities."""
        if chances.shape[0] > 1:
            return labels_of(chances)
        threshold = self.threshold if self.threshold is not None else getattr(self.module, "threshold", 0.5)
        return (chances > threshold).long()


def _built(module: nn.Module | Mapping[str, Any]) -> nn.Module:
    """Return the model; a config is built by what is installed for that."""
    if not isinstance(module, Mapping):
        return module
    builder = find_builder(module)
    if builder is None:
        raise TypeError(
            "module is a dict, and nothing that builds models from dicts is installed: give the model itself, or "
            + install_line("seg-registry")
        )
    model: nn.Module = builder.build("model", module)
    return model


def versions_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one batch per version, from a batch whose every value is a list over versions.

    Raises:
        ValueError: the lists differ in length.
    """
    lengths = {name: len(value) for name, value in data.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"test-time augmentation: every value needs one entry per version, but lengths are {lengths}")
    return [{name: value[index] for name, value in data.items()} for index in range(next(iter(lengths.values())))]


def _is_augmented(data: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a batch holds versions of its images."""
    inputs = data.get("inputs") if isinstance(data, Mapping) else None
    return isinstance(inputs, list | tuple) and bool(inputs) and isinstance(inputs[0], list | tuple)


def _images_and_samples(data: object) -> tuple[list[torch.Tensor], list[SegDataSample]]:
    """Return images and samples of an ordinary batch."""
    images, masks = images_and_masks(data)
    samples = data.get("data_samples") if isinstance(data, Mapping) else None
    if samples is None:
        stacked = images if isinstance(images, torch.Tensor) else torch.stack(list(images))
        samples = samples_for(stacked, None if masks is None else masks_on(masks, torch.device("cpu")))
    return list(images), list(samples)


def _version(
    images: Sequence[torch.Tensor], samples: Sequence[SegDataSample], scale: float, mirrored: bool
) -> dict[str, Any]:
    """Scale a batch, and mirror it; write so into copies of its samples."""
    changed = []
    for image in images:
        size = (max(round(image.shape[-2] * scale), 1), max(round(image.shape[-1] * scale), 1))
        scaled = resize(image[None].float(), size)[0] if scale != 1 else image
        changed.append(scaled.flip(-1) if mirrored else scaled)
    twins = []
    for sample, image in zip(samples, changed, strict=True):
        facts = {"img_shape": tuple(image.shape[-2:])}
        twin = sample.new()
        twin.set_metainfo(facts | _flip_facts(sample, mirrored) | _added(sample, scale, mirrored))
        twins.append(twin)
    return {"inputs": changed, "data_samples": twins}


def _added(sample: SegDataSample, scale: float, mirrored: bool) -> dict[str, Any]:
    """Return where the pixels of the version lie that the pipeline had added."""
    if not sample.get("added_pixels"):
        return {}
    left, right, top, bottom = (round(side * scale) for side in sample.get("added_pixels"))
    return {"added_pixels": (right, left, top, bottom) if mirrored else (left, right, top, bottom)}


def _flip_facts(sample: SegDataSample, mirrored: bool) -> dict[str, Any]:
    """Return how the version is flipped, all in all, where the pipeline has flipped the image already."""
    before = sample.get("flip_direction") if sample.get("flip") else None
    if not mirrored:
        return {}
    after = {None: "horizontal", "horizontal": None, "vertical": "diagonal", "diagonal": "vertical"}[before]
    return {"flip": after is not None, "flip_direction": after}
