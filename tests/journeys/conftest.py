"""What journeys share: a few street scenes, one thread, and configs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_engine.demo.scenes import write_scenes

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and three validation scenes; read only."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), training=6, validation=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are quicker on one thread, and equal to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_config(tmp_path: Path, scenes: Path) -> Write:
    """Writes a config on top of the demo's bases; `extra` is pasted at the end."""

    def write(extra: str = "", *, name: str = "run", **options: Any) -> Path:
        from helpers.small_config import small_config

        return small_config(tmp_path / f"{name}.py", scenes, extra, **options)

    return write
