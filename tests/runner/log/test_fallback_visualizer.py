"""The visualizer of a run without seg-vis: scalars as lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from seg_runner.log.fallback_visualizer import FallbackVisualizer


def test_scalars_go_to_a_file_whole_line_by_whole_line(tmp_path: Path) -> None:
    visualizer = FallbackVisualizer(tmp_path)
    visualizer.add_scalars({"loss": 1.5, "iou": np.float32(0.5)}, step=3)
    visualizer.add_scalars({"loss": torch.tensor(2.0)}, step=4, file_path="other.json")
    visualizer.add_scalar("share", 0.5, 5)
    lines = (tmp_path / "vis_data" / "scalars.json").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"loss": 1.5, "iou": 0.5, "step": 3},
        {"loss": 2.0, "step": 4},
        {"share": 0.5, "step": 5},
    ]
    assert (tmp_path / "vis_data" / "other.json").read_text() == lines[1] + "\n"
    visualizer.close()


def test_the_config_is_kept_beside_the_scalars(tmp_path: Path) -> None:
    class Config:
        pretty_text = "a = 1\n"

    FallbackVisualizer(tmp_path).add_config(Config())
    assert (tmp_path / "vis_data" / "config.py").read_text() == "a = 1\n"
