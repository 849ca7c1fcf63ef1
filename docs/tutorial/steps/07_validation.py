"""Put the last validation's pictures into one, and print how the score rose."""

import json
from pathlib import Path

import cv2
import numpy as np

rows = [json.loads(line) for path in sorted(Path("run").glob("*/vis_data/scalars.json")) for line in path.open()]
for row in rows:
    if "mIoU" in row:
        print(f"step {row['step']:3d}   mIoU {row['mIoU']:.1f}")

pictures = [cv2.imread(str(path)) for path in sorted(Path("run").glob("*/vis_data/vis_image/*_120.png"))]
cv2.imwrite("validation.png", np.concatenate(pictures))
