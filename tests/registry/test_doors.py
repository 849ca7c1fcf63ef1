"""No string of a config reaches what starts a process, opens a file or a socket, unpickles, imports, or runs text."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, builder
from seg_registry.catalog import KINDS
from seg_registry.errors import RegistryError

ROOT = Path(__file__).resolve().parents[2]
LISTED = (Path(__file__).parent / "hostile_types.txt").read_text(encoding="utf-8").splitlines()
WORDS = [word for line in LISTED if not line.startswith("#") for word in line.split()]
HOSTILE = [*WORDS, "os. system", "os.sys\ttem", "оs.system", "os\u2024system", "", " "]


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 200


@pytest.fixture(scope="module")
def builders(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """That of any config; that of a config which imports all it can; one whose caller allows what nobody may."""
    path = tmp_path_factory.mktemp("hostile") / "config.py"
    path.write_text("custom_imports = dict(imports=['torch.distributed', 'numpy'], allow_failed_imports=True)\n")
    eager = builder(Config.fromfile(path), allow_imports=True)
    return [builder(), eager, builder(allow=["os", "subprocess", "builtins", "pickle", "pip", "seg_registry"])]


@pytest.mark.parametrize("path", HOSTILE)
def test_no_kind_gives_it_out(path: str, builders: list[Any]) -> None:
    for build, kind in itertools.product(builders, KINDS):
        with pytest.raises((RegistryError, ImportError)):
            build.build(kind, {"type": path})


@pytest.mark.parametrize("path", ["subprocess.Popen", "torch.hub.load", "seg_registry.build.Builder"])
@pytest.mark.parametrize("key", ["type", "_scope_"])
def test_nor_does_a_part_of_a_part(path: str, key: str, builders: list[Any]) -> None:
    nested = {"type": "ConcatDataset", "datasets": [{"type": "Compose", key: path, "transforms": [{"type": path}]}]}
    for build, kind in itertools.product(builders, ("dataset", "model", "transform", "visualizer")):
        with pytest.raises((RegistryError, ImportError, TypeError)):
            build.build(kind, nested)


def doors(*tops: str) -> subprocess.CompletedProcess[str]:
    """The scan over everything importable below these modules."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts/doors.py"), *tops]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_scan_finds_nothing_that_is_no_part() -> None:
    pytest.importorskip("torch")
    run = doors("torch.nn", "torch.optim", "torch.utils.data", "subprocess", "os", "pickle", "ctypes", "numpy")
    assert run.returncode == 0, run.stdout + run.stderr
    asked, reached = (int(word.replace(",", "")) for word in run.stdout.split()[:5] if word[0].isdigit())
    assert asked > 5000
    assert 100 < reached < 400


def test_the_scan_can_fail(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = (ROOT / "scripts/doors.py").read_text(encoding="utf-8")
    broken = source.replace("build = build or builder()", "build = build or builder(allow='*')")
    assert broken != source
    package = tmp_path / "opener"
    package.mkdir()
    (package / "__init__.py").write_text("class Opener:\n    def __init__(self, path):\n        open(path, 'w')\n")
    (tmp_path / "doors.py").write_text(broken)
    command = [sys.executable, str(tmp_path / "doors.py"), "opener"]
    run = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path), "PATH": ""})
    assert run.returncode == 1, run.stderr
    assert "opener.Opener: <class 'opener.Opener'> is no part" in run.stdout
