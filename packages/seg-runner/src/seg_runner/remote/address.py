"""Addresses, and the files behind one: listing, reading and writing through fsspec, each file whole or absent."""

from __future__ import annotations

import importlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

from seg_runner.errors import did_you_mean

__all__ = ["Entry", "RemoteError", "Store", "as_path", "cause_of", "scheme_of", "shown"]

LOCAL = ("file", "local")
WHOLE = ("abfs", "abfss", "adl", "az", "gcs", "gs", "hf", "lakefs", "oci", "oss", "s3", "s3a", "tos")
"""Protocols that show a file only once all of it is there. With others a file gets its name when it is whole."""
PASSWORD = re.compile(r"(://[^/@:]*:)([^/]+)@")
BLOCK = 2**22
"""Bytes that FTP sends with one command; fsspec takes 64 KB, with a command for each."""
VERSION = (
    "ETag",
    "etag",
    "md5Hash",
    "md5",
    "mtime",
    "modify",
    "LastModified",
    "last_modified",
    "modified",
    "updated",
    "created",
)

WRITTEN = ("LastModified", "last_modified", "mtime", "modify", "modified", "updated", "created")


class RemoteError(OSError):
    """A store that cannot be reached, or that refuses; the message says what to do."""


def scheme_of(path: object) -> str:
    """Return the scheme of an address; empty for a path.

    >>> scheme_of("https://a/b.pth"), scheme_of("open-mmlab://resnet50_v1c"), scheme_of("C:/b.pth"), scheme_of("b.pth")
    ('https', 'open-mmlab', '', '')
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", path) if isinstance(path, str) else None
    return found[1].lower() if found else ""


def as_path(path: str | PurePath) -> str:
    """Return an address or a path as a text: `Path` takes a slash from addresses, `file:` is a path.

    >>> as_path(PurePath("s3:/a/b")), as_path("file:///a%20b"), as_path("a/b"), as_path("s3://a/b/")
    ('s3://a/b', '/a b', 'a/b', 's3://a/b')
    """
    text = str(path)
    scheme = scheme_of(text)
    if scheme in LOCAL:
        return unquote(urlparse(text).path)
    return re.sub(r"(?<=[^:/])/+$", "", re.sub(r"^([A-Za-z0-9+.-]+):/+", r"\1://", text)) if scheme else text


def shown(address: str) -> str:
    """Return an address without the password in it.

    >>> shown("ftp://me:secret@host/runs"), shown("s3://bucket/runs")
    ('ftp://me:***@host/runs', 's3://bucket/runs')
    """
    return PASSWORD.sub(r"\1***@", address)


class Entry(NamedTuple):
    """A file of a store: its size, and what changes when it is written again."""

    size: int
    version: str


class Store:
    """The files below one address, by their names relative to it.

    Args:
        address: `s3://bucket/runs/a`, ...
        options: What fsspec's class for the protocol takes: `endpoint_url`, `token`, `username`, ...

    Every method raises `RemoteError` where a package is missing, no protocol has that name, or the store cannot be
    reached or refuses.
    """

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        self.address, self.options = as_path(address), dict(options or {})
        if scheme_of(self.address) == "ftp":
            self.options.setdefault("block_size", BLOCK)
        self.name = shown(self.address)
        self.whole = scheme_of(self.address) in WHOLE
        self._made: set[str] = set()
        self._open: tuple[Any, str] | None = None

    def disconnect(self) -> None:
        """Have the next call open the store anew: a connection that broke is not always mended by what holds it."""
        self._open = None
        self._made.clear()

    @property
    def files(self) -> Any:
        """Return the file system of fsspec, opened when it is first needed."""
        return self._opened()[0]

    @property
    def root(self) -> str:
        """Return the address as the file system has it."""
        return self._opened()[1]

    def _opened(self) -> tuple[Any, str]:
        if self._open is not None:
            return self._open
        core = self._fsspec("fsspec.core")
        with self._told("cannot be opened"):
            try:
                files, root = core.url_to_fs(self.address, **{"skip_instance_cache": True, **self.options})
            except ImportError as error:
                raise RemoteError(_missing(self.name, error)) from error
            except ValueError as error:
                raise RemoteError(self._unknown(error)) from error
        self._open = files, root.rstrip("/")
        return self._open

    def _fsspec(self, module: str) -> Any:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise RemoteError(f"{self.name} needs fsspec, which is not installed: pip install fsspec") from error

    def _unknown(self, error: ValueError) -> str:
        known = self._fsspec("fsspec.registry").known_implementations
        scheme = scheme_of(self.address)
        if scheme in known:
            return f"{self.name} cannot be opened: {error}"
        return f"{self.name}: no protocol is called {scheme!r}.{did_you_mean(scheme, known)} fsspec knows s3, gs, ..."

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn whatever a client raises into one kind of error; a file that is not there stays one."""
        try:
            yield
        except (RemoteError, FileNotFoundError):
            raise
        except NotImplementedError as error:
            raise RemoteError(f"{self.name} {what}: {scheme_of(self.address)}:// can only be read") from error
        except Exception as error:  # each client has its own: of ftplib, botocore, aiohttp, paramiko, ...
            password = PASSWORD.search(self.address)
            text = cause_of(error).replace(password[2], "***") if password else cause_of(error)
            raise RemoteError(f"{self.name} {what}: {text}") from error

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def entries(self) -> dict[str, Entry]:
        """List all files below the address; none where there is no such folder yet."""
        found: dict[str, Entry] = {}
        with self._told("cannot be listed"):
            self.files.invalidate_cache()
            with suppress(FileNotFoundError):
                self._walk(self.root, found)
        return found

    def _walk(self, folder: str, found: dict[str, Entry]) -> None:
        for info in self.files.ls(folder, detail=True):
            path = str(info["name"]).rstrip("/")
            name = path[len(self.root) :].strip("/")
            if not name or path == folder:  # some stores list a folder in itself
                continue
            if info.get("type") == "directory":
                self._walk(path, found)
            else:
                found[name] = _entry(info)

    def entry(self, name: str) -> Entry:
        """Return how the store lists a file.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._told(f"does not list {name}"):
            self.files.invalidate_cache()
            return _entry(self.files.info(self._path(name)))

    def read(self, name: str, start: int = 0) -> bytes:
        """Return the bytes of a small file, or its end.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._told(f"does not give {name}"):
            data: bytes = self.files.cat_file(self._path(name), start=start or None)
        return data

    def fetch(self, name: str, target: Path) -> None:
        """Bring a file here, whole or not at all.

        Raises:
            FileNotFoundError: There is none.
        """
        part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._told(f"does not give {name}"):
                self.files.invalidate_cache()
                info = self.files.info(self._path(name))
                self.files.get_file(self._path(name), str(part))
            if part.stat().st_size != (size := _entry(info).size):
                raise RemoteError(f"{self.name} gave {part.stat().st_size} of the {size} bytes of {name}")
            if (written := _written(info)) is not None:  # what was written first is the older one here, too
                os.utime(part, (written, written))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file at once."""
        target = name if self.whole else _temporary(name)
        with self._told(f"does not take {name}"):
            self._make_folder(name)
            self.files.pipe_file(self._path(target), data)
            self.files.invalidate_cache()
            self._rename(self._path(target), self._path(name))

    def bring(self, source: Path, name: str, moves: Callable[[], None] = lambda: None) -> Entry:
        """Bring a local file over; under its name there is all of it, or what was there before.

        Args:
            source: The file.
            name: What it is called there.
            moves: Called whenever a part of it has gone over.

        Returns:
            How the store lists it.
        """

        class Progress(self._fsspec("fsspec.callbacks").Callback):  # type: ignore[misc]  # loaded where it is needed
            def call(self, *_: object, **__: object) -> None:
                moves()

        path = self._path(name)
        target = path if self.whole else self._path(_temporary(name))
        with self._told(f"does not take {name}"):
            self._make_folder(name)
            try:
                self.files.put_file(str(source), target, callback=Progress())
                self.files.invalidate_cache()
                self._rename(target, path)
            except BaseException:
                if target != path:
                    with suppress(Exception):
                        self.files.rm_file(target)
                raise
            entry = self.entry(name)
            if entry.size != source.stat().st_size:
                raise RemoteError(f"{self.name} has {entry.size} of the {source.stat().st_size} bytes of {name}")
        return entry

    def _rename(self, source: str, target: str) -> None:
        if source == target:
            return
        try:
            self.files.mv(source, target)
        except Exception:  # some servers do not rename over a file
            if not self.files.exists(source) or not self.files.exists(target):
                raise
            self.files.rm_file(target)
            self.files.mv(source, target)

    def _make_folder(self, name: str) -> None:
        folder = self._path(name).rpartition("/")[0]
        if not self.whole and folder and folder not in self._made:
            self.files.invalidate_cache()
            try:
                self.files.makedirs(folder, exist_ok=True)
            except Exception:  # another connection may have made it meanwhile
                self.files.invalidate_cache()
                if not self.files.isdir(folder):
                    raise
            self._made.add(folder)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._told(f"does not delete {name}"), suppress(FileNotFoundError):
            self.files.invalidate_cache()
            if self.whole or self.files.exists(self._path(name)):
                self.files.rm_file(self._path(name))


def _temporary(name: str) -> str:
    folder, _, own = name.rpartition("/")
    part = f".{own[:40]}.{secrets.token_hex(6)}.tmp"
    return f"{folder}/{part}" if folder else part


def _entry(info: Mapping[str, Any]) -> Entry:
    version = next((info[key] for key in VERSION if info.get(key)), "")
    if isinstance(version, datetime):  # the same file is listed with a number
        version = version.timestamp()
    return Entry(int(info.get("size") or 0), str(version))


def _written(info: Mapping[str, Any]) -> float | None:
    """Return when a file was written, by the clock of the store; None where it does not say."""
    for value in (info[key] for key in WRITTEN if info.get(key)):
        with suppress(ValueError, TypeError):
            if isinstance(value, datetime):
                return value.timestamp()
            if isinstance(value, str) and value[:14].isdigit():  # of FTP: 20260131235959
                return datetime.strptime(f"{value[:14]} +0000", "%Y%m%d%H%M%S %z").timestamp()
            return float(value) if not isinstance(value, str) else datetime.fromisoformat(value).timestamp()
    return None


def cause_of(error: BaseException) -> str:
    """Return what a client says, on one line, with its kind where it says little."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}{': ' if text else ''}{text}"


def _missing(name: str, error: ImportError) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or "").partition(".")[0] or "fsspec[full]"
    return f"{name} needs a package that is not installed: pip install {package} ({cause_of(error)})"
