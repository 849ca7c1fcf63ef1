"""The command: one image and its mask, or two folders of them."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_vis.arrays import Image, Labels, check_bands, check_stretch, to_rgb
from seg_vis.checks import check_alpha, check_label, check_labels
from seg_vis.command.masks import read_mask
from seg_vis.command.pairs import find_pairs
from seg_vis.command.progress import Progress
from seg_vis.drawing.legends import legend
from seg_vis.drawing.overlays import overlay
from seg_vis.drawing.palettes import get_palette
from seg_vis.drawing.sheets import panels
from seg_vis.files import clean_leftovers, read_image, write_image
from seg_vis.names import printable

__all__ = ["main"]

FEW = 5
"""So many images without a mask are named; the others are counted."""
Job = tuple[Path, Path, Path]
"""Image, mask and the picture's file."""


DARK = 2**13
"""An image of 16 bits without a larger value is nearly black on a screen."""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    top = argparse.ArgumentParser(prog="python -m seg_vis", description="Segmentation pictures from files.")
    verbs = top.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("overlay", help="label maps over images", description="Tint images by their label maps.")
    verb.add_argument("image", type=_path, help="an image, or a folder of images")
    verb.add_argument("mask", type=_path, help="its label map (labels as grey values, or colours), or a folder of them")
    verb.add_argument("--palette", default="cityscapes", help="a data set, distinct or colour_blind (%(default)s)")
    verb.add_argument("--out", type=_path, help="the picture, or the folder for pictures (default: *_overlay.png here)")
    verb.add_argument("--alpha", type=float, default=0.5, help="weight of the colours, 0 to 1 (%(default)s)")
    verb.add_argument("--ignore-index", type=int, default=255, help='the label that means "no label" (%(default)s)')
    verb.add_argument("--only", type=int, nargs="+", metavar="LABEL", help="paint these labels only")
    verb.add_argument("--names", action="store_true", help="write class names into the picture")
    verb.add_argument("--legend", action="store_true", help="put a legend on the right")
    verb.add_argument("--bands", type=int, nargs="+", metavar="BAND", help="channels for red, green, blue (from 0)")
    verb.add_argument("--stretch", type=float, nargs=2, metavar=("LOW", "HIGH"), help="percentiles that become 0, 255")
    return top


def _path(text: str) -> Path:
    """Return a path; an empty text, as a shell makes of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; the current folder is '.'")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every picture was written."""
    options = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = one_line
        try:
            check_options(options)
            jobs = plan(options)
        except (ValueError, TypeError, OSError) as error:
            print(f"seg_vis: {printable(error)}", file=sys.stderr)
            return 2
        for folder in {target.parent for _, _, target in jobs}:
            clean_leftovers(folder)
        try:
            failed = draw_all(jobs, options)
        except KeyboardInterrupt:
            print("seg_vis: stopped; every picture that is there is whole", file=sys.stderr)
            return 130
    where = options.out or (jobs[0][2] if len(jobs) == 1 else jobs[0][2].parent)
    done = len(jobs) - failed
    print(printable(f"{done} of {len(jobs)} pictures written{f': {where}' if done else ''}"))
    return 1 if failed else 0


def check_options(options: argparse.Namespace) -> None:
    """Refuse what is wrong for every picture, once, before the first.

    Raises:
        ValueError, TypeError: an option that is.
    """
    check_alpha(options.alpha)
    get_palette(options.palette, 1)
    check_label(options.ignore_index, "--ignore-index: ignore_index")
    check_labels(options.only, "--only")
    if options.bands is not None:
        check_bands(options.bands)
    if options.stretch is not None:
        check_stretch(options.stretch)


def one_line(message: Warning | str, *rest: object, **more: object) -> None:
    """Write a warning as people at a terminal want it."""
    print(f"seg_vis: {printable(message)}", file=sys.stderr)


def draw_all(jobs: Sequence[Job], options: argparse.Namespace) -> int:
    """Draw every picture, and return how many failed; a failure is a line, and the others are drawn all the same.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, once the picture under way is whole; the second Ctrl-C, at once.
    """
    failed = 0
    with Progress(len(jobs)) as progress, asked_to_stop() as asked:
        for image, mask, target in jobs:
            if asked:
                raise KeyboardInterrupt
            try:
                write_image(target, draw(image, mask, options))
            except Exception as error:  # whatever is wrong with one file, the others are drawn
                failed += 1
                names = printable(f"{image} with {mask}", lines=False)
                progress.say(f"seg_vis: {names}: {error or type(error).__name__}")
            progress.advance(target)
    return failed


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Give a list that is empty until a signal asks to stop; the same signal once more does what it always did."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number] or signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def plan(options: argparse.Namespace) -> list[Job]:
    """Return image, mask and target of each picture.

    Raises:
        ValueError: a file where a folder is needed, nothing that belongs together, or a target that is a source.
        FileNotFoundError: something that is not there.
    """
    for path in (options.image, options.mask):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    if options.image.is_dir() != options.mask.is_dir():
        folder, file = sorted((options.image, options.mask), key=Path.is_file)
        raise ValueError(f"{folder} is a folder and {file} a file: give two files or two folders")
    jobs = plan_folder(options) if options.image.is_dir() else [plan_file(options)]
    sources = {path.resolve() for image, mask, _ in jobs for path in (image, mask)}
    for _, _, target in jobs:
        if target.resolve() in sources:
            raise ValueError(f"{target} is one of the files to read and would be overwritten: give another --out")
    return jobs


def plan_file(options: argparse.Namespace) -> Job:
    """Return the one picture of two files."""
    target = options.out or Path(f"{options.image.stem}_overlay.png")
    return options.image, options.mask, target / f"{options.image.stem}.png" if target.is_dir() else target


def plan_folder(options: argparse.Namespace) -> list[Job]:
    """Return the pictures of two folders; two images that differ only in their endings keep them in their names."""
    folder = options.out or Path(f"{options.image.resolve().name}_overlay")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; for two folders it must be a folder")
    pairs, alone = find_pairs(options.image, options.mask, leave_out=folder)
    for image in alone[:FEW]:
        print(f"seg_vis: no mask for {printable(image, lines=False)}", file=sys.stderr)
    if len(alone) > FEW:
        print(f"seg_vis: no mask for {len(alone) - FEW} more", file=sys.stderr)
    if not pairs:
        raise ValueError(f"no image in {options.image} has a mask of its name in {options.mask}")
    names = [image.relative_to(options.image) for image, _ in pairs]
    often = Counter(name.with_suffix("") for name in names)
    unique = [name if often[name.with_suffix("")] == 1 else Path(f"{name}.png") for name in names]
    return [(i, m, folder / name.with_suffix(".png")) for (i, m), name in zip(pairs, unique, strict=True)]


def draw(image: Path, mask: Path, options: argparse.Namespace) -> Image:
    """Draw one picture."""
    stored = read_image(image, raw=True)
    if stored.ndim == 3 and stored.shape[2] in (3, 4):
        stored = stored[..., [2, 1, 0, 3][: stored.shape[2]]]
    stretch = tuple(options.stretch) if options.stretch else None
    if stretch is None and stored.dtype == "uint16" and stored.max(initial=0) < DARK:
        warnings.warn("an image of 16 bits has no large values and is nearly black: try --stretch 2 98", stacklevel=2)
    rgb = to_rgb(stored, bands=options.bands, stretch=stretch, layout="hwc")
    labels: Labels = read_mask(mask, options.palette, options.ignore_index)
    picture = overlay(
        rgb,
        labels,
        palette=options.palette,
        alpha=options.alpha,
        ignore_index=options.ignore_index,
        with_labels=options.names,
        only=options.only,
    )
    return panels([picture, legend(options.palette, labels=labels)]) if options.legend else picture
