"""Draw one image: label map, errors, legend. Needs seg-vis, nothing else."""

from __future__ import annotations

import cv2
import numpy as np
from seg_vis import compare, error_map, legend, overlay, panels


def street() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A drawing of a street, its labels, and a prediction with two mistakes."""
    image = np.zeros((240, 480, 3), np.uint8)
    truth = np.zeros((240, 480), np.uint8)
    shapes = {  # label: colour, polygon
        10: ((150, 190, 230), [(0, 0), (480, 0), (480, 120), (0, 120)]),  # sky
        8: ((60, 110, 50), [(300, 60), (480, 40), (480, 150), (300, 140)]),  # vegetation
        2: ((140, 110, 100), [(0, 30), (140, 50), (140, 150), (0, 170)]),  # building
        0: ((90, 90, 95), [(0, 240), (180, 110), (300, 110), (480, 240)]),  # road
        1: ((150, 140, 140), [(0, 240), (180, 110), (130, 110), (0, 170)]),  # sidewalk
        13: ((180, 30, 40), [(230, 140), (300, 140), (310, 190), (225, 190)]),  # car
        255: ((20, 20, 20), [(300, 140), (480, 150), (480, 240)]),  # no label
    }
    for label, (colour, corners) in shapes.items():
        cv2.fillPoly(image, [np.array(corners)], colour)
        cv2.fillPoly(truth, [np.array(corners)], label)
    noise = np.random.default_rng(0).normal(0, 9, image.shape)
    prediction = truth.copy()
    prediction[truth == 255] = 9
    cv2.rectangle(prediction, (225, 165), (312, 190), 0, cv2.FILLED)
    cv2.circle(prediction, (70, 60), 25, 8, cv2.FILLED)
    return np.clip(image + noise, 0, 255).astype(np.uint8), truth, prediction


def main() -> None:
    image, truth, prediction = street()
    picture = overlay(image, prediction, palette="cityscapes", with_labels=True)
    names = legend("cityscapes", labels=prediction, columns=2)
    errors = error_map(image, truth, prediction)
    for name, drawn in {
        "picture": panels([picture, names]),
        "errors": errors,
        "sheet": compare(image, truth, prediction, palette="cityscapes"),
    }.items():
        cv2.imwrite(f"{name}.png", drawn[..., ::-1])
        print(f"wrote {name}.png, {drawn.shape[1]} x {drawn.shape[0]}")


if __name__ == "__main__":
    main()
