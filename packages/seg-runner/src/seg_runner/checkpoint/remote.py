"""Checkpoints at addresses: downloaded once, to where torch keeps such files, and checked by the hash in their name.

What lies in a store (`s3://`, ...) is read through fsspec, to where the files of remote work directories lie.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlparse

import torch
from torch import nn

from seg_runner.errors import add_note, did_you_mean
from seg_runner.model.wrapping import unwrap
from seg_runner.remote.address import Store, as_path, scheme_of, shown
from seg_runner.remote.folder import cache_folder

__all__ = ["fetch", "scheme_of", "told_where_to_put"]

LOG = logging.getLogger("seg_runner")
HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
TABLES = {
    "open-mmlab": "get_external_models",
    "openmmlab": "get_external_models",
    "torchvision": "get_torchvision_models",
    "modelzoo": "get_torchvision_models",
}
"""Which function of `mmengine.runner` gives the addresses of the names with this scheme."""


def fetch(path: str, options: Mapping[str, Any] | None = None) -> Path:
    """Return the local file of an address, downloaded if it is not there yet.

    Args:
        path: `https://`, `http://` or `file://`; `open-mmlab://` and `torchvision://` names where mmengine is imported;
            any other protocol that fsspec knows, such as `s3://`.
        options: The argument `remote` of a runner: what fsspec takes, and where the copies lie.

    Raises:
        FileNotFoundError: It cannot be had; the message says where to put the file.
    """
    if scheme_of(path) == "file":
        return Path(unquote(urlparse(path).path))
    if scheme_of(path) not in (*TABLES, "http", "https"):
        return _from_store(path, options or {})
    address = _address(path)
    target = _place(address)
    if target.is_file():
        LOG.info("%s was downloaded before: %s", path, target)
        return target
    expected = HASH.search(target.name)
    LOG.info("Downloading %s to %s", address, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(target), expected and expected[1], progress=False)
    except (OSError, RuntimeError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise FileNotFoundError(
            f"{path!r} cannot be downloaded ({error}). Fetch {address} elsewhere and put it at {target}, or give a "
            "local file (load_from='/path/to/file.pth')"
        ) from error
    return target


def _from_store(path: str, options: Mapping[str, Any]) -> Path:
    """Fetch a file through fsspec; again if it was written again since."""
    folder, _, name = as_path(path).rpartition("/")
    try:
        store = Store(f"{folder}/" if folder.endswith(":/") else folder, options.get("options"))
        entry = store.entry(name)
        own = hashlib.sha256(f"{path} {entry}".encode()).hexdigest()[:12]
        target = cache_folder(options.get("cache_dir")) / "files" / own / name
        if not target.is_file():
            LOG.info("Downloading %s to %s", shown(path), target)
            store.fetch(name, target)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {shown(path)!r}") from error
    except OSError as error:
        text = f"{shown(path)!r} cannot be downloaded ({error}). Fetch it elsewhere, and give the path of that file"
        raise FileNotFoundError(text) from error
    return target


def _place(address: str) -> Path:
    """Return where torch, and MMEngine, keep the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / (Path(unquote(urlparse(address).path)).name or "unnamed.pth")


def _address(path: str) -> str:
    scheme = scheme_of(path)
    if scheme in ("http", "https"):
        return path
    if scheme not in TABLES:
        raise FileNotFoundError(f"{path!r} is no address that can be opened in a browser")
    table = getattr(sys.modules.get("mmengine.runner"), TABLES[scheme], None)
    if table is None:
        raise FileNotFoundError(
            f"{path!r} is a name from a table of MMEngine, which is not imported here: give the file's https: address, "
            "or a local file"
        )
    models, name = table(), path.partition("://")[2]
    if not isinstance(models.get(name), str):
        raise FileNotFoundError(f"{path!r}: MMEngine's table has no {name!r}.{did_you_mean(name, models)}")
    return str(models[name])


@contextmanager
def told_where_to_put(model: nn.Module) -> Iterator[None]:
    """Say where a model takes weights from by itself (`init_cfg`), where that fails: no network, or not read."""
    try:
        yield
    except (OSError, pickle.UnpicklingError) as error:
        for key, given in _given_weights(model):
            add_note(error, f"model.{key} = {given!r}{_what_to_do(given)}")
        raise


def _what_to_do(given: str) -> str:
    if not scheme_of(given):
        return ": a local file"
    try:
        address = _address(given)
    except FileNotFoundError:
        return ": give a local file here, or None for fresh weights"
    return f": fetch {address} elsewhere and put it at {_place(address)}; or give a local file here, or None"


def _given_weights(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield key and value of every `init_cfg.checkpoint` in a model."""
    for name, module in unwrap(model).named_modules():
        own = getattr(module, "init_cfg", None)
        for one in own if isinstance(own, list | tuple) else [own]:
            if isinstance(one, dict) and isinstance(one.get("checkpoint"), str):
                yield f"{name}.init_cfg.checkpoint".lstrip("."), one["checkpoint"]
