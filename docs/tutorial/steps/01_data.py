"""Draw photos of fields from above, and their label maps: 0 soil, 1 crop, 2 weed, 255 not labelled."""

from pathlib import Path

import cv2
import numpy as np

SIZE = 128
COUNTS = {"train": 96, "val": 24, "test": 12}
COLOURS = np.array([[70, 95, 130], [60, 130, 70], [60, 145, 105]], np.float32)  # blue, green, red


def draw(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one photo and its label map: rows of crop, some weeds, the light of the day, noise."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    labels = np.zeros((size, size), np.uint8)
    angle, gap = random.uniform(0, np.pi), random.uniform(26, 40)
    across = y * np.cos(angle) + x * np.sin(angle) + 3 * np.sin(random.uniform(0.02, 0.08) * (y - x))
    labels[np.abs((across + random.uniform(0, gap)) % gap - gap / 2) < gap / 5] = 1
    for _ in range(random.integers(3, 9)):
        centre, axes = random.integers(0, size, 2).tolist(), random.integers(4, 12, 2).tolist()
        cv2.ellipse(labels, centre, axes, random.uniform(0, 180), 0, 360, 2, cv2.FILLED)
    light = cv2.GaussianBlur(random.normal(0, 240, (size, size)).astype(np.float32), (0, 0), 9)
    photo = COLOURS[labels] * random.uniform(0.75, 1.15) + light[..., None] + random.normal(0, 14, (size, size, 3))
    labels[:, :4] = 255
    return cv2.GaussianBlur(np.clip(photo, 0, 255).astype(np.uint8), (3, 3), 0), labels


random = np.random.default_rng(0)
for split, count in COUNTS.items():
    for kind in ("images", "labels"):
        Path("data", kind, split).mkdir(parents=True)
    for index in range(count):
        photo, labels = draw(random, SIZE)
        cv2.imwrite(f"data/images/{split}/field_{index:03d}.jpg", photo)
        cv2.imwrite(f"data/labels/{split}/field_{index:03d}.png", labels)
    print(f"{count:3d} photos in data/images/{split}, their label maps in data/labels/{split}")

Path("photos").mkdir()
for index in range(3):
    cv2.imwrite(f"photos/new_{index}.jpg", draw(random, 2 * SIZE)[0])
print("  3 larger photos in photos, without label maps")
