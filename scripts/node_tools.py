"""The tools that come from npm: pinned with their checksums in `scripts/node`, installed once into `.hatch`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from projects import ROOT

SOURCE = ROOT / "scripts/node"


def installed() -> Path:
    """Return the folder that holds the tools and our scripts for them; install them if this lock is not there yet.

    Raises:
        SystemExit: Node.js or npm is missing, or the registry gives other files than the lock names.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise SystemExit(
                f"there is no {program} on the path; workflows need Node.js 20 or newer: https://nodejs.org"
            )
    digest = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    target = ROOT / ".hatch" / f"node-{digest.hexdigest()[:16]}"
    return target if target.is_dir() else install(target)


def install(target: Path) -> Path:
    """Fill a folder beside the target and move it there, so that two processes may do it at once."""
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "made"
        shutil.copytree(SOURCE, made)
        command = [str(shutil.which("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            raise SystemExit("`npm ci` failed; it takes the files of scripts/node/package-lock.json, checksums and all")
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target
