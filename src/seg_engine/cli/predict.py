"""Segment images with a checkpoint: overlays and label maps, no data set needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from seg_engine.cli.options import add_trust_option

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `seg predict`."""
    parser.add_argument("checkpoint", help="checkpoint file; the model is built from the config inside it")
    parser.add_argument("images", help="an image, or a folder of images")
    parser.add_argument("--out", default="predicted", metavar="DIR", help="folder to write to (predicted)")
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="how much of the colours covers the image, 0 to 1 (0.5)"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, ...: the best there is, unless given")
    add_trust_option(parser)


def run(options: argparse.Namespace) -> int:
    """Predict."""
    from seg_engine.files import images_in
    from seg_engine.predict import load_model

    paths = images_in(options.images)
    model = load_model(options.checkpoint, device=options.device, trust=options.trust_config, allow=options.allow)
    root = Path(options.images) if Path(options.images).is_dir() else Path(options.images).parent
    for path in paths:
        name = path.relative_to(root).with_suffix(".png")
        prediction = model.predict(path)
        prediction.save(Path(options.out) / "labels" / name, Path(options.out) / "overlays" / name, options.alpha)
    print(f"{len(paths)} images: overlays in {options.out}/overlays, label maps in {options.out}/labels")
    return 0
