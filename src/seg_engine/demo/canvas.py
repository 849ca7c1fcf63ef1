"""A picture and its label map, painted together: what is painted later hides what was painted before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]

CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "person", "pole")
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON, POLE = range(8)
PALETTE = (
    (110, 170, 235),
    (160, 120, 90),
    (90, 90, 100),
    (225, 190, 215),
    (60, 150, 70),
    (40, 60, 190),
    (220, 50, 60),
    (245, 205, 60),
)
UNLABELLED = 255


@dataclass
class Canvas:
    """One scene being painted: `picture` is H x W x 3 in 0..255 (RGB), `labels` is H x W."""

    picture: Picture
    labels: Labels
    random: np.random.Generator

    @classmethod
    def empty(cls, size: int, random: np.random.Generator) -> Canvas:
        """Return a black square with nothing labelled."""
        return cls(np.zeros((size, size, 3), np.float32), np.full((size, size), UNLABELLED, np.uint8), random)

    @property
    def size(self) -> int:
        """Side length in pixels."""
        return len(self.labels)

    def mask(self) -> Mask:
        """Return an empty mask to draw shapes into."""
        return np.zeros_like(self.labels)

    def paint(self, mask: Mask, colour: Colour | Picture, label: int | None) -> None:
        """Cover the mask with a colour or a texture; `label=None` keeps the labels (details on an object)."""
        where = mask > 0
        paint = np.asarray(colour, np.float32)
        self.picture[where] = paint[where] if paint.ndim == 3 else paint
        if label is not None:
            self.labels[where] = label

    def shade(self, mask: Mask, factor: float) -> None:
        """Make what lies under the mask darker (below 1) or lighter."""
        self.picture[mask > 0] *= factor


def smooth_noise(random: np.random.Generator, size: int, cells: int) -> npt.NDArray[np.float32]:
    """Soft noise in -1..1, `cells` blobs across."""
    import cv2

    coarse = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def grain(random: np.random.Generator, size: int, colour: Colour, strength: float, cells: int) -> Picture:
    """Return a texture of one colour with blobs of `cells` across the picture."""
    noise = smooth_noise(random, size, cells)[..., None]
    return np.asarray(np.asarray(colour, np.float32) + strength * noise, np.float32)


def any_colour(random: np.random.Generator) -> Colour:
    """Return any colour that a house, a car or a coat may have: greys, browns, brick, blues, greens, cream."""
    kinds = (
        (120, 120, 125),
        (150, 110, 80),
        (150, 70, 60),
        (80, 105, 150),
        (85, 120, 85),
        (200, 190, 165),
        (60, 60, 65),
    )
    base = np.asarray(kinds[int(random.integers(len(kinds)))], np.float64)
    red, green, blue = np.clip(base * random.uniform(0.65, 1.35) + random.normal(0, 14, 3), 15, 245)
    return float(red), float(green), float(blue)
