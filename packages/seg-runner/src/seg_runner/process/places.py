"""Where a config would write: the keys that name files and folders, looked at before anything is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Protocol
from urllib.parse import unquote

from seg_runner.errors import origin_of
from seg_runner.names import printable
from seg_runner.protocols import Config

__all__ = ["NAMES", "PLACES", "check_places", "is_written"]

_PLACES = """
    artifact_location cache_dir dir_name dump_dir export_dir img_out_dir json_trace_path jsonfile_prefix log_dir logdir
    out_dir out_file out_file_path outfile_prefix output_dir output_file output_uri pklfile_prefix pred_out_dir
    result_dir save_dir save_path show_dir trace_dir tracking_uri
"""
PLACES = frozenset(_PLACES.split())
"""Keys of parts, ours and others', that name a file or folder to be written; relative to the current folder."""

NAMES = frozenset(("config_save_file", "experiment_name", "filename_tmpl", "img_save_dir", "scalar_save_file"))
"""Keys that name something inside of a folder that is named elsewhere."""

INIT = re.compile(r"(?:^|_)(?:dir|file|path|repo|uri|url)$|^(?:log|save)dir$")
"""What trackers call their places in `init_kwargs`: `dir`, `settings.root_dir`, `settings.base_url`, `repo`, ..."""

LONGEST = 255
"""Bytes that file systems allow a name."""

HOW = "A config writes below work_dir: leave the key out, or name a folder in there"


SERVER = re.compile(r"(?i)(?!file:|sqlite)[a-z][a-z0-9+.-]+://|databricks")


def check_places(cfg: Config, keys: Iterable[str], work_dir: Path, strict: bool = False) -> list[str]:
    """Refuse a config that writes where it should not; a line for each place outside of the work directory.

    A name with folders in it, and `..` out of the work directory, are always refused. Whole paths, and folders beside
    the work directory, are those of a person who wrote them: they are told, or with `strict` refused. What the command
    line has set is the caller's own.

    Args:
        cfg: The config, or a dict of parts.
        keys: Its top-level keys that are used.
        work_dir: The whole path of the work directory.
        strict: The config came from elsewhere, or the caller wants to be sure.

    Raises:
        ValueError: The config names a place where it may not write.

    >>> check_places({"hooks": [{"out_dir": "/data"}]}, ["hooks"], Path("/runs/a"))
    ["hooks.0.out_dir='/data' is /data"]
    """
    lines = []
    used = {key: cfg[key] for key in keys if key in cfg}
    for key, value in written(used):
        if _is_callers(cfg, key):
            continue
        shown = f"{key}{origin_of(cfg, key)}={printable(repr(value), lines=False)}"
        remote = SERVER.match(value) is not None
        path = None if remote else _place(key, shown, value)
        if not (remote and strict) and (path is None or path.is_relative_to(work_dir)):
            continue
        line = f"{shown} is {'a server' if remote else printable(path, lines=False)}"
        if strict:
            raise ValueError(
                f"{line}, outside of the work directory {work_dir}. {HOW}; if you mean that place, say so yourself: "
                f"--cfg-options {key}=..."
            )
        if ".." in re.split(r"[/\\]", value) and not Path(value).is_absolute():
            raise ValueError(f"{line}, which leaves the work directory {work_dir}. {HOW}, or write the whole path")
        lines.append(line)
    return lines


def is_written(name: str, above: Iterable[str] = ()) -> bool:
    """Tell whether a key of this name, below keys of those names, says where to write."""
    return name in PLACES or name in NAMES or ("init_kwargs" in above and INIT.search(name) is not None)


def written(
    values: Mapping[str, object] | Sequence[object], key: str = "", seen: set[tuple[int, bool]] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the value of each place or name in dicts and lists, once for shared dicts.

    Objects are the matter of whoever made them.
    """
    seen = set() if seen is None else seen
    above = key.split(".")
    if (id(values), "init_kwargs" in above) in seen:
        return
    seen.add((id(values), "init_kwargs" in above))
    pairs: Iterable[tuple[object, object]] = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in pairs:
        step = f'"{name}"' if "." in str(name) else str(name)
        here = f"{key}.{step}" if key else step
        if isinstance(value, Mapping | list | tuple):
            yield from written(value, here, seen)
        elif isinstance(value, str | Path) and str(value) and is_written(str(name), above):
            yield here, str(value)


class Mark(Protocol):
    """Where a config says that a value was written."""

    @property
    def file(self) -> object:
        """The file, or `<override>` for the command line."""

    @property
    def note(self) -> object:
        """What was written there."""


def _is_callers(cfg: object, key: str) -> bool:
    """Tell whether the caller's command line set this value, or the whole of what it lies in.

    A list counts as overridden where one of its elements is; the option itself says which one. `+key` adds a key, but
    what it appends to a list may lie beside elements that are not the caller's.
    """
    find: Callable[[str], Iterable[Mark]] | None = getattr(cfg, "origin", None)
    try:
        marks = find(key) if callable(find) else ()
        options = [str(mark.note).partition("=")[0] for mark in marks if mark.file == "<override>"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return any(key == option.removeprefix("+") or key.startswith(f"{option}.") for option in options)


def _place(key: str, shown: str, value: str) -> Path | None:
    """Return the path that a key means; None where that is no place outside of the folder it lies in.

    Raises:
        ValueError: It is no path, or a name with folders in it.
    """
    if "\0" in value:
        raise ValueError(f"{shown} is not a path: it contains a zero character")
    if key.rpartition(".")[2] not in NAMES:
        return local(value).resolve()
    parts = re.split(r"[/\\]", value)
    if ".." in parts or not parts[0] or PureWindowsPath(value).drive:
        raise ValueError(f"{shown} must be a name inside of its folder, without '..', and not begin with a slash")
    if any(len(part.encode(errors="surrogatepass")) > LONGEST for part in parts):
        raise ValueError(f"{shown[:200]}... is longer than the {LONGEST} bytes that a file name may have")
    return None


def local(value: str) -> Path:
    """Return the path of a text that may be the address of a file, or of a database in one.

    >>> [str(local(text)) for text in ("a/b", "file:///a%20b", "file:a", "sqlite:////a/b.db", "sqlite:///b.db")]
    ['a/b', '/a b', 'a', '/a/b.db', 'b.db']
    """
    found = re.match(r"(?i)file:(?://[^/]*)?(.*)|sqlite[+a-z]*:///(.*)", value, re.DOTALL)
    return Path(value) if found is None else Path(unquote(found[1]) if found[1] is not None else found[2])
