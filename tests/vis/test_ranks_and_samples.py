"""Which process draws; what a sample holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from seg_vis import SegLocalVisualizer
from seg_vis.output.ranks import first_process, launched_rank
from seg_vis.samples import field, image_path


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False), ("7", False)])
def test_the_environment_tells_the_rank(monkeypatch: Any, rank: str | None, first: bool) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    assert first_process() is first


@pytest.mark.parametrize(
    ("given", "rank"),
    [
        ({"OMPI_COMM_WORLD_RANK": "1"}, 1),
        ({"PMI_RANK": "2"}, 2),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 1),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, 0),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "2"}, 1),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "RANK": "0"}, 0),  # torchrun inside a Slurm step
        ({"SLURM_NTASKS": "4"}, 0),
        ({"RANK": ""}, 0),
        ({}, 0),
    ],
)
def test_each_launcher_tells_the_rank(monkeypatch: Any, given: dict[str, str], rank: int) -> None:
    for name in ("RANK", *(name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PMI_")))):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert launched_rank(os.environ) == rank
    assert first_process() is (rank == 0)


DRAWING = """
import numpy, sys
from pathlib import Path
from seg_vis import SegLocalVisualizer
visualizer = SegLocalVisualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=sys.argv[1])
visualizer.add_datasample("x", numpy.zeros((8, 8, 3), "uint8"), {"gt_sem_seg": numpy.zeros((8, 8), "uint8")})
visualizer.add_scalar("loss", 1.0, step=1)
visualizer.add_config({"a": 1})
visualizer.close()
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("given", [{"RANK": "{}", "WORLD_SIZE": "2"}, {"SLURM_PROCID": "{}", "SLURM_NTASKS": "2"}])
def test_before_there_is_a_group_only_the_first_process_writes(tmp_path: Path, given: dict[str, str]) -> None:
    for rank in (1, 0):
        assert not list(tmp_path.iterdir())
        told = {name: value.format(rank) for name, value in given.items()}
        subprocess.run([sys.executable, "-c", DRAWING, tmp_path], env={**os.environ, **told}, check=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".png", ".json"}


def test_a_process_group_tells_it_better(monkeypatch: Any) -> None:
    group = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda: 3)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(distributed=group))
    monkeypatch.setenv("RANK", "0")
    assert not first_process()
    group.get_rank = lambda: 0
    assert first_process()


def test_fields_of_dicts_objects_and_wrapped_data() -> None:
    plane = np.zeros((2, 2))
    assert field({"gt_sem_seg": plane}, "gt_sem_seg") is plane
    assert field(SimpleNamespace(gt_sem_seg=SimpleNamespace(data=plane)), "gt_sem_seg") is plane
    assert field({"gt_sem_seg": [[1]]}, "gt_sem_seg") == [[1]]
    assert field({}, "gt_sem_seg") is None
    assert field(SimpleNamespace(), "gt_sem_seg") is None
    assert field(None, "gt_sem_seg") is None


@pytest.mark.parametrize(
    ("sample", "error", "words"),
    [
        (np.zeros((2, 2)), TypeError, "got ndarray"),
        ("labels.png", TypeError, "got str"),
        ([np.zeros((2, 2))], TypeError, "got list"),
        ({"pred_semseg": np.zeros((2, 2))}, ValueError, "got pred_semseg; did you mean pred_sem_seg?"),
        ({"mask": np.zeros((2, 2))}, ValueError, "a data sample has gt_sem_seg, pred_sem_seg"),
    ],
)
def test_what_can_be_no_data_sample_is_refused(sample: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        SegLocalVisualizer().add_datasample("x", np.zeros((2, 2)), sample)


def test_samples_may_have_any_of_the_parts_or_none() -> None:
    visualizer = SegLocalVisualizer()
    for sample in (None, {}, SimpleNamespace(), {"gt_depth_map": np.zeros((2, 2)), "name": "x"}):
        visualizer.add_datasample("x", np.zeros((2, 2)), sample)


def test_the_path_of_the_image() -> None:
    assert image_path({"img_path": "a.png"}) == "a.png"
    assert image_path(SimpleNamespace(img_path="b.png")) == "b.png"
    assert image_path(SimpleNamespace(metainfo={"img_path": "c.png"})) == "c.png"
    assert image_path(SimpleNamespace()) is None
    assert image_path(None) is None
