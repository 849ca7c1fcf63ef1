"""Words for what goes wrong: near names, where a config key stands, and the one note that an exception gains."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

__all__ = [
    "CheckpointError",
    "add_note",
    "check_options",
    "did_you_mean",
    "edit_distance",
    "install_line",
    "near_key",
    "nearest",
    "note_step",
    "origin_of",
    "part_of",
    "sample_paths",
    "written_at",
]


def install_line(package: str) -> str:
    """Return the command that installs a sibling: no index has it yet.

    >>> print(install_line("seg-hooks"))
    pip install "seg-hooks @ git+https://github.com/seg-engine/seg-engine#subdirectory=packages/seg-hooks"
    """
    return f'pip install "{package} @ git+https://github.com/seg-engine/seg-engine#subdirectory=packages/{package}"'


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence that names the nearest known name, capitals not counted, or the empty string.

    >>> did_you_mean("max_iter", ["max_iters", "val_interval"])
    " Did you mean 'max_iters'?"
    >>> did_you_mean("colour", ["max_iters"])
    ''
    """
    near = nearest(name, names)
    return f" Did you mean {near!r}?" if near is not None else ""


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like this one, capitals not counted; None where none is like it.

    >>> nearest("mIuO", ["aAcc", "mIoU"])
    'mIoU'
    """
    spellings = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=cutoff)
    return spellings[near[0]] if near else None


def near_key(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that this one is most probably a slip of the keyboard for, or None.

    One letter in three may be wrong, two at most; swapped letters count as one. Words that both keys begin or end with
    do not count, so that `bn_cfg` is not taken for `env_cfg`.

    >>> near_key("modle", ["model", "work_dir"]), near_key("bn_cfg", ["env_cfg"]), near_key("train_cgf", ["train_cfg"])
    ('model', None, 'train_cfg')
    """
    names = list(known)
    if key in names:
        return None
    return min((name for name in names if _is_slip(key, name)), key=lambda name: edit_distance(key, name), default=None)


def _is_slip(one: str, other: str) -> bool:
    words, others = one.lower().split("_"), other.lower().split("_")
    while len(words) > 1 and len(others) > 1 and words[0] == others[0]:
        words, others = words[1:], others[1:]
    while len(words) > 1 and len(others) > 1 and words[-1] == others[-1]:
        words, others = words[:-1], others[:-1]
    one, other = "_".join(words), "_".join(others)
    return edit_distance(one, other) <= min(2, max(len(one), len(other)) // 3)


def edit_distance(one: str, other: str, limit: int = 3) -> int:
    """Count the letters that are missing, added, changed, or swapped with their neighbour, up to a limit.

    >>> edit_distance("modle", "model"), edit_distance("optim_wraper", "optim_wrapper"), edit_distance("loss", "hooks")
    (1, 1, 3)
    """
    if abs(len(one) - len(other)) >= limit:
        return limit
    above: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, above, row = above, row, [i]
        for j, right in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return min(row[-1], limit)


def check_options(kind: Callable[..., object], options: Iterable[str], key: str, hidden: Iterable[str] = ()) -> None:
    """Refuse options that a class does not take, with the nearest one that it does.

    Args:
        kind: The class, or the function.
        options: Names of the options.
        key: Where they were written, for the message.
        hidden: Arguments that are not written in configs.

    Raises:
        TypeError: an option that there is none of.

    >>> check_options(dict, ["a"], "some_cfg")
    """
    try:
        takes = inspect.signature(kind).parameters
    except ValueError:  # written in C
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
        return
    known = [name for name in takes if name not in set(hidden)]
    for option in options:
        if option not in takes:
            raise TypeError(
                f"{key} has {option!r}, which {kind.__name__} does not take.{did_you_mean(option, known)} "
                f"It takes {', '.join(known)}"
            )


def part_of(runner: object, key: str) -> str:
    """Return `, model (configs/train.py:12)`: the part of a run at work, if the config knows its line."""
    cfg = getattr(runner, "cfg", None)
    line = key and (origin_of(cfg, f"{key}.type") or origin_of(cfg, key))
    return f", {key}{line}" if line else ""


def origin_of(cfg: object, key: str) -> str:
    """Return ` (configs/train.py:12)` where the config knows where `key` was written, else the empty string."""
    find = getattr(cfg, "origin", None)
    if not callable(find):
        return ""
    try:
        where = _first_line(find(key))
    except (KeyError, ValueError, TypeError, AttributeError):
        return ""
    return "" if where in ("", "None", "unknown") else f" ({where})"


@contextmanager
def written_at(cfg: object, key: str) -> Iterator[None]:
    """Give errors in here the note `in randomness (configs/train.py:12)`, if the config knows the line of the key."""
    try:
        yield
    except Exception as error:
        if line := origin_of(cfg, key):
            add_note(error, f"in {key}{line}")
        raise


def _first_line(origin: object) -> str:
    if isinstance(origin, (list, tuple)) and origin:
        origin = origin[-1]
    return str(origin).strip().partition("\n")[0]


class Note(str):
    """The one note that an exception gains in a run; each border that it passes may add a line."""

    __slots__ = ()


def add_note(error: BaseException, text: str) -> None:
    """Say `text` in the run's one note of the exception: a line more if it has one; never the same line twice.

    >>> error = ValueError("no such file")
    >>> add_note(error, "while reading sample 3"), add_note(error, "in training iteration 7")
    (None, None)
    >>> print(*error.__notes__)
    while reading sample 3
    in training iteration 7
    """
    notes = getattr(error, "__notes__", [])
    for place, note in enumerate(notes):
        if isinstance(note, Note):
            if f"\n{text}\n" not in f"\n{note}\n":
                notes[place] = Note(f"{note}\n{text}")
            return
    error.add_note(Note(text))


def sample_paths(batch: object, limit: int = 8) -> list[str]:
    """Return the paths of the images in a batch, wherever its style keeps them; empty where it does not.

    >>> sample_paths({"inputs": [0], "img_path": ["a.png", "b.png"]})
    ['a.png', 'b.png']
    """
    found: list[str] = []
    if isinstance(batch, Mapping):
        for key in ("img_path", "image_path", "path", "paths", "file_name"):
            found += _strings(batch.get(key))
        batch = batch.get("data_samples")
    for item in batch if isinstance(batch, (list, tuple)) else ():
        path = item.get("img_path") if isinstance(item, Mapping) else getattr(item, "img_path", None)
        found += _strings(path)
    return found[:limit]


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [item for item in value if isinstance(item, str)]
    return []


def note_step(error: Exception, where: str, paths: list[str]) -> None:
    """Say in the exception where the run stood and which images were in the batch."""
    add_note(error, f"in {where}" + (f", images: {', '.join(paths)}" if paths else ""))


class CheckpointError(ValueError):
    """A checkpoint that is not there, not whole, or not safe to read."""
