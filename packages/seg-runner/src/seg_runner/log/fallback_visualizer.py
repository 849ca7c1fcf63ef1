"""What keeps a run's scalars where no visualizer is installed: lines of JSON in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_runner.files import write_text
from seg_runner.log.line_files import LineFile, take_out_rows

__all__ = ["FallbackVisualizer"]


class FallbackVisualizer:
    """Keeps scalars as JSON lines in `vis_data/scalars.json`; draws nothing.

    Args:
        log_dir: Where the folder `vis_data` lies.
        writes: Whether this process writes: of several, the first does.
    """

    def __init__(self, log_dir: Path, writes: bool = True) -> None:
        self.dataset_meta: Any = None
        self._writes = writes
        self._folder = log_dir / "vis_data"
        self._files: dict[str, LineFile] = {}

    def add_config(self, config: object, **kwargs: object) -> None:
        """Keep the resolved config beside the scalars."""
        text = getattr(config, "pretty_text", None)
        if text is not None and self._writes:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_text(self._folder / "config.py", text)

    def add_scalar(self, name: str, value: object, step: int = 0, **kwargs: object) -> None:
        """Append a record of one scalar."""
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Append one record, to `scalars.json` and to `file_path` beside it; each line is written whole."""
        line = json.dumps({**scalar_dict, "step": step}, default=_to_json)
        for name in {"scalars.json", file_path or "scalars.json"} if self._writes else ():
            if name not in self._files:
                say = logging.getLogger("seg_runner").warning
                self._files[name] = LineFile(self._folder / name, name, say)
            self._files[name].write(line)

    def resume_from(self, step: int, *, owes_validation: bool, log_dir: Path, earlier: Sequence[Path]) -> None:
        """Take the rows that this run writes again out of the files of earlier sessions, into `superseded.json`."""

        def repeats(row: Mapping[str, Any]) -> bool:
            at = row.get("iter", row.get("step", 0))
            return bool(at > step or (owes_validation and at == step and row.get("mode") == "val"))

        for folder in (session / self._folder.name for session in earlier):
            try:
                take_out_rows(folder / "scalars.json", repeats, folder / "superseded.json")
            except OSError as error:
                text = "%s keeps rows that this run writes again: %s"
                logging.getLogger("seg_runner").warning(text, folder / "scalars.json", error)

    def close(self) -> None:
        """Write the lines that wait for room."""
        for file in self._files.values():
            file.close()


def _to_json(value: object) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
