"""Segment images with a checkpoint: overlays and label maps, no data set needed.

Images are files, folders (with the folders below) or patterns such as 'photos/*.png'; they are read as the config's
test pipeline reads them. In the folder of --out lie

  overlays/   the images under their classes' colours
  labels/     label maps: grey, the number of the class at each pixel
  colours/    the same with the palette in the file (numbers by index: Pillow; OpenCV makes colours of them)

under the name that an image has below the folder that was given. A file that cannot be predicted is named, and the
others are done; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seg_engine.cli.messages import describe
from seg_engine.cli.options import add_trust_option
from seg_engine.cli.progress import Progress

if TYPE_CHECKING:
    from seg_engine.predict import Prediction, Predictor

__all__ = ["add_arguments", "run"]

KINDS = ("labels", "overlays", "colours")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg predict`."""
    parser.add_argument("checkpoint", help="checkpoint file; the model is built from the config inside it")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image, a folder of images, or a pattern")
    parser.add_argument("--out", default="predicted", metavar="DIR", help="folder to write to (predicted)")
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="how much of the colours covers the image, 0 to 1 (0.5)"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, ... (an accelerator, if there is one)")
    add_trust_option(parser)


def run(options: argparse.Namespace) -> int:
    """Predict."""
    from seg_runner.process.threads import set_threads
    from seg_vis.names import printable

    from seg_engine.image_paths import find_images
    from seg_engine.launch import prepare_mmseg
    from seg_engine.predict import load_model

    if not 0 <= options.alpha <= 1:
        raise ValueError(f"--alpha is a share from 0 to 1, not {options.alpha}")
    found, failed = find_images(options.images, [Path(options.out) / kind for kind in KINDS])
    for error in failed:
        print(describe(error), file=sys.stderr)
    for line in left_out(options.images):
        print(line, file=sys.stderr)
    if not found:
        return 1
    print(f"torch's threads: {set_threads()}", file=sys.stderr)
    trust, allow = options.trust_config, options.allow
    model = load_model(options.checkpoint, device=options.device, trust=trust, allow=allow, before=prepare_mmseg)
    wrong, gone = predict_all(model, found, Path(options.out), options.alpha)
    count, total = len(failed) + wrong, len(found) + len(failed)
    print(summary(total, count + len(gone), options.out), flush=True)
    if count:
        print(f"error: {count} of {total} could not be predicted; each is named above", file=sys.stderr)
    if gone:
        print(f"error: {printable(removed(gone), lines=False)}", file=sys.stderr)
    return 1 if count or gone else 0


def removed(gone: Sequence[Path]) -> str:
    """Say that somebody removed the files of images while others were predicted."""
    return f"the files of {len(gone)} images are no longer there, such as {gone[0]}: predict them again"


def left_out(given: Sequence[str]) -> list[str]:
    """Return a line for each folder with pictures of kinds that are read only where they are named."""
    from seg_vis.names import printable

    from seg_engine.data.files import IMAGE_SUFFIXES, files_below
    from seg_engine.data.listing import PICTURES

    lines = []
    for folder in filter(Path.is_dir, (Path(one).expanduser() for one in given)):
        ends = Counter(path.suffix.lower() for path in files_below(folder))
        counts = [f"{ends[end]} *{end}" for end in PICTURES if ends[end] and end not in IMAGE_SUFFIXES]
        if counts:
            lines.append(
                f"left out of {printable(folder, lines=False)}: {', '.join(counts)} "
                f"(of a folder {', '.join(IMAGE_SUFFIXES)} are read; name other files one by one, or save them as PNG)"
            )
    return lines


def predict_all(model: Predictor, images: list[tuple[Path, Path]], out: Path, alpha: float) -> tuple[int, list[Path]]:
    """Predict and write each image; how many could not be predicted, and a file of each that is gone again.

    Raises:
        OSError: a file cannot be written; it says how many images are done.
    """
    failed, jobs, done = 0, list(targets(images, out)), list[dict[str, Path]]()
    with Progress(len(images)) as progress:
        for path, files in jobs:
            try:
                prediction = model.predict(path)
            except Exception as error:  # whatever is wrong with one file, the others are done
                failed += 1
                progress.say(message(path, error))
            else:
                save(prediction, files, alpha, f"{len(done)} of {len(images)} images are done")
                done.append(files)
            progress.advance(path.name)
    gone = ([file for file in files.values() if not file.exists()] for files in done)
    return failed, [missing[0] for missing in gone if missing]


def save(prediction: Prediction, files: Mapping[str, Path], alpha: float, so_far: str) -> None:
    """Write the files of an image.

    Raises:
        OSError: one cannot be written.
    """
    try:
        prediction.save(files["labels"], files["overlays"], alpha, files["colours"])
    except OSError as error:
        error.add_note(f"{so_far}; this one and those behind it are not")
        raise


def targets(images: list[tuple[Path, Path]], out: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Yield for each image the files that it becomes.

    Raises:
        ValueError: a file would lie outside the folder, or overwrite an image, or a file that is none of ours.
    """
    from seg_vis.files import check_inside
    from seg_vis.names import FileNames, file_name

    names, sources = FileNames(), {path.resolve() for path, _ in images}
    for path, below in images:
        folder = "/".join(file_name(part) for part in below.parts)
        relative = f"{folder}/{names.of(str(path), folder)}.png".lstrip("/")
        files = {kind: check_inside(out, out / kind / relative) for kind in KINDS}
        for file in files.values():
            if file.resolve() in sources:
                raise ValueError(f"{file} is one of the images and would be overwritten: give another --out")
        for kind in KINDS:  # the overlay is written first: what lies there without one was not predicted
            own = files[kind].is_file() and not files[kind].is_symlink()  # a link is replaced, not followed
            if own and not files["overlays"].exists():
                raise ValueError(
                    f"{files[kind]} is there, and not from a prediction (it has no overlay beside it), and would be "
                    "overwritten: give another --out"
                )
        yield path, files


def message(path: Path, error: Exception) -> str:
    """Say what is wrong with one image, with its path."""
    from seg_vis.names import printable

    text = describe(error)
    name = printable(path, lines=False)
    return text if name in text else text.replace("error: ", f"error: {name}: ", 1)


def summary(total: int, failed: int, out: str) -> str:
    """Say what was done and where it lies."""
    from seg_vis.names import printable

    count = f"{total - failed} of {total} images" if failed else f"{total} image{'s' * (total != 1)}"
    return f"""\
{count} predicted, in {printable(out, lines=False)}/
  overlays  the images under their classes' colours
  labels    label maps: grey, the number of the class at each pixel
  colours   the same with the palette in the file (numbers by index: Pillow; OpenCV makes colours of them)"""
