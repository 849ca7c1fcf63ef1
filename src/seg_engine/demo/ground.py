"""What everything stands on and before: sky, rows of houses, road and pavement in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_engine.demo.canvas import BUILDING, PAVEMENT, ROAD, SKY, Canvas, Colour, any_colour, grain, smooth_noise

SKIES: tuple[Colour, ...] = (
    (120, 160, 205),
    (165, 166, 170),
    (210, 165, 130),
    (95, 105, 125),
    (200, 205, 215),
    (130, 112, 118),
)


@dataclass(frozen=True)
class Street:
    """Where the street lies: the horizon's height, the vanishing point, and the road's edges at the lower border."""

    horizon: float
    centre: float
    left: float
    right: float

    def depth(self, y: float, size: int) -> float:
        """Return 0 at the horizon, 1 at the lower border: how large something standing at `y` looks."""
        return (y - self.horizon) / (size - self.horizon)

    def road_edges(self, y: float, size: int) -> tuple[float, float]:
        """Left and right border of the road at height `y`."""
        near = self.depth(y, size)
        return self.centre + (self.left - self.centre) * near, self.centre + (self.right - self.centre) * near


def lay_out(random: np.random.Generator, size: int) -> Street:
    """Return a random camera: high or low horizon, road to the left, ahead or to the right."""
    street = Street(
        horizon=size * random.uniform(0.34, 0.58),
        centre=size * random.uniform(0.2, 0.8),
        left=size * random.uniform(-0.45, 0.3),
        right=size * random.uniform(0.65, 1.45),
    )
    random.uniform()  # a number that was used once: without it, every scene after this would be another one
    return street


def paint_sky(canvas: Canvas) -> Colour:
    """Sky with clouds from top to bottom; returns its colour, which haze takes up."""
    random = canvas.random
    colour = SKIES[int(random.integers(len(SKIES)))]
    rows = np.linspace(-1, 1, canvas.size, dtype=np.float32)[:, None, None]
    clouds = smooth_noise(random, canvas.size, int(random.integers(3, 7)))[..., None] * random.uniform(5, 40)
    canvas.paint(canvas.mask() + 1, np.asarray(colour, np.float32) + 20 * rows + clouds, SKY)
    return colour


def paint_houses(canvas: Canvas, street: Street) -> None:
    """Paint houses side by side along the horizon, higher at the picture's sides, with gaps where the sky shows."""
    random = canvas.random
    x = -random.uniform(0, 30)
    while x < canvas.size:
        width = random.uniform(20, 60)
        away = abs(x + width / 2 - street.centre) / canvas.size
        height = canvas.size * (random.uniform(0.08, 0.3) + 0.5 * away * random.uniform(0.3, 1))
        if random.random() < 0.8:
            paint_house(canvas, round(x), round(x + width), round(street.horizon - height), round(street.horizon) + 6)
        x += width + (random.uniform(4, 30) if random.random() < 0.3 else 0)


def paint_house(canvas: Canvas, left: int, right: int, top: int, bottom: int) -> None:
    """Paint one house: a wall with courses, perhaps a roof, and a grid of windows that is its mark."""
    import cv2

    random, mask = canvas.random, canvas.mask()
    cv2.rectangle(mask, (left, top), (right, bottom), 1, -1)
    if random.random() < 0.4:
        peak = round(top - random.uniform(6, 20))
        cv2.fillPoly(mask, [np.array([(left, top), ((left + right) // 2, peak), (right, top)])], 1)
    wall = any_colour(random)
    canvas.paint(mask, grain(random, canvas.size, wall, 8, 48), BUILDING)
    windows, step = canvas.mask(), int(random.integers(8, 14))
    wide, high = step // 2, round(step * random.uniform(0.45, 0.7))
    for y in range(top + 4, bottom - high, step):
        for x in range(left + 3, right - wide, step):
            cv2.rectangle(windows, (x, y), (x + wide - 1, y + high - 1), 1, -1)
    light = random.uniform(0.4, 0.7) if random.random() < 0.7 else random.uniform(1.3, 1.6)
    canvas.shade(windows * mask, light)


def paint_ground(canvas: Canvas, street: Street) -> None:
    """Pavement with flags on both sides, and the road between, which may be any grey that a pavement is."""
    random, size = canvas.random, canvas.size
    ground = canvas.mask()
    ground[round(street.horizon) :] = 1
    canvas.paint(ground, flags(canvas, street, ground_colour(random)), PAVEMENT)
    road = canvas.mask()
    rows = np.arange(round(street.horizon), size)
    columns = np.arange(size)
    left, right = np.array([street.road_edges(float(y), size) for y in rows]).T
    road[rows] = (columns >= left[:, None]) & (columns <= right[:, None])
    canvas.paint(road, grain(random, size, ground_colour(random), 5, 96), ROAD)
    paint_lane(canvas, street, road)


def ground_colour(random: np.random.Generator) -> Colour:
    """Asphalt or stone: one range of greys for both, a little warm or cold."""
    grey, warm = random.uniform(65, 175), random.normal(0, 14)
    return grey + warm, grey, grey - warm


def flags(canvas: Canvas, street: Street, colour: Colour) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Paving flags: joints that close up towards the horizon."""
    size = canvas.size
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    near = np.clip((y - street.horizon) / (size - street.horizon), 0.02, 1)
    across = (x - street.centre) / near / 16
    along = 5 / near
    joint = (np.mod(across, 1) < 0.16) | (np.mod(along, 1) < 0.16)
    texture = grain(canvas.random, size, colour, 6, 64)
    return np.where(joint[..., None], texture * canvas.random.uniform(0.7, 0.85), texture).astype(np.float32)


def paint_lane(canvas: Canvas, street: Street, road: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Paint a broken line along the middle of the road, and a line at each kerb."""
    import cv2

    size, marks = canvas.size, canvas.mask()
    for share in (0.03, 0.5, 0.97):
        bottom = street.left + (street.right - street.left) * share
        for start in np.arange(0.05, 1, 0.14):
            ends = [start, start + (0.07 if share == 0.5 else 0.14)]
            points = [
                (
                    round(street.centre + (bottom - street.centre) * e),
                    round(street.horizon + (size - street.horizon) * e),
                )
                for e in ends
            ]
            cv2.line(marks, points[0], points[1], 1, max(1, round(3 * start)))
    canvas.shade(marks * road, 1.45)
