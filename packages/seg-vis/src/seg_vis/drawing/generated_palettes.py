"""Palettes made to measure: as far apart as possible for the eye, also for colour-blind eyes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["generate_palette"]

# Linear RGB as people without red (protanopia) or green (deuteranopia) cones see it.
# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency (2009),
# severity 1.
PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
# Linear sRGB to XYZ (IEC 61966-2-1), rows divided by the white point D65.
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def linear_to_lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB (CIE 15:2004), in which distances are roughly those that people see."""
    t = np.clip(linear, 0.0, 1.0) @ TO_XYZ.T / WHITE
    f = np.where(t > 216 / 24389, np.cbrt(t), t * (841 / 108) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def as_seen(colours: NDArray[np.float64], colour_blind: bool) -> NDArray[np.float64]:
    """Return the colours in CIELAB, to each of E kinds of eyes: E x N x 3."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    eyes = [np.eye(3)] + ([np.array(PROTAN), np.array(DEUTAN)] if colour_blind else [])
    return np.stack([linear_to_lab(linear @ eye.T) for eye in eyes])


def candidates(count: int) -> NDArray[np.float64]:
    """Return a grid of colours, at least four for each one wanted, without black and white (text and background)."""
    steps = max(12, int(np.ceil((4 * count) ** (1 / 3))) + 1)
    axis = np.rint(np.linspace(0, 255, min(steps, 256))) / 255
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    brightness = grid @ [0.299, 0.587, 0.114]
    return grid[(brightness > 0.15) & (brightness < 0.92)]


@cache
def generate_palette(count: int, *, colour_blind: bool = False) -> NDArray[np.uint8]:
    """Return N colours, all different, each as far as possible from those before it; the same for the same call.

    Of two palettes of up to 330 colours the longer one begins with the shorter one.

    Each next colour is the one of a grid whose smallest CIELAB distance to the colours already taken is largest;
    with `colour_blind` the smallest also over simulated protanopia and deuteranopia.

    Raises:
        ValueError: fewer than 1 or more than 4096.

    Example:
        >>> len(set(map(tuple, generate_palette(200).tolist())))
        200
    """
    if not 1 <= count <= 4096:
        raise ValueError(f"a palette has 1 to 4096 colours, got {count}")
    grid = candidates(count)
    seen = as_seen(grid, colour_blind)
    chosen = [int(np.argmax(seen[0] @ [0.0, 1.0, 0.5]))]
    nearest = np.full(len(grid), np.inf)
    for _ in range(count - 1):
        distance = np.linalg.norm(seen - seen[:, chosen[-1]][:, None], axis=2).min(axis=0)
        nearest = np.minimum(nearest, distance)
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
    palette = np.rint(grid[chosen] * 255).astype(np.uint8)
    palette.flags.writeable = False
    return palette
