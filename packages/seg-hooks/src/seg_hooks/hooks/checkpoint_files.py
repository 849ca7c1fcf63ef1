"""Checkpoint files: their names, which of them go, and published copies."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from seg_hooks.files import write_whole
from seg_hooks.model.finite import is_marked
from seg_hooks.read_checkpoint import load_bounded

__all__ = ["file_key", "publish", "surplus", "template"]

Kept = TypeVar("Kept")

LONGEST_NAME = 255
"""Bytes that file systems allow a name, and the widest that a number in one is written."""
LONGEST_KEY = 120
"""Bytes of a metric's name in a file name, of which a system takes 255 in all."""


def template(owner: str, value: str | None, by_epoch: bool) -> str:
    """Check the template of file names: exactly one `{}`; `{:06d}` writes the count with six digits."""
    if value is None:
        return "epoch_{}.pth" if by_epoch else "iter_{}.pth"
    try:
        parsed = [(field, spec or "") for _, field, spec, _ in string.Formatter().parse(value) if field is not None]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{owner}: filename_tmpl={value!r} is not a template; write e.g. 'iter_{{}}.pth'.") from error
    if [field for field, _ in parsed] != [""] or "/" in value or "\0" in value:
        raise ValueError(
            f"{owner}: filename_tmpl={value!r} must be a file name with exactly one {{}}: 'iter_{{}}.pth'."
        )
    _try_name(owner, value, parsed[0][1])
    return value


def _try_name(owner: str, value: str, spec: str) -> None:
    """Refuse a template that cannot name a file, before a number as wide as it asks for is written."""
    start = f"{owner}: filename_tmpl={value[:LONGEST_NAME]!r}"
    digits = re.findall("[0-9]+", spec)
    if len(value) > LONGEST_NAME or any(len(one.lstrip("0")) > 3 or int(one) > LONGEST_NAME for one in digits):
        raise ValueError(f"{start} makes file names longer than the {LONGEST_NAME} bytes allowed; shorten it.")
    try:
        size = len(os.fsencode(f"best_{value.format(10**9)}"))
    except (ValueError, LookupError, OverflowError) as error:
        raise ValueError(f"{start} cannot write a count: {error}; write e.g. 'iter_{{:06d}}.pth'.") from error
    if size > LONGEST_NAME:
        raise ValueError(f"{start} makes file names longer than the {LONGEST_NAME} bytes allowed; shorten it.")


def file_key(key: str) -> str:
    """Return a metric's name as part of a file name; a long expression is cut, and told apart by its hash.

    Example:
        >>> file_key("coco/bbox_mAP"), file_key("0.5*mIoU + 0.5*mDice")
        ('coco_bbox_mAP', '0.5_mIoU+0.5_mDice')
    """
    name = re.sub(r"[^\w.@+-]+", "_", re.sub(r"\s+", "", key))
    data = name.encode("utf-8", "replace")
    if len(data) <= LONGEST_KEY:
        return name
    return f"{data[:LONGEST_KEY].decode('utf-8', 'ignore')}_{hashlib.sha256(data).hexdigest()[:8]}"


def surplus(kept: Sequence[Kept], most: int) -> list[Kept]:
    """List which of the kept ones go when only the newest `most` may stay; none for `most` <= 0."""
    return list(kept[:-most]) if most > 0 else []


def publish(path: Path, keys: Sequence[str], logger: logging.Logger) -> Path | None:
    """Write `<stem>-<first 8 hex digits of the SHA-256>.pth` beside a checkpoint, with these top-level keys only.

    Nothing where the weights are not finite.
    """
    checkpoint = load_bounded(path)
    if is_marked(checkpoint):
        logger.warning("%s is not published: its weights are not finite.", path.name)
        return None
    missing = [key for key in keys if key not in checkpoint]
    if missing:
        logger.warning("published_keys: %s has no %s; it holds %s", path.name, missing, sorted(checkpoint))
    buffer = io.BytesIO()
    torch.save({key: checkpoint[key] for key in keys if key in checkpoint}, buffer)
    data = buffer.getbuffer()
    target = path.with_name(f"{path.stem}-{hashlib.sha256(data).hexdigest()[:8]}.pth")
    write_whole(target, data)
    logger.info("The checkpoint %s is published as %s.", path.name, target.name)
    return target
