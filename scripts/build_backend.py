"""hatchling, but in a checkout pip learns that the five packages lie beside the meta-package.

So `pip install .` and `pip install git+https://...` work without an index that has them. Only what pip asks for before
it builds is changed: a wheel, and so a release, has the ranges of `pyproject.toml` alone, as an index refuses
requirements that name a folder. uv does not ask; it reads `[tool.uv.sources]` there.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

from hatchling import build
from hatchling.build import (
    build_editable,
    build_sdist,
    build_wheel,
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

REQUIREMENT = re.compile(r"^Requires-Dist: (?P<name>seg-\w+)(?P<extras>\[[\w,]+\])?[^\n]*$", re.MULTILINE)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: dict[str, object] | None = None) -> str:
    """Write what the wheel requires, with the folders of this checkout for the packages that lie in it."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(Path(folder, build.build_wheel(folder))) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        wheel.extract(name, metadata_directory)
    metadata = Path(metadata_directory, name)
    metadata.write_text(REQUIREMENT.sub(_beside, metadata.read_text(encoding="utf-8")), encoding="utf-8")
    return metadata.parent.name


def _beside(found: re.Match[str]) -> str:
    folder = Path("packages", found["name"]).resolve()  # a backend runs in the project's folder
    if not folder.is_dir():  # in an sdist
        return found[0]
    return f"Requires-Dist: {found['name']}{found['extras'] or ''} @ {folder.as_uri()}"
