"""Look at some photos under their label maps, and count the pixels of each class."""

from pathlib import Path

import cv2
import numpy as np
from seg_vis import legend, overlay, panels

CLASSES = ("soil", "crop", "weed")
PALETTE = [(133, 94, 66), (60, 160, 60), (220, 50, 150)]  # red, green, blue

paths = sorted(Path("data/images/train").glob("*.jpg"))
counts, pictures = np.zeros(256, int), []
for path in paths:
    labels = cv2.imread(f"data/labels/train/{path.stem}.png", cv2.IMREAD_UNCHANGED)
    counts += np.bincount(labels.ravel(), minlength=256)
    if len(pictures) < 8:
        photo = cv2.imread(str(path))[..., ::-1]
        pictures += [photo, overlay(photo, labels, palette=PALETTE, alpha=0.6)]

for label in np.flatnonzero(counts):
    name = CLASSES[label] if label < len(CLASSES) else "not labelled"
    print(f"{label:3d} {name:13s}{100 * counts[label] / counts.sum():5.1f} %")
sheet = panels(pictures, columns=4)
cv2.imwrite("look.png", np.asarray(panels([sheet, legend(PALETTE, CLASSES)]))[..., ::-1])
