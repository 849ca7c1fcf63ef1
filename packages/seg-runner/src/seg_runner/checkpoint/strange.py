"""What a file is that somebody gave for a checkpoint: a picture, a text, an archive, ... told by its first bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["kind_of_file"]

HEAD = 4096

PICTURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
OTHERS = {
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "an archive packed by gzip",
    b"BZh": "an archive packed by bzip2",
    b"\xfd7zXZ": "an archive packed by xz",
    b"7z\xbc\xaf": "an archive of 7-Zip",
    b"\x93NUMPY": "an array of numpy (.npy)",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
}


def kind_of_file(path: str | Path) -> str:
    """What a file is, in words; empty where it may be a checkpoint.

    >>> kind_of_file(__file__)
    'a text'
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    for start, name in PICTURES.items():
        if head.startswith(start) and (name != "BMP" or head[6:10] == bytes(4)):
            return f"a picture ({name})"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a picture (WebP)"
    if head[4:8] == b"ftyp":
        return "a picture (HEIC, AVIF) or a video"
    if head[8:10] == b'{"':
        return "a file of safetensors, which holds weights only"
    for start, name in OTHERS.items():
        if head.startswith(start):
            return name
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    return _kind_of_text(head)


def _kind_of_zip(path: str | Path) -> str:
    """A zip in which torch.save's records are missing; one that is cut off may be a checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return ""
    if any(name.endswith("/data.pkl") for name in names):
        return ""
    if any(name.endswith("constants.pkl") for name in names):
        return ""
    return "arrays of numpy (.npz)" if names and names[0].endswith(".npy") else "a zip archive of other files"


def _kind_of_text(head: bytes) -> str:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a letter may be cut by the end of what was read
            return ""
        text = head[: error.start].decode("utf-8-sig")
    if not text.strip() or not all(letter.isprintable() or letter in "\t\r\n\f" for letter in text):
        return ""
    start = text.lstrip().lower()
    if start.startswith("version https://git-lfs"):
        return "a pointer of Git LFS (fetch the file itself: git lfs pull)"
    return "a web page (a failed download?)" if start.startswith(("<!doctype", "<html")) else "a text"
