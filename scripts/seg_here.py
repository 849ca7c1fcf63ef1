"""Run the command `seg` in the folder that `./run seg` was typed in; hatch itself runs in the project's folder."""

from __future__ import annotations

import os
import sys

os.chdir(os.environ.get("SEG_RUN_FROM", "."))
os.execv(sys.executable, [sys.executable, "-m", "seg_engine", *sys.argv[1:]])
