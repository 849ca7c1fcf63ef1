"""Keeping the tables of a benchmark for the documentation, with the machine and the versions that they are of."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["TABLES", "add_table", "keep"]

TABLES = "SEG_BENCH_TABLES"
"""The environment variable that names the file which tables are added to, a line of JSON each."""

LIBRARIES = ("torch", "numpy", "opencv-python", "mmengine", "mmsegmentation", "lightning", "accelerate", "supervision")


def add_table(title: str, header: list[str], rows: list[list[str]], figures: dict[str, Any] | None = None) -> None:
    """Add a table to the file that `TABLES` names; nothing where it names none."""
    if path := os.environ.get(TABLES):
        table = {"title": title, "header": header, "rows": rows} | ({"figures": figures} if figures else {})
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(table) + "\n")


def keep(name: str, tables: Path, load: float | None, folder: Path) -> None:
    """Write `<folder>/<name>.json`.

    Raises:
        RuntimeError: the benchmark has made no table.
    """
    if not tables.exists():
        raise RuntimeError(f"the benchmark {name} has made no table: only what `print_table` prints is kept")
    record = {
        "command": f"./run bench {name}",
        "day": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(load),
        "versions": versions(),
        "tables": [json.loads(line) for line in tables.read_text(encoding="utf-8").splitlines()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def machine(load: float | None) -> dict[str, object]:
    """Return the processor, its cores, and how many of them other programs kept busy when the benchmark began."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None,
        "system": platform.platform(terse=True),
        "load": load,
    }


def commit() -> str | None:
    """Return the commit that is measured, with a `+` where files differ from it; None outside of a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
        found = [subprocess.run([*git, *each], capture_output=True, text=True, check=True).stdout for each in asked]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0].strip() + ("+" if found[1].strip() else "")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
