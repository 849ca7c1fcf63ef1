"""What label maps look like before the first step: values, classes without a pixel, pixels that do not count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_engine.data.files import orientation

__all__ = ["LabelCounts", "look_at", "spread"]

MAPS, PIXELS = 32, 2**26
"""At most so many label maps are read before the first step, and no more once they have so many pixels."""

Line = tuple[int, str]
Record = dict[str, Any]


@dataclass
class LabelCounts:
    """Counts over the label maps read so far.

    Args:
        classes: Names of the classes; empty where they are unknown.
        ignore: The label that does not count.
    """

    classes: Sequence[str]
    ignore: int
    maps: int = 0
    pixels: int = 0
    ignored: int = 0
    stored: set[int] = field(default_factory=set)
    per_class: dict[int, int] = field(default_factory=dict)

    def add(self, stored: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
        """Count one label map: the values of the file, and the labels that came of them."""
        self.maps += 1
        self.pixels += labels.size
        self.stored |= set(np.unique(stored).tolist())
        for label, count in zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True):
            if label == self.ignore:
                self.ignored += count
            else:
                self.per_class[label] = self.per_class.get(label, 0) + count

    def lines(self, of: int) -> list[Line]:
        """Say what is worth knowing, with logging levels; `of` is the number of label maps that there are.

        >>> counts = LabelCounts(("soil", "crop", "weed"), 255)
        >>> counts.add(np.array([[0, 1]]), np.array([[0, 1]]))
        >>> [text for _, text in counts.lines(of=1)][1]
        "class 2 'weed' has no pixel in the label maps read (1 of 1)"
        """
        read = f"({self.maps} of {of})"
        share = 100 * self.ignored / max(self.pixels, 1)
        lines = [(logging.INFO, f"label maps read {read}: {share:.1f} % of their pixels do not count")]
        if self.classes and self.stored == {0, 255} and self.ignore == 255:
            name = self.classes[1] if len(self.classes) > 1 else "the foreground"
            lines.append((logging.WARNING, _about_masks(name, read)))
        level = logging.WARNING if self.maps == of else logging.INFO
        absent = [label for label in range(len(self.classes)) if label not in self.per_class]
        if absent and len(absent) < len(self.classes):
            first = ", ".join(f"{label} {self.classes[label]!r}" for label in absent[:3])
            word, more = ("class", "") if len(absent) == 1 else ("classes", f" and {len(absent) - 3} more")
            verb = "has" if len(absent) == 1 else "have"
            text = f"{word} {first}{more if len(absent) > 3 else ''} {verb} no pixel in the label maps read {read}"
            lines.append((level, text))
        if share > 50:
            text = f"{share:.1f} % of the pixels of the label maps read {read} are left out, as label {self.ignore}"
            lines.append((logging.WARNING, f"{text}: are classes, or reduce_zero_label, as they should be?"))
        if len(self.classes) > 1 and len(self.per_class) == 1:
            (only,) = self.per_class
            text = f"all pixels that count in the label maps read {read} are of one class, {only}"
            lines.append((logging.WARNING, f"{text}: is this the right folder?"))
        return lines


def _about_masks(name: str, read: str) -> str:
    return (
        f"the label maps read {read} hold 0 and 255 only, and 255 means 'does not count', so that {name!r} has no "
        "pixel: are they black-and-white masks? Save them with 0 and 1"
    )


def spread(count: int, at_most: int = MAPS) -> list[int]:
    """Return indices that lie evenly over a data set: the same ones each time.

    >>> spread(9, 3), spread(2, 3)
    ([0, 4, 8], [0, 1])
    """
    if count <= at_most:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, at_most).round()]


def look_at(
    records: Sequence[Record],
    read: Callable[[Record], tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    counts: LabelCounts,
    turns: bool,
) -> list[Line]:
    """Read some of the label maps of a data set; what is worth knowing about them.

    How many are read does not depend on the clock: at most `MAPS`, fewer where they are large.

    Args:
        records: All records.
        read: From a record to the values of its file and the labels that come of them.
        counts: Where to count.
        turns: Images are turned by their EXIF data.
    """
    turned = lossy = ""
    for index in spread(len(records)):
        if counts.pixels >= PIXELS:
            break
        jpeg = "" if lossy else _about_jpeg(records[index]["seg_map_path"])
        lossy = lossy or jpeg
        try:
            counts.add(*read(records[index]))
        except ValueError as error:
            if jpeg:
                error.add_note(jpeg)
            raise
        if turns and not turned and _turned_alone(records[index]):
            turned = records[index]["img_path"]
    lines = counts.lines(len(records))
    if lossy:
        lines.append((logging.WARNING, lossy))
    if turned:
        text = f"the EXIF data of {turned} turns the image, not its label map: were labels drawn on the turned image?"
        lines.append((logging.WARNING, f"{text} If not: LoadImageFromFile(color_type='color_ignore_orientation')"))
    return lines


def _about_jpeg(path: str) -> str:
    """Say that a label map is a JPEG, whatever its name; nothing of others."""
    try:
        with open(path, "rb") as file:
            jpeg = file.read(3) == b"\xff\xd8\xff"
    except OSError:  # the reader says it better
        return ""
    if not jpeg:
        return ""
    return f"{path} is a JPEG, and JPEG changes the values near edges, which are labels here: save label maps as PNG"


def _turned_alone(record: Record) -> bool:
    image, labels = (np.fromfile(record[key], np.uint8, 1 << 16) for key in ("img_path", "seg_map_path"))
    return orientation(image) != 1 and orientation(labels) == 1
