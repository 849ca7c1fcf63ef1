"""How often the drills kill: a few times in each run of the tests, many times where `./run soak` asks for it."""

from __future__ import annotations

import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the numbers that `scripts/soak.py` sets."""
    group = parser.getgroup("soak")
    group.addoption("--saves", type=int, default=20, help="kills during saves")
    group.addoption("--kills", type=int, default=4, help="kills during training")
    group.addoption("--seed", type=int, default=1, help="draws the moments of the kills")


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Draw the moments of the kills."""
    return random.Random(request.config.getoption("seed", 1))
