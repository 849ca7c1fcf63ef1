"""A few street scenes, drawn once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_engine.demo.scenes import write_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and three validation scenes; read only."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), training=6, validation=3)
