"""A folder of a run is a text to code that was written for MMEngine, and a path to all other code."""

from __future__ import annotations

import inspect
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from seg_runner.mmengine.folders import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    return Folder(tmp_path)


def test_it_is_a_text(folder: Any, tmp_path: Path) -> None:
    assert isinstance(folder, str)
    assert folder + "/a.pth" == f"{tmp_path}/a.pth"
    assert "in " + folder == f"in {tmp_path}"
    assert os.path.join(folder, "x") == os.path.join(str(tmp_path), "x")
    assert folder.rsplit("/", 1)[-1] == tmp_path.name
    assert json.loads(json.dumps({"at": folder})) == {"at": str(tmp_path)}
    assert repr(folder) == repr(str(tmp_path))


def test_it_is_a_path(folder: Any, tmp_path: Path) -> None:
    (folder / "below").mkdir()
    assert [path.name for path in folder.iterdir()] == ["below"]
    assert (folder.name, folder.parent, folder.exists()) == (tmp_path.name, tmp_path.parent, True)
    assert (folder / "below").is_relative_to(folder)
    assert Path(folder) == tmp_path
    assert folder == tmp_path
    assert tmp_path == folder
    assert folder != tmp_path / "other"


def test_all_that_a_path_has_is_there_and_only_one_name_means_the_text(folder: Any) -> None:
    public = [name for name, _ in inspect.getmembers(Path) if not name.startswith("_")]
    assert not [name for name in public if not hasattr(folder, name)]
    assert [name for name in public if hasattr(str, name)] == ["replace"]


def test_it_survives_a_pickle_and_is_a_key(folder: Any) -> None:
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert {str(folder): 1}[folder] == 1
