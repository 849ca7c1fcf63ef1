"""A folder of a run, read as a path or, by code written for MMEngine, as a text."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

__all__ = ["Folder"]

if TYPE_CHECKING:
    Folder = Path  # what our documents show, and what our own code uses
else:

    class Folder(str):
        """The path of a folder: a text, as MMEngine has it, that can do all that a `Path` can.

        Where both have a method of one name (`replace`), it is the text's. Two folders, or a folder and a path, are
        equal if they are the same path.

        >>> folder = Folder("work_dirs/unet")
        >>> folder + "/a.pth", str(folder / "a.pth"), folder.name
        ('work_dirs/unet/a.pth', 'work_dirs/unet/a.pth', 'unet')
        """

        def __truediv__(self, name: str | PurePath) -> Path:
            return Path(self) / name

        def __fspath__(self) -> str:
            return str(self)

        def __eq__(self, other: object) -> bool:
            return str.__eq__(self, str(other) if isinstance(other, PurePath) else other) is True

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = str.__hash__

        def __str__(self) -> str:
            return str.__str__(self)

        def __repr__(self) -> str:
            return str.__repr__(self)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return getattr(Path(self), name)
