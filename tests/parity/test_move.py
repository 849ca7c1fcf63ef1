"""The commands of `docs/from-mmseg.md`, one after the other in a folder, with MMSegmentation's own parts."""

from __future__ import annotations

import importlib.util
import runpy
import shlex
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from projects import ROOT

from seg_engine.cli import main

if importlib.util.find_spec("mmseg") is None:
    pytest.skip("mmsegmentation is not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = ROOT / "docs/from-mmseg/steps"


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The folder after all steps, and the exit code of each command."""
    folder, codes = tmp_path_factory.mktemp("move") / "project", {}
    shutil.copytree(STEPS / "project", folder)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for step in sorted(path for path in STEPS.iterdir() if path.is_file()):
            if step.suffix == ".py":
                runpy.run_path(str(step), run_name="__main__")
                continue
            for line in step.read_text(encoding="utf-8").splitlines():
                name, *words = shlex.split(line)
                assert name == "seg"  # in this process: importing MMSegmentation takes longest of all
                codes[step.stem] = main(words)
    return folder, codes


def test_every_command_of_the_page_works(moved: tuple[Path, dict[str, int]]) -> None:
    page = (ROOT / "docs/from-mmseg.md").read_text(encoding="utf-8")
    steps = [path.name for path in sorted(STEPS.iterdir()) if path.is_file() and "01_" not in path.name]
    assert [name for name in steps if f"from-mmseg/steps/{name}" not in page] == []
    assert moved[1] == {"02_look": 1, "03_train": 0, "04_resume": 0, "05_test": 0, "06_checkpoint": 0}


def test_it_trained_went_on_tested_and_went_back(moved: tuple[Path, dict[str, int]]) -> None:
    folder = moved[0]
    ours = torch.load(folder / "work_dirs/street/iter_5.pth", weights_only=True)
    assert ours["meta"]["iter"] == 5
    assert len(list((folder / "predicted").rglob("*.png"))) == 2
    theirs = torch.load(folder / "street_mmengine.pth", weights_only=True)
    assert {"state_dict", "meta", "optimizer", "param_schedulers", "message_hub"} == set(theirs)
