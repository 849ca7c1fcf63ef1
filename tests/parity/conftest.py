"""Each module begins as a fresh process would, as far as MMEngine keeps things for the life of a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_left_by_other_modules() -> Iterator[None]:
    """Forget MMEngine's visualizers, which it finds again by name, and what its scripts write into the environment."""
    visualizer = getattr(sys.modules.get("mmengine.visualization"), "Visualizer", None)
    waiting = [] if visualizer is None else [visualizer]
    while waiting:
        kind = waiting.pop()
        kind._instance_dict.clear()
        waiting += kind.__subclasses__()
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
