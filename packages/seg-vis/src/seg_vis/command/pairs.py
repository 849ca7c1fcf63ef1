"""Which mask belongs to which image, by their names."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["find_pairs"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
TAIL = re.compile(r"[_\-.]?(leftImg8bit|gtFine_labelTrainIds|gtFine_labelIds|labelTrainIds|labels?|mask|image|img|gt)$")


def pictures_in(folder: Path) -> list[Path]:
    """Return image files of a folder and its sub-folders."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def key(path: Path, folder: Path) -> tuple[str, ...]:
    """Return a file's name from the folder on, without its ending and what data sets append (`_leftImg8bit`)."""
    parts = path.relative_to(folder).with_suffix("").parts
    return (*parts[:-1], TAIL.sub("", parts[-1]) or parts[-1])


def find_pairs(images: Path, masks: Path, leave_out: Path | None = None) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return images with the mask of the same name, and images without one; none of those in `leave_out`.

    Names are equal but for their ending and a tail such as `_leftImg8bit` or `_gtFine_labelTrainIds`; a mask with the
    very same name goes first.
    """
    exact = {path.relative_to(masks).with_suffix(""): path for path in pictures_in(masks)}
    loose = {key(path, masks): path for path in reversed(pictures_in(masks))}
    pairs, alone = [], []
    for image in pictures_in(images):
        if leave_out is not None and leave_out != images and leave_out.resolve() in image.resolve().parents:
            continue
        mask = exact.get(image.relative_to(images).with_suffix("")) or loose.get(key(image, images))
        if mask is None:
            alone.append(image)
        else:
            pairs.append((image, mask))
    return pairs, alone
