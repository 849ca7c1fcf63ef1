"""LocalVisBackend: JSON lines, the config and PNG files in a folder."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_vis.backends.base import BaseVisBackend, config_text, plain_number
from seg_vis.files import check_inside, write_image, write_whole
from seg_vis.names import file_name

__all__ = ["LocalVisBackend"]


class LocalVisBackend(BaseVisBackend):
    """Scalars as JSON lines, pictures as PNG files, the config as text: what needs no service and is always there.

    Args:
        save_dir: the folder, made at the first write.
        img_save_dir: sub-folder for pictures; a name with `/` goes into sub-folders of it.
        config_save_file: name of the config's file (.py).
        scalar_save_file: name of the scalars' file (.json), one JSON object a line; NaN and infinity become null.

    Raises:
        ValueError: a file name with another ending, or a file that would lie outside the folder.
        TypeError: a picture that is not uint8.

    Example:
        >>> import tempfile, pathlib
        >>> folder = tempfile.mkdtemp()
        >>> LocalVisBackend(folder).add_scalars({"loss": 0.5}, step=3)
        >>> pathlib.Path(folder, "scalars.json").read_text()
        '{"loss": 0.5, "step": 3}\\n'
    """

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
        self._folder = Path(save_dir)
        self._img_save_dir = img_save_dir
        self._config_save_file = config_save_file
        self._scalar_save_file = scalar_save_file
        self._lock = threading.Lock()
        self._begun: set[Path] = set()

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config's text."""
        write_whole(self._at(self._config_save_file), config_text(config).encode())

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write `<img_save_dir>/<name>_<step>.png`."""
        if getattr(image, "dtype", None) != np.uint8:
            raise TypeError(f"a picture must be uint8, got {getattr(image, 'dtype', type(image).__name__)}: use to_rgb")
        write_image(self._at(f"{self._img_save_dir}/{inside(name)}_{step}.png"), image)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one row."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write one row, and the same into `file_path` where that is given."""
        row = {name: jsonable(value) for name, value in scalar_dict.items()}
        row.setdefault("step", step)
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        self._append(self._scalar_save_file, line)
        if file_path is not None:
            if Path(file_path).suffix != ".json" or file_path == self._scalar_save_file:
                raise ValueError(
                    f"file_path must end in .json and differ from {self._scalar_save_file!r}, got {file_path!r}"
                )
            self._append(file_path, line)

    def _at(self, name: str) -> Path:
        """A file of this folder."""
        return check_inside(self._folder, self._folder / name)

    def _append(self, name: str, line: str) -> None:
        path = self._folder / name
        with self._lock:
            if path not in self._begun:
                check_inside(self._folder, path.resolve())
            path.parent.mkdir(parents=True, exist_ok=True)
            start = "" if path in self._begun or ends_with_newline(path) else "\n"
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{start}{line}\n")
            self._begun.add(path)


def inside(name: str) -> str:
    """A name as a relative path that cannot leave the folder, and that every file system takes."""
    parts = [file_name(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        raise ValueError(f"a picture needs a name, got {name!r}")
    return "/".join(parts)


def ends_with_newline(path: Path) -> bool:
    """Whether the next line can simply be appended (a killed run may have left half a line)."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


def jsonable(value: Any) -> Any:
    """A value as JSON can hold it."""
    number = plain_number(value)
    if number is not None:
        return number if math.isfinite(number) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str) or value is None else str(value)
