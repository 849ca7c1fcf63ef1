"""A picture of what the demo reached: `python -m seg_engine.demo.picture work_dirs/demo docs/demo.png`.

Rows of validation scenes: image, ground truth, prediction, and where the two differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["demo_picture", "main"]

SCENES = (0, 36)


def demo_picture(demo: Path, scenes: Sequence[int] = SCENES) -> npt.NDArray[np.uint8]:
    """Draw the sheet from the newest best checkpoint under `demo`; H x W x 3, RGB.

    Raises:
        FileNotFoundError: no run has left a best checkpoint there.
    """
    import cv2
    from seg_vis import compare, legend

    from seg_engine.data.files import read_picture
    from seg_engine.predict import load_model

    found = sorted(demo.glob("*/best_mIoU_*.pth"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise FileNotFoundError(f"no best checkpoint under {demo}: run `seg demo --out {demo}` first")
    model = load_model(found[-1])
    rows = []
    for index in scenes:
        name = f"validation/street_{index:05d}.png"
        prediction = model.predict(demo / "street_scenes" / "images" / name)
        truth = read_picture(demo / "street_scenes" / "annotations" / name, cv2.IMREAD_UNCHANGED)
        rows.append(compare(prediction.image, truth, prediction.labels, palette=prediction.palette, alpha=0.7))
    sheet = few_tones(np.concatenate(rows))
    key = legend(prediction.palette, prediction.classes)
    return np.concatenate([sheet, fitted(key, len(sheet))], 1)


def few_tones(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the picture in steps of 8: noise that nobody sees makes a PNG file twice as large."""
    return np.where(picture >= 248, 255, picture & 0xF8).astype(np.uint8)


def fitted(picture: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.uint8]:
    """White space below a picture, or its upper part, so that it has the height."""
    picture = picture[:height]
    missing = height - len(picture)
    return np.pad(picture, ((0, missing), (0, 0), (0, 0)), constant_values=255)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    import cv2

    parser = argparse.ArgumentParser(prog="python -m seg_engine.demo.picture", description=__doc__)
    parser.add_argument("demo", type=Path, help="folder that `seg demo` wrote to")
    parser.add_argument("out", type=Path, help="PNG file to write")
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(options.out), demo_picture(options.demo)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"could not write {options.out}")
    print(f"{options.out}: {options.out.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
