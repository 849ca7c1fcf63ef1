"""Runs the steps of the tutorial as a reader would, and keeps what they print and draw for its page.

The steps are `docs/tutorial/steps/NN_name.sh` and `.py`, run in order, all in one folder that is empty at first, with
`seg` and `python` of this environment. What `05_train` prints lies afterwards in `docs/_made/tutorial/05_train.txt`,
and beside it each picture that a step left in that folder. A step with `mistake` in its name shows an error message: it
must fail, the others must not.

They are not run again while the steps, the packages and the configs in `docs/tutorial` stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from projects import ROOT

STEPS = ROOT / "docs/tutorial/steps"
MADE = ROOT / "docs/_made/tutorial"
PICTURES = {".png", ".jpg", ".svg"}
SOURCES = ("src/**/*.py", "packages/*/src/**/*.py", "docs/tutorial/steps/*", "scripts/site_tutorial.py")


def state() -> str:
    """Return a digest of all that decides what the steps print."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Return the variables of a step: this environment's commands first, no colours, lines of 100 characters."""
    bin_folder = str(Path(sys.executable).parent)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SEG_", "PYTHON"))}
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    plain["OMP_NUM_THREADS"] = "1"  # the same numbers on every machine, and no waiting for threads on a busy one
    return clean | plain | {"PATH": os.pathsep.join([bin_folder, clean["PATH"]])}


def run_step(step: Path, folder: Path) -> str:
    """Run one step and return what it prints; paths are as seen from the folder.

    Raises:
        SystemExit: it fails and should not, or the other way round.
    """
    command = ["python", str(step)] if step.suffix == ".py" else ["bash", "-euo", "pipefail", str(step)]
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if (done.returncode != 0) != ("mistake" in step.stem):
        wanted = "fail, and it did not" if "mistake" in step.stem else "work"
        sys.exit(
            f"{done.stdout}\nsite: the step {step.name} of the tutorial ended with {done.returncode}; "
            f"it should {wanted}. What it printed stands above."
        )
    return done.stdout.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")


def keep(pictures: Path) -> None:
    """Copy the pictures that lie in a folder, not below it, to where the page finds them."""
    for path in pictures.iterdir():
        if path.suffix in PICTURES:
            shutil.copy(path, MADE / path.name)


def run_steps() -> None:
    """Run every step, unless what is there was made by the same steps and packages."""
    steps = sorted(path for path in STEPS.glob("*") if path.suffix in (".sh", ".py"))
    mark, now = MADE / "state", state()
    if not steps or (mark.exists() and mark.read_text() == now):
        return
    shutil.rmtree(MADE, ignore_errors=True)
    MADE.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as fresh:
        folder = Path(fresh).resolve() / "fields"
        folder.mkdir()
        for step in steps:
            print(f"site: tutorial, {step.name}", flush=True)
            (MADE / f"{step.stem}.txt").write_text(run_step(step, folder), encoding="utf-8")
            keep(folder)
    mark.write_text(now)
