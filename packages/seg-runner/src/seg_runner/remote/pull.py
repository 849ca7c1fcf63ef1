"""At the start of a run: bringing the local copy in line with what lies in the store.

Of a checkpoint only its end is fetched. What the store has otherwise than an earlier process left it there was changed
by another machine, and goes first; what that process did not bring over any more is kept, to be brought over now.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from seg_runner.remote.address import Entry, RemoteError, Store
from seg_runner.remote.folder import IGNORED, LocalCopy
from seg_runner.remote.stubs import END, address_in, is_stub, write_stub

__all__ = ["fetch_stub", "is_manifest", "is_weights", "pull"]

LOG = logging.getLogger("seg_runner")
SMALL = 2**20
"""Bytes up to which a file beside the checkpoints is fetched."""
ROWS = 2**26
"""Bytes up to which a file of logged numbers is: those of earlier sessions are read when a run goes on."""


def is_weights(name: str) -> bool:
    """Tell whether a file is a checkpoint, or one of those that make one together, by its name."""
    return name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".distcp", ".shards"))


def is_manifest(name: str) -> bool:
    """Tell whether a file says that a checkpoint of several files is whole: `iter_100.pth/manifest.json`."""
    folder, _, own = name.rpartition("/")
    return own == "manifest.json" and folder.endswith(".pth")


def _unfinished(listed: Iterable[str]) -> list[str]:
    """List files of a checkpoint of several files that does not say that it is whole."""
    listed = set(listed)
    folders = {name: name.rpartition("/")[0] for name in listed}
    return [name for name, own in folders.items() if own.endswith(".pth") and f"{own}/manifest.json" not in listed]


def pull(store: Store, copy: LocalCopy) -> list[str]:
    """Bring the local copy in line with the store.

    Returns:
        The names of what killed runs left there half written.

    Raises:
        RemoteError: The store cannot be reached.
    """
    copy.load()
    listed = store.entries()
    unfinished = _unfinished(listed)
    there = {name: entry for name, entry in listed.items() if not IGNORED.fullmatch(name.rpartition("/")[2])}
    here = copy.files()
    if any(map(is_weights, there)):
        _forget_deleted(copy, there, here)
    else:  # nothing there to go on from: what is here may be all that is left of the run, and is brought over again
        for name in [name for name in copy.known if name not in there]:
            copy.forget(name)
    for name, entry in there.items():
        if name not in here and name in unfinished:
            continue
        if name not in here:
            _fetch_new(store, copy, name, entry)
        elif name not in copy.known:
            _adopt(store, copy, name, entry)
        elif copy.known[name][1] != entry:
            _renew(store, copy, name, entry)
    copy.store()
    left = [name for name in listed if name.endswith(".tmp") and name not in there]
    return left + [name for name in unfinished if name not in here]


def _forget_deleted(copy: LocalCopy, there: dict[str, Entry], here: dict[str, list[int]]) -> None:
    """Delete here what was deleted there since; what was written here after it was brought over stays."""
    for name, (stamp, _) in list(copy.known.items()):
        if name not in there:
            copy.forget(name)
            if here.get(name) == stamp:
                (copy.work_dir / name).unlink(missing_ok=True)
                del here[name]


def _fetch_new(store: Store, copy: LocalCopy, name: str, entry: Entry) -> None:
    """Fetch what a run looks at in its folder: the ends of checkpoints, small files, earlier sessions' numbers."""
    if name in copy.known and not _wanted(name, entry):
        return
    if name in copy.known:  # deleted here by a process that could not bring that over any more
        return
    if is_weights(name):
        _stand_in(store, copy, name, entry)
    elif _wanted(name, entry):
        with suppress(FileNotFoundError):
            store.fetch(name, copy.work_dir / name)
            copy.note(name, copy.stamp(name), entry)


def _wanted(name: str, entry: Entry) -> bool:
    if is_manifest(name):
        return True
    if "/" not in name:
        return entry.size <= SMALL
    if name.endswith("/run.json"):
        return entry.size <= SMALL
    return "/vis_data/" in name and name.endswith(".json") and entry.size <= ROWS


def _stand_in(store: Store, copy: LocalCopy, name: str, entry: Entry) -> None:
    path = copy.work_dir / name
    with suppress(FileNotFoundError):
        write_stub(path, f"{store.name}/{name}", store.read(name, max(entry.size - END, 0))[-END:])
        copy.note(name, copy.stamp(name), entry)


def _adopt(store: Store, copy: LocalCopy, name: str, entry: Entry) -> None:
    """See whether a file that nobody noted is the same here and there: a process ended between bringing and noting."""
    path = copy.work_dir / name
    if not is_weights(name):
        return  # the newer one is the one here
    if path.stat().st_size == entry.size and _end_of(path) == store.read(name, max(entry.size - END, 0))[-END:]:
        copy.note(name, copy.stamp(name), entry)
        return
    _put_aside(copy, path)
    _stand_in(store, copy, name, entry)


def _renew(store: Store, copy: LocalCopy, name: str, entry: Entry) -> None:
    """Take over what another machine wrote."""
    path = copy.work_dir / name
    changed_here = copy.known[name][0] != copy.stamp(name)
    if is_weights(name):
        if changed_here and not is_stub(path):
            _put_aside(copy, path)
        _stand_in(store, copy, name, entry)
    elif _wanted(name, entry):
        with suppress(FileNotFoundError):
            store.fetch(name, path)
            copy.note(name, copy.stamp(name), entry)
    else:
        copy.note(name, copy.stamp(name), entry)


def _put_aside(copy: LocalCopy, path: Path) -> None:
    copy.aside.mkdir(parents=True, exist_ok=True)
    kept = copy.aside / f"{path.name}.{secrets.token_hex(3)}"
    path.replace(kept)
    text = "%s was written here and never brought over, and there another one has its name: this one is kept as %s"
    LOG.warning(text, path.name, kept)


def _end_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - END, 0))
        return file.read()


def fetch_stub(store: Store, copy: LocalCopy, path: Path) -> None:
    """Put a checkpoint in the place of its stand-in.

    Raises:
        RemoteError: It is not to be had.
    """
    name = path.relative_to(copy.work_dir.resolve()).as_posix()
    source = address_in(path).removeprefix(f"{store.name}/")  # another name where the stand-in was renamed
    LOG.info("Fetching %s from %s", source, store.name)
    try:
        store.fetch(source, path)
    except FileNotFoundError as error:
        raise RemoteError(f"{store.name} has no {source} any more") from error
    if name in copy.known:
        copy.note(name, copy.stamp(name), copy.known[name][1])
