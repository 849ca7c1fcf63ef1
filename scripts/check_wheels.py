"""Build every wheel, install them into an empty environment without the repository, and use them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from projects import META, NAMES, ROOT, Project

USE = """
import importlib, importlib.metadata, pathlib, sys
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert sys.argv[1] not in module.__file__, module.__file__
    for public in module.__all__:
        getattr(module, public)
for distribution in importlib.metadata.distributions():
    for point in distribution.entry_points:
        if point.group.startswith("seg_engine."):
            point.load()
"""


def run(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a command and show what it prints only when it fails."""
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"check_wheels: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Exit with a message if a wheel lacks something."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("check_wheels: needs uv on the path (the default environment has it: ./run wheels)")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for name in NAMES:
        run(uv, "build", "--quiet", "--out-dir", dist, Project(name).folder)
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "env"
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        links = ["--find-links", str(dist)]
        if os.environ.get("UV_FIND_LINKS"):
            links += ["--find-links", os.environ["UV_FIND_LINKS"]]
        run(uv, "venv", "--quiet", "--python", sys.executable, environment)
        run(uv, "pip", "install", "--quiet", "--python", python, *links, META)
        names = [Project(name).module for name in NAMES]
        run(python, "-I", "-W", "error", "-c", USE, str(ROOT), *names, cwd=Path(folder))
        run(environment / python.parent.name / "seg", "--help", cwd=Path(folder))
    print(f"check_wheels: {len(list(dist.glob('*.whl')))} wheels install and work without the repository")


if __name__ == "__main__":
    main()
