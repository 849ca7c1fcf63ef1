"""Photometric distortion of a batch of images on its device: brightness, contrast, saturation, hue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from seg_runner.checks import number
from seg_runner.errors import check_options

__all__ = ["Distortion", "Draws", "distorted", "distortion_from"]

TURN = 180
"""A whole turn of the hue, as OpenCV counts it in bytes."""
EXACT = 1e-3
"""Less than this is an error of floats, and no reason to round a whole number down."""


class Draws(NamedTuple):
    """What was drawn for each image of a batch: N x 1 x 1 x 1 each."""

    brightness: torch.Tensor  # added to all values
    contrast: torch.Tensor  # factor of all values
    contrast_first: torch.Tensor  # 1: before the colours are changed, 0: after it
    saturation: torch.Tensor  # factor of the saturation
    saturated: torch.Tensor  # 1: the saturation is changed, 0: it is left alone
    hue: torch.Tensor  # added to the hue, of 180
    turned: torch.Tensor  # 1: the hue is changed, 0: it is left alone


class Distortion:
    """Random brightness, contrast, saturation and hue, each with probability one half, as `PhotoMetricDistortion`.

    The numbers come from torch's generator of the main process, which a run seeds for each step.

    Args:
        brightness_delta: Most that is added or taken off.
        contrast_range: Smallest and largest factor on all values.
        saturation_range: Smallest and largest factor on the saturation.
        hue_delta: Most that the hue turns, of 180.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        where = "data_preprocessor.photometric_distortion"
        self.brightness_delta = number(brightness_delta, f"{where}.brightness_delta", least=0, most=255)
        self.hue_delta = number(hue_delta, f"{where}.hue_delta", least=0, most=TURN)
        self.contrast_range = _span(contrast_range, f"{where}.contrast_range")
        self.saturation_range = _span(saturation_range, f"{where}.saturation_range")

    def draw(self, count: int, device: torch.device) -> Draws:
        """Draw the numbers of so many images on the CPU, and bring them to the device."""
        coins = torch.rand(count, 5) < 0.5
        change, contrast, first, saturate, turn = coins.unbind(1)
        shares = torch.rand(count, 4)
        brightness = self.brightness_delta * (2 * shares[:, 0] - 1) * change
        factor = torch.where(contrast, _between(self.contrast_range, shares[:, 1]), 1.0)
        saturation = torch.where(saturate, _between(self.saturation_range, shares[:, 2]), 1.0)
        steps = 2 * self.hue_delta  # from -hue_delta to hue_delta - 1, as the transform draws them
        hue = ((shares[:, 3] * steps).floor().clamp(max=max(steps - 1, 0)) - self.hue_delta) * turn
        turn = turn & (self.hue_delta > 0)
        drawn = [brightness, factor, first, saturation, saturate, hue, turn]
        row = torch.stack([one.float() for one in drawn])
        return Draws(*row.to(device, non_blocking=True).view(len(drawn), count, 1, 1, 1).unbind(0))

    def __call__(self, images: torch.Tensor, bgr: bool) -> torch.Tensor:
        """Return N x 3 x H x W images, 0 ... 255, with other colours: whole numbers in floats.

        Raises:
            ValueError: They have other than 3 channels.
        """
        if images.shape[1] != 3:
            raise ValueError(
                f"data_preprocessor.photometric_distortion changes colours, and images have {images.shape[1]} channels"
            )
        return distorted(images, self.draw(len(images), images.device), bgr)


def distorted(images: torch.Tensor, draws: Draws, bgr: bool) -> torch.Tensor:
    """Return images with other colours, where values are cut to bytes whenever `PhotoMetricDistortion` cuts them.

    Args:
        images: N x 3 x H x W, 0 ... 255.
        draws: The numbers.
        bgr: Blue is the first channel, not red.
    """
    first, still = draws.contrast_first > 0, torch.zeros_like(draws.hue)
    values = _bytes(images.float() + draws.brightness)
    values = torch.where(first, _bytes(values * draws.contrast), values)
    values = torch.where(draws.saturated > 0, _recoloured(values, draws.saturation, still, bgr), values)
    values = torch.where(draws.turned > 0, _recoloured(values, torch.ones_like(still), draws.hue, bgr), values)
    return torch.where(first, values, _bytes(values * draws.contrast))


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(0, 255).floor()


def _recoloured(values: torch.Tensor, saturation: torch.Tensor, hue: torch.Tensor, bgr: bool) -> torch.Tensor:
    """Change saturation and hue by way of HSV in bytes (hue: 0 ... 179), rounded as by OpenCV 5."""
    red, green, blue = (values[:, channel : channel + 1] for channel in ((2, 1, 0) if bgr else (0, 1, 2)))
    top = values.amax(1, keepdim=True)
    spread = top - values.amin(1, keepdim=True)
    by = spread.clamp(min=1)
    turned = torch.where(
        top == red,
        (green - blue) / by,
        torch.where(top == green, 2 + (blue - red) / by, 4 + (red - green) / by),
    )
    turned = (turned * (TURN / 6) + 0.5).floor().remainder(TURN)
    strength = (255 * spread / top.clamp(min=1) + 0.5).floor()
    turned = (turned + hue).remainder(TURN) * (6 / TURN)
    strength = (strength * saturation).clamp(0, 255).floor() / 255
    places = torch.tensor([1.0, 3.0, 5.0] if bgr else [5.0, 3.0, 1.0], device=values.device).view(1, 3, 1, 1)
    away = (places + turned).remainder(6)
    return (top - top * strength * torch.minimum(away, 4 - away).clamp(0, 1) + EXACT).floor()


def distortion_from(options: Mapping[str, object] | None) -> Distortion | None:
    """Return the distortion that a config asks for; None where it asks for none.

    >>> distortion_from(None), distortion_from({"hue_delta": 9}).hue_delta
    (None, 9)
    """
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise TypeError(
            "data_preprocessor.photometric_distortion must be a dict such as dict(brightness_delta=32), or dict() for "
            f"the usual numbers, not {options!r}"
        )
    check_options(Distortion, options, "data_preprocessor.photometric_distortion")
    return Distortion(**options)  # type: ignore[arg-type]  # checked in there


def _between(span: tuple[float, float], shares: torch.Tensor) -> torch.Tensor:
    return span[0] + (span[1] - span[0]) * shares


def _span(given: Sequence[float], where: str) -> tuple[float, float]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise TypeError(f"{where} must be two numbers, the smallest and the largest, not {given!r}")
    low, high = (float(number(one, where, least=0, most=1000)) for one in given)
    if low > high:
        raise ValueError(f"{where}: the smallest number comes first, not {given!r}")
    return low, high
