"""Which packages count as a scope: installed ones, and clones in a folder that the caller named in PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from seg_registry import RegistryError, builder
from seg_registry.registry.scope import exists

REGISTRY = """
class Parts(dict):
    def build(self, cfg):
        return self[cfg["type"]]()

class Net: ...

MODELS = Parts(Net=Net)
"""
ASK = "from seg_registry import builder; print(builder({'default_scope': 'cloned'}).build('model', {'type': 'Net'}))"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder as `git clone` leaves it: a package with registries that is not installed."""
    for name in ("cloned", "torch", "json", "seg_runner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "registry.py").write_text(REGISTRY)
    return tmp_path


def asked(cwd: Path, *options: str, code: str = ASK, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, *options, "-c", code]
    return subprocess.run(words, cwd=cwd, env=kept | variables, capture_output=True, text=True, check=False)


def test_a_clone_in_a_folder_of_pythonpath_is_a_scope(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    for cwd, path in ((other, str(clone)), (clone, "."), (other, f"/nowhere{os.pathsep}{clone}")):
        done = asked(cwd, PYTHONPATH=path)
        assert "cloned.registry.Net object" in done.stdout, done.stderr


@pytest.mark.parametrize("path", [None, "", os.pathsep, "/nowhere"])
def test_a_folder_that_lies_about_is_none(clone: Path, path: str | None) -> None:
    """`python -c` has the current folder on its path, as notebooks and `python -m` do."""
    done = asked(clone, **({} if path is None else {"PYTHONPATH": path}))
    assert done.returncode == 1
    assert "the scope 'cloned' is not installed (the clone in this folder counts with PYTHONPATH=" in done.stderr
    assert "RegistryError" in done.stderr


def test_projects_of_a_clone_are_imported_by_name(clone: Path) -> None:
    project = clone / "projects" / "mine"
    project.mkdir(parents=True)
    (project / "part.py").write_text("from cloned.registry import MODELS\n\nclass Mine: ...\n\nMODELS['Mine'] = Mine\n")
    cfg = "{'default_scope': 'cloned', 'custom_imports': {'imports': ['projects.mine.part']}}"
    build = f"builder({cfg}, allow_imports=True).build('model', {{'type': 'Mine'}})"
    code = f"from seg_registry import builder; print({build})"
    done = asked(clone, PYTHONPATH=str(clone), code=code)
    assert "projects.mine.part.Mine object" in done.stdout, done.stderr
    done = asked(clone, "-P", code=code)
    assert f"projects lies in this folder: start with PYTHONPATH={clone}" in done.stderr


def test_python_that_takes_no_environment_takes_no_scope_of_it(clone: Path) -> None:
    code = f"import sys; sys.path.append({str(clone)!r}); {ASK}"
    assert asked(clone, "-E", code=code, PYTHONPATH=str(clone)).returncode == 1


def test_names_of_others_are_never_a_scope(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(clone))
    monkeypatch.setattr(sys, "path", [str(clone), *sys.path])
    assert exists("cloned")
    assert not any(map(exists, ("torch", "json", "seg_runner", "numpy", "cloned.registry", "../cloned", "")))


def test_a_folder_beside_a_config_is_none(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(clone.parent))
    monkeypatch.setattr(sys, "path", [*sys.path, str(clone)])  # as `custom_imports` of a config there leave it
    assert not exists("cloned")
    with pytest.raises(RegistryError, match="Net"):
        builder({"default_scope": "cloned"}).get("model", "Net")
