"""One street scene from one seed: layout, objects from far to near, then light, haze, blur and noise."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.demo.canvas import UNLABELLED, Canvas, Colour, Labels, smooth_noise
from seg_engine.demo.ground import Street, lay_out, paint_ground, paint_houses, paint_sky
from seg_engine.demo.things import paint_car, paint_person, paint_pole, paint_tree

Thing = tuple[float, Callable[[], None]]


def draw_street(seed: int, index: int, size: int = 192) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Scene number `index` of the series `seed`: RGB picture H x W x 3 and label map H x W, both uint8.

    >>> picture, labels = draw_street(seed=0, index=3, size=96)
    >>> picture.shape, labels.shape
    ((96, 96, 3), (96, 96))
    """
    random = np.random.default_rng([seed, index])
    canvas = Canvas.empty(size, random)
    street = lay_out(random, size)
    sky = paint_sky(canvas)
    paint_houses(canvas, street)
    paint_ground(canvas, street)
    for _, paint in sorted(things(canvas, street), key=lambda thing: thing[0]):
        paint()
    picture = light(canvas, street, sky)
    return picture, unlabel_borders(canvas.labels)


def things(canvas: Canvas, street: Street) -> list[Thing]:
    """Return what stands in this street, each with the height of its foot: painted in that order, far things first."""
    random, size = canvas.random, canvas.size
    chosen: list[Thing] = []
    for kind, low, high in (("tree", 1, 4), ("car", 2, 5), ("person", 2, 6), ("pole", 2, 5)):
        for _ in range(int(random.integers(low, high + 1))):
            foot = street.horizon + (size - street.horizon) * random.uniform(0.08, 0.9) ** 1.3
            chosen.append((foot, place(kind, canvas, street, foot)))
    return chosen


def place(kind: str, canvas: Canvas, street: Street, foot: float) -> Callable[[], None]:
    """Choose where one thing stands at that depth, and return what paints it."""
    random, size = canvas.random, canvas.size
    near = max(street.depth(foot, size), 0.1)
    left, right = street.road_edges(foot, size)
    if kind == "car":
        x = random.uniform(left, right) if random.random() < 0.85 else random.uniform(0, size)
        return lambda: paint_car(canvas, x, foot, size * (0.1 + 0.42 * near))
    if kind == "person":
        x = random.uniform(0.02, 0.98) * size
        return lambda: paint_person(canvas, x, foot, size * (0.13 + 0.34 * near))
    side = random.random() < 0.5
    x = random.uniform(left - 0.3 * size, left) if side else random.uniform(right, right + 0.3 * size)
    if not 0 < x < size:
        x = random.uniform(0, size)
    if kind == "tree":
        return lambda: paint_tree(canvas, x, foot, size * (0.3 + 0.5 * near))
    return lambda: paint_pole(canvas, x, foot, size * (0.3 + 0.55 * near))


def light(canvas: Canvas, street: Street, sky: Colour) -> npt.NDArray[np.uint8]:
    """Haze towards the horizon, light and shadow across the picture, colour temperature, blur, sensor noise."""
    random, size = canvas.random, canvas.size
    picture = canvas.picture
    rows = np.arange(size, dtype=np.float32)[:, None, None]
    haze = random.uniform(0, 0.35) * np.exp(-np.abs(rows - street.horizon) / (0.2 * size))
    picture = picture * (1 - haze) + np.asarray(sky, np.float32) * haze
    patches = 1 + random.uniform(0.05, 0.3) * smooth_noise(random, size, int(random.integers(2, 5)))[..., None]
    warmth = random.normal(0, 0.07)
    tint = np.asarray((1 + warmth, 1 + random.normal(0, 0.02), 1 - warmth), np.float32)
    picture = np.clip(picture * patches * tint * random.uniform(0.55, 1.25), 0, 255)
    picture = 255 * (picture / 255) ** random.uniform(0.8, 1.25)
    picture = cv2.GaussianBlur(picture.astype(np.float32), (3, 3), random.uniform(0.3, 0.7))
    picture = picture + random.normal(0, random.uniform(3, 12), picture.shape)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def unlabel_borders(labels: Labels) -> Labels:
    """Set the first pixel beyond each border between two classes to 255, as annotators leave it."""
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return np.where(border, np.uint8(UNLABELLED), labels)
