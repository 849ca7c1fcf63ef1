"""LocalVisBackend: JSON lines, the config and PNG files in a folder."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_vis.arrays import Image
from seg_vis.backends.base import (
    BaseVisBackend,
    checked_number,
    checked_place,
    checked_step,
    config_text,
    plain_number,
)
from seg_vis.backends.line_files import ResumePoint, mend, take_out
from seg_vis.files import append_whole, check_inside, clean_leftovers, write_image, write_whole
from seg_vis.names import file_name

__all__ = ["LocalVisBackend", "RowBook", "jsonable"]

ASIDE, ASIDE_COPY = "superseded.json", "superseded_copy.json"
"""Where rows go that a resumed run writes again: those of the scalars, and those of their copy."""


class LocalVisBackend(BaseVisBackend):
    """Scalars as JSON lines, pictures as PNG files, the config as text: what needs no service and is always there.

    Args:
        save_dir: the folder, made at the first write.
        img_save_dir: sub-folder for pictures; a name with `/` goes into sub-folders of it.
        config_save_file: name of the config's file (.py).
        scalar_save_file: name of the scalars' file (.json), one JSON object a line; NaN and infinity become null.

    Raises:
        ValueError: a file name with another ending, or a file that would lie outside the folder.
        TypeError: a picture that is not uint8; one of another shape is a ValueError.

    Example:
        >>> import tempfile, pathlib
        >>> folder = tempfile.mkdtemp()
        >>> LocalVisBackend(folder).add_scalars({"loss": 0.5}, step=3)
        >>> pathlib.Path(folder, "scalars.json").read_text()
        '{"loss": 0.5, "step": 3}\\n'
    """

    raw_rows = removes_rows = True

    def __init__(
        self,
        save_dir: str,
        img_save_dir: str = "vis_image",
        config_save_file: str = "config.py",
        scalar_save_file: str = "scalars.json",
    ) -> None:
        super().__init__(str(save_dir))
        if Path(config_save_file).suffix != ".py":
            raise ValueError(f"config_save_file must end in .py, got {config_save_file!r}")
        if Path(scalar_save_file).suffix != ".json":
            raise ValueError(f"scalar_save_file must end in .json, got {scalar_save_file!r}")
        for name in (img_save_dir, config_save_file, scalar_save_file):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name!r} lies outside of save_dir: give a name inside of it")
        self._folder = Path(save_dir)
        self._img_save_dir = img_save_dir
        self._config_save_file = config_save_file
        self._scalar_save_file = scalar_save_file
        self._lock = threading.Lock()
        self._begun: set[Path] = set()
        self._owed: tuple[Path, str] | None = None  # the second of two files, which still lacks a row
        self._failed = False

    def add_config(self, config: object, **kwargs: object) -> None:
        """Write the config's text."""
        write_whole(self._at(self._config_save_file), config_text(config).encode())

    def add_image(self, name: str, image: Image, step: int = 0, **kwargs: object) -> None:
        """Write `<img_save_dir>/<name>_<step>.png`."""
        if getattr(image, "dtype", None) != np.uint8:
            raise TypeError(f"a picture must be uint8, got {getattr(image, 'dtype', type(image).__name__)}: use to_rgb")
        if not (image.size and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4)))):
            raise ValueError(f"a picture must be H x W x 3, got shape {tuple(image.shape)}: use to_rgb")
        write_image(self._at(f"{self._img_save_dir}/{inside(name)}_{checked_step(step)}.png"), image)

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Write one row.

        Raises:
            TypeError: it is no number.
        """
        self.add_scalars({name: checked_number(name, value)}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Write one row, and the same into `file_path` where that is given.

        Raises:
            OSError: it is in none of the two, and the next call may be the same one.
        """
        checked_place(scalar_dict, step)
        if file_path is not None and (Path(file_path).suffix != ".json" or file_path == self._scalar_save_file):
            raise ValueError(
                f"file_path must end in .json and differ from {self._scalar_save_file!r}, got {file_path!r}"
            )
        row = {str(name): jsonable(value) for name, value in scalar_dict.items()}
        row.setdefault("step", checked_step(step))
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        with self._lock:
            self._append_to_both(file_path, f"{line}\n")

    def _append_to_both(self, file_path: str | None, line: str) -> None:
        """Append a row to two files; where only one took it, it is tried again with the other alone."""
        first, second = self._folder / self._scalar_save_file, file_path and self._folder / inside(file_path)
        try:
            if self._owed != (first, line):
                self._append(first, line)
                self._owed = (first, line) if second else None
            if second:
                self._append(second, line)
                self._owed = None
        except OSError:
            self._failed = True
            raise
        self._failed = False

    def _append(self, path: Path, line: str) -> None:
        if path not in self._begun:
            check_inside(self._folder, path.resolve())
            mend(path)
        append_whole(path, line.encode("utf-8", "replace"), sync=self._failed)
        self._begun.add(path)

    def _at(self, name: str) -> Path:
        """Return a file of this folder."""
        return check_inside(self._folder, self._folder / name)

    def resume_from(self, point: ResumePoint) -> list[dict[str, Any]]:
        """Move the rows of earlier sessions that this one writes again into `superseded.json` beside them.

        Returns:
            Those of the scalars' file.
        """
        gone: list[dict[str, Any]] = []
        for session, folder in point.folders(self._folder).items():
            gone += take_out(folder / self._scalar_save_file, point.repeats_row, folder / ASIDE)
            take_out(folder / f"{session}.json", point.repeats_row, folder / ASIDE_COPY)
            clean_leftovers(folder / self._img_save_dir)
        return gone


class RowBook:
    """Which rows services were sent, where no other file says it, so that a resumed training sends none twice.

    Args:
        folder: where the file lies.
    """

    raw_rows = removes_rows = True

    def __init__(self, folder: str) -> None:
        self._file = LocalVisBackend(folder, scalar_save_file="sent.json")

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: object
    ) -> None:
        """Write one row."""
        self._file.add_scalars(scalar_dict, step)

    def resume_from(self, point: ResumePoint) -> list[dict[str, Any]]:
        """Take in the rows that this session writes again."""
        return self._file.resume_from(point)


def inside(name: str) -> str:
    """Return a name as a relative path that cannot leave the folder, and that every file system takes."""
    parts = [file_name(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        raise ValueError(f"a picture needs a name, got {name!r}")
    return "/".join(parts)


def jsonable(value: object) -> Any:
    """Return a value as JSON can hold it."""
    number = plain_number(value)
    if number is not None:
        return None if isinstance(number, float) and not math.isfinite(number) else number
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        with contextlib.suppress(RuntimeError, NotImplementedError):  # a tensor without contents
            value = value.tolist()
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str) or value is None else str(value)
