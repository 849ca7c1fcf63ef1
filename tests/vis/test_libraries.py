"""What is imported when, and what the errors say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from seg_vis.libraries import load_cv2, load_library


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_no_library_but_numpy() -> None:
    loaded = modules_after("import seg_vis")
    assert not loaded & {"cv2", "torch", "matplotlib", "tensorboard", "wandb", "mlflow", "PIL"}


def test_making_a_visualizer_draws_nothing_and_loads_nothing() -> None:
    loaded = modules_after(
        "from seg_vis import *\n"
        "SegLocalVisualizer(vis_backends=[dict(type='TensorboardVisBackend'), dict(type='WandbVisBackend')],"
        " save_dir='nowhere')\nSegVisualizationHook(draw=True)"
    )
    assert not loaded & {"cv2", "torch", "tensorboard", "wandb"}


def test_opencv_that_is_missing_names_both_wheels(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless") as raised:
        load_cv2()
    assert "pip install opencv-python " in str(raised.value)


def test_a_missing_system_library_names_the_packages(monkeypatch: Any) -> None:
    class Finder:
        """Fails as the loader does where libGL is not installed."""

        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> None:
            if name == "cv2":
                raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(ImportError, match=r"apt-get install libgl1 libglib2\.0-0") as raised:
        load_cv2()
    assert "opencv-python-headless" in str(raised.value)
    assert isinstance(raised.value.__cause__, ImportError)


def test_an_optional_library_says_what_to_install() -> None:
    with pytest.raises(ImportError, match="nothing is not installed: pip install nothing-at-all"):
        load_library("no_such_library", "nothing", "nothing-at-all")
