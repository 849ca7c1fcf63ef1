"""A few street scenes, drawn once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seg_engine.demo.scenes import write_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and three validation scenes; read only."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), training=6, validation=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are quicker on one thread: several wait for one another where cores are taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
