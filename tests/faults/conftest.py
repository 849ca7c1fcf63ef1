"""Makes `_drill` importable for the tests in this folder, and these tests for the children that run their functions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
