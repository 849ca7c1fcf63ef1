"""Files of JSON lines, whole also after a kill, a full disk or a resume; and where a resumed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seg_vis.files import append_whole, write_whole

__all__ = ["ResumePoint", "axis", "mend", "session_of", "take_out"]

Row = dict[str, Any]


class ResumePoint(NamedTuple):
    """Where the checkpoint stands that a run goes on from."""

    step: int
    """Iterations that it has."""

    owes_validation: bool = False
    """Whether the validation after this iteration is run again."""

    log_dir: Path | None = None
    """Folder of this session's logs."""

    earlier: tuple[Path, ...] = ()
    """Those of the sessions before it, the oldest first."""

    def repeats(self, mode: object, at: int) -> bool:
        """Tell whether the resumed run makes a row again that an earlier session wrote."""
        return at > self.step or (self.owes_validation and mode == "val" and at == self.step)

    def repeats_row(self, row: Row) -> bool:
        """Tell the same of a row as it lies in a file."""
        try:
            return self.repeats(row.get("mode"), axis(row, 0))
        except (TypeError, ValueError):
            return False

    def folders(self, own: Path) -> dict[str, Path]:
        """Return what each earlier session had in place of a folder of this one, by its name, and the folder itself."""
        try:
            inside = own.resolve().relative_to(Path(self.log_dir or "").resolve())
        except ValueError:  # one folder for all sessions
            return {"": own}
        return {**{log_dir.name: log_dir / inside for log_dir in self.earlier}, "": own}

    def begun(self, own: Path, files: str, session: str | None) -> Path | None:
        """Return the folder to go on in: that of the named session, else the latest one that has such files."""
        found = {name: folder for name, folder in self.folders(own).items() if any(folder.glob(files))}
        return found.get(session or "", next(reversed(found.values()), None))


def axis(row: Mapping[str, Any], step: int) -> int:
    """Return where a record stands on the axis of its curves: `step` in it, else the argument.

    A record of LoggerHook says in `mode` and `iter` where it comes from. Its iteration is the axis then: in epoch
    loops its step is the epoch in validation, and both kinds of curves would lie apart.

    Example:
        >>> axis({"mIoU": 0.5, "mode": "val", "iter": 300}, 3), axis({"loss": 0.5, "iter": 1}, 10)
        (300, 10)
    """
    if "mode" in row and "iter" in row:
        return int(row["iter"])
    own = row.get("step")
    return int(step if own is None else own)


def session_of(folder: str | Path) -> str:
    """Return the name of the session that a folder for a backend's files belongs to."""
    return Path(folder).resolve().parent.name


def mend(path: Path) -> None:
    """Take half a line off the end of a file, as a killed run may leave it; a whole one gets its line break.

    Raises:
        OSError: the file cannot be changed.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, 2)
        if file.read() == b"\n":
            return
        file.seek(0)
        content = file.read()
        end = content.rfind(b"\n") + 1
        if row_of(content[end:]) is not None:
            file.write(b"\n")
        else:
            file.truncate(end)


def take_out(path: Path, repeats: Callable[[Row], bool], aside: Path) -> list[Row]:
    """Move the rows that a resumed run makes again from one file to another, and drop broken lines.

    Returns:
        The rows that were moved.

    Raises:
        OSError: a file cannot be written; the first one is as it was then.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines()
    rows = [row_of(line) for line in lines]
    gone = [number for number, row in enumerate(rows) if row is not None and repeats(row)]
    kept = [line for line, row in zip(lines, rows, strict=True) if row is not None and not repeats(row)]
    if gone:
        append_whole(aside, b"".join(lines[number] + b"\n" for number in gone))
    if len(kept) < len(lines):
        write_whole(path, b"".join(line + b"\n" for line in kept))
    return [row for number in gone if (row := rows[number]) is not None]


def row_of(line: bytes) -> Row | None:
    """Return the object of a line; None where it is broken."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
