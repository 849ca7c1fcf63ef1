"""Publishing: a copy of a checkpoint with a few keys only, its hash in the name."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from seg_hooks.files import write_whole
from seg_hooks.model.finite import is_marked
from seg_hooks.read_checkpoint import load_bounded

__all__ = ["publish"]


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
