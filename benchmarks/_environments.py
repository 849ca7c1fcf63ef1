"""The python that a contestant runs with: this one where it has what is needed, else that of a peer's environment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = ["PEERS", "python_for"]

PEERS = "SEG_BENCH_PEERS"
"""The environment variable that `./run bench --peers` sets."""

ROOT = Path(__file__).resolve().parents[1]
ASK = "import sys; print(sys.executable)"


def python_for(modules: tuple[str, ...], environment: str | None, peers: bool) -> tuple[str | None, str]:
    """Return a python, or None and why there is none."""
    missing = [name for name in modules if not installed(name)]
    if not missing:
        return sys.executable, ""
    if environment is None or not peers:
        hint = f" here (--peers takes the environment {environment})" if environment else ""
        return None, f"not installed{hint}: {', '.join(missing)}"
    return python_of(environment)


def installed(module: str) -> bool:
    """Whether a module could be imported; nothing is."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing, or somebody put None in its place
        return False


@cache
def python_of(environment: str) -> tuple[str | None, str]:
    """Return the python of an environment of `hatch.toml`, made first if it is not there; or None and why."""
    command = [sys.executable, str(ROOT / "run"), f"{environment}:python", "-c", ASK]
    clean = {name: value for name, value in os.environ.items() if name not in ("HATCH_ENV_ACTIVE", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        return None, f"the environment {environment} could not be made: {' '.join(lines[-2:])}"
    return done.stdout.split("\n")[-2].strip(), ""
