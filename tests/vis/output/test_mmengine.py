"""A backend that derives from MMEngine's is handed what MMEngine would hand it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from seg_vis import Visualizer

Base = type("BaseVisBackend", (), {"__module__": "mmengine.visualization.vis_backend"})


class Keeper(Base):  # type: ignore[misc, valid-type]
    def __init__(self) -> None:
        self.got: list[Any] = []

    def add_config(self, config: Any, **kwargs: Any) -> None:
        self.got.append(config)

    def add_scalars(self, scalar_dict: Any, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        self.got.append((scalar_dict, step))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"loss": 1.0, "mode": "train", "iter": 2, "epoch": 0}, {"loss": 1.0, "iter": 2}),
        ({"loss": 1.0, "mode": "train", "iter": 2, "epoch": 3}, {"loss": 1.0, "iter": 2, "epoch": 3}),
        ({"mIoU": 5.0, "mode": "val", "iter": 2, "epoch": 3}, {"mIoU": 5.0}),
        ({"iter": 2, "epoch": 3}, {"iter": 2, "epoch": 3}),
    ],
)
def test_its_rows_have_the_names_that_mmengine_gives_them(row: dict[str, Any], expected: dict[str, Any]) -> None:
    keeper = Keeper()
    Visualizer(vis_backends=[keeper]).add_scalars(row, step=2)
    assert keeper.got == [(expected, 2)]


def test_its_config_is_mmengines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Config:
        def __init__(self, values: Any, filename: Any) -> None:
            self.values = values

    class Ours:
        def to_dict(self) -> dict[str, int]:
            return {"a": 1}

    keeper, ours = Keeper(), Ours()
    Visualizer(vis_backends=[keeper]).add_config(ours)
    module = ModuleType("mmengine.config")
    module.Config = Config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.config", module)
    Visualizer(vis_backends=[keeper]).add_config(ours)
    Visualizer(vis_backends=[keeper]).add_config("text")
    assert keeper.got[0] is ours
    assert keeper.got[1].values == {"a": 1}
    assert keeper.got[2] == "text"
