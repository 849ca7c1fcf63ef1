"""hatchling, but pip learns where the five packages lie that the meta-package requires, as no index has them yet.

In a folder (`pip install .`) they are those of the folder. In a clone that pip made itself
(`pip install "seg-engine @ git+https://..."`) they are those of the same commit, by their address: pip deletes the
clone, but keeps the wheel and takes it again, so the wheel says the same. Every other wheel, and so a release, has the
ranges of `pyproject.toml` alone, as an index refuses requirements with an address. uv does not ask; it reads
`[tool.uv.sources]` there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path

from hatchling import build
from hatchling.build import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_wheel",
]

REQUIREMENT = re.compile(
    r"^Requires-Dist: (?P<name>seg-\w+)(?P<extras>\[[\w,-]+\])?[^;\n]*(?P<marker>;[^\n]*)?$", re.MULTILINE
)
CLONE_OF_PIP = re.compile(r"pip-(?:install|wheel|download|req-build)-\w+")
Settings = dict[str, object] | None


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write what the wheel requires, with the places of the packages that lie beside it."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(Path(folder, build.build_wheel(folder))) as wheel:
        name = _metadata_in(wheel)
        wheel.extract(name, metadata_directory)
    metadata = Path(metadata_directory, name)
    metadata.write_text(REQUIREMENT.sub(_beside, metadata.read_text(encoding="utf-8")), encoding="utf-8")
    return metadata.parent.name


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel; in pip's own clone with the metadata that pip was given, since pip keeps such a wheel."""
    name = build.build_wheel(wheel_directory, config_settings, metadata_directory)
    if metadata_directory is not None and _clone() is not None:
        _set_metadata(Path(wheel_directory, name), Path(metadata_directory, "METADATA").read_bytes())
    return name


def _beside(found: re.Match[str]) -> str:
    folder, clone = Path("packages", found["name"]), _clone()  # a backend runs in the project's folder
    if not folder.is_dir():  # in an sdist, or the package itself, which an extra names
        return found[0]
    place = folder.resolve().as_uri() if clone is None else f"git+{clone}#subdirectory={folder.as_posix()}"
    marker = f" {found['marker']}" if found["marker"] else ""
    return f"Requires-Dist: {found['name']}{found['extras'] or ''} @ {place}{marker}"


def _clone() -> str | None:
    """Return `address@commit` where this folder is a clone that pip made and will delete, without a password in it."""
    if not (Path(".git").exists() and any(CLONE_OF_PIP.fullmatch(part) for part in Path.cwd().parts)):
        return None
    return f"{re.sub(r'(?<=^https://)[^@/]+@', '', _git('remote', 'get-url', 'origin'))}@{_git('rev-parse', 'HEAD')}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def _metadata_in(wheel: zipfile.ZipFile) -> str:
    (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
    return name


def _set_metadata(path: Path, metadata: bytes) -> None:
    """Put metadata into a wheel, and its hash into the list of the wheel's files."""
    with zipfile.ZipFile(path) as wheel:
        name, files = _metadata_in(wheel), [(each, wheel.read(each)) for each in wheel.infolist()]
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    line = f"{name},sha256={digest},{len(metadata)}".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for each, data in files:
            if each.filename.endswith(".dist-info/RECORD"):
                data = re.sub(rb"(?m)^" + re.escape(name.encode()) + rb",[^\r\n]*", lambda _: line, data)
            wheel.writestr(each, metadata if each.filename == name else data)
