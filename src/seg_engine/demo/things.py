"""What stands in the street: cars, people, trees, poles with signs. Each hides what lies behind it."""

from __future__ import annotations

import cv2
import numpy as np

from seg_engine.demo.canvas import CAR, PERSON, POLE, TREE, Canvas, Colour, any_colour, smooth_noise

# Summer, autumn, blossom, frost.
LEAVES: tuple[Colour, ...] = (
    (75, 110, 65),
    (110, 130, 80),
    (150, 120, 65),
    (120, 75, 60),
    (110, 110, 105),
    (185, 150, 155),
)


def point(x: float, y: float) -> tuple[int, int]:
    """Return a pixel position."""
    return round(x), round(y)


def paint_car(canvas: Canvas, x: float, foot: float, scale: float) -> None:
    """Paint a car from the side or the rear: body, cabin with dark glass, wheels, a shadow on the ground."""
    random = canvas.random
    rear = random.random() < 0.45
    wide, high = (0.62 * scale, 0.5 * scale) if rear else (1.15 * scale, 0.42 * scale)
    shadow, mask, glass, wheels = canvas.mask(), canvas.mask(), canvas.mask(), canvas.mask()
    cv2.ellipse(shadow, point(x, foot), (round(wide * 0.58), max(1, round(high * 0.14))), 0, 0, 360, 1, -1)
    canvas.shade(shadow, 0.55)
    half, roof, belt = wide / 2, foot - high, foot - high * 0.52
    cv2.rectangle(mask, point(x - half, belt), point(x + half, foot - high * 0.12), 1, -1)
    inset = 0.12 if rear else 0.24
    cabin = [(x - half * (1 - inset / 2), belt), (x - half * (1 - inset * 1.7), roof)]
    cabin += [(x + half * (1 - inset * 1.7), roof), (x + half * (1 - inset / 2), belt)]
    cv2.fillPoly(mask, [np.array([point(*corner) for corner in cabin])], 1)
    panes = [(x + (px - x) * 0.82, roof + high * 0.07 if py == roof else belt - high * 0.04) for px, py in cabin]
    cv2.fillPoly(glass, [np.array([point(*corner) for corner in panes])], 1)
    for side in (-0.62, 0.62):
        cv2.circle(wheels, point(x + half * side, foot - high * 0.13), max(1, round(high * 0.19)), 1, -1)
    canvas.paint(mask, any_colour(random), CAR)
    canvas.paint(wheels, (28, 28, 30), CAR)
    canvas.shade(glass, 0.5 if random.random() < 0.8 else 1.4)
    if rear:
        lamps = canvas.mask()
        for side in (-0.8, 0.8):
            cv2.circle(lamps, point(x + half * side, belt + high * 0.12), max(1, round(high * 0.07)), 1, -1)
        canvas.paint(lamps, (200, 40, 35), None)


def paint_person(canvas: Canvas, x: float, foot: float, scale: float) -> None:
    """Somebody standing or walking: head, coat, two legs, perhaps an arm held out."""
    random, high = canvas.random, scale
    head, coat, legs = canvas.mask(), canvas.mask(), canvas.mask()
    wide = high * random.uniform(0.26, 0.34)
    stride = wide * random.uniform(0.1, 0.55)
    neck, hip = foot - high * 0.84, foot - high * 0.45
    thick = max(2, round(wide * 0.36))
    for side in (-1, 1):
        cv2.line(legs, point(x + side * wide * 0.2, hip), point(x + side * stride, foot), 1, thick)
    body = [(x - wide * 0.5, neck), (x + wide * 0.5, neck), (x + wide * 0.4, hip), (x - wide * 0.4, hip)]
    cv2.fillPoly(coat, [np.array([point(*corner) for corner in body])], 1)
    if random.random() < 0.5:
        side = 1 if random.random() < 0.5 else -1
        cv2.line(coat, point(x, neck + high * 0.06), point(x + side * wide * 0.8, hip), 1, max(1, thick - 1))
    cv2.circle(head, point(x, foot - high * 0.91), max(2, round(high * 0.09)), 1, -1)
    skin = np.asarray((205, 160, 130)) * random.uniform(0.4, 1.1)
    canvas.paint(legs, any_colour(random), PERSON)
    canvas.paint(coat, any_colour(random), PERSON)
    canvas.paint(head, (float(skin[0]), float(skin[1]), float(skin[2])), PERSON)


def paint_tree(canvas: Canvas, x: float, foot: float, scale: float) -> None:
    """Paint a trunk and a crown of many blobs, mottled: green, yellow, brown or bare grey."""
    random = canvas.random
    trunk, crown = canvas.mask(), canvas.mask()
    top = foot - scale * random.uniform(0.4, 0.55)
    cv2.line(trunk, point(x, foot), point(x, top), 1, max(2, round(scale * 0.07)))
    radius = scale * random.uniform(0.2, 0.3)
    for _ in range(int(random.integers(7, 12))):
        angle, away = random.uniform(0, 2 * np.pi), radius * random.uniform(0, 0.9)
        centre = point(x + np.cos(angle) * away, top - radius * 0.7 + np.sin(angle) * away)
        cv2.circle(crown, centre, max(2, round(radius * random.uniform(0.35, 0.65))), 1, -1)
    leaf = np.asarray(LEAVES[int(random.integers(len(LEAVES)))], np.float32) * random.uniform(0.7, 1.2)
    mottle = smooth_noise(random, canvas.size, 56)[..., None] * random.uniform(22, 40)
    canvas.paint(trunk, (85.0, 70.0, 58.0), TREE)
    canvas.paint(crown, (leaf + mottle).astype(np.float32), TREE)


def paint_pole(canvas: Canvas, x: float, foot: float, scale: float) -> None:
    """Paint a lamp post or a sign post: thin, of the colour of its surroundings, with a lamp or a sign on top."""
    random = canvas.random
    post, sign = canvas.mask(), canvas.mask()
    top = foot - scale
    thick = max(3, round(scale * 0.035))
    cv2.line(post, point(x, foot), point(x, top), 1, thick)
    kind = int(random.integers(3))
    size = max(4, round(scale * 0.09))
    if kind == 0:
        side = 1 if random.random() < 0.5 else -1
        cv2.line(post, point(x, top), point(x + side * scale * 0.22, top), 1, thick)
    elif kind == 1:
        cv2.circle(sign, point(x, top + size), size, 1, -1)
    else:
        cv2.rectangle(sign, point(x - size * 1.3, top), point(x + size * 1.3, top + size * 1.4), 1, -1)
    grey = random.uniform(50, 175)
    canvas.paint(post, (grey, grey, grey), POLE)
    face = any_colour(random)
    canvas.paint(sign, face, POLE)
    inner = np.asarray(cv2.erode(sign, np.ones((3, 3), np.uint8)), np.uint8)
    canvas.paint(sign - inner, (235.0, 235.0, 235.0) if sum(face) < 400 else (40.0, 40.0, 45.0), None)
