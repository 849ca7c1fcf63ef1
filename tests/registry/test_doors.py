"""No string of a config reaches what starts a process, opens a file or a socket, unpickles, imports, or runs text."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, builder
from seg_registry.errors import RegistryError
from seg_registry.registry.catalog import KINDS

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


@pytest.mark.parametrize("path", ["subprocess.Popen", "torch.hub.load", "seg_registry.registry.builder.Builder"])
@pytest.mark.parametrize("key", ["type", "_scope_"])
def test_nor_does_a_part_of_a_part(path: str, key: str, builders: list[Any]) -> None:
    nested = {"type": "ConcatDataset", "datasets": [{"type": "Compose", key: path, "transforms": [{"type": path}]}]}
    for build, kind in itertools.product(builders, ("dataset", "model", "transform", "visualizer")):
        with pytest.raises((RegistryError, ImportError, TypeError)):
            build.build(kind, nested)


INSTALLED = """
import functools, io, pickle, threading
from pathlib import Path
from subprocess import Popen, run
from other_parts import Other, other_function
from seg_registry.registry.catalog import MODELS

Path({trace!r}).touch()
start, load, instance = functools.partial(Popen), pickle.loads, object()


@MODELS.register_module(name="InstalledPart", force=True)
class Registered:
    pass


class Plain:
    Deep = Popen

    class Inner:
        pass

    @classmethod
    def make(cls): ...


class Process(Popen): ...
class Thread(threading.Thread): ...
class File(io.FileIO): ...
class SaysItIsAClass:
    __class__, __mro__ = property(lambda self: type), (object,)
class SaysItIsAFunction:
    __class__ = property(lambda self: type(run))
class_of_words, function_of_words = SaysItIsAClass(), SaysItIsAFunction()
def function(): ...
@functools.wraps(run)
def wrapped(): ...
"""
OPEN = ["Plain", "Plain.Inner", "below.Below", "function"]
SHUT = """
class_of_words function_of_words
Popen run start load instance Process Thread File wrapped Path pickle.loads io.open functools.partial Plain.Deep
Plain.make Plain.__init__ __builtins__.eval Other other_function MODELS Plain.Inner.__class__ nosuch below.nosuch
""".split()  # noqa: SIM905


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two installed distributions; the import of the first leaves a trace."""
    site = tmp_path / "site"
    texts = {"inst_parts": INSTALLED.format(trace=str(tmp_path / "RAN")), "other_parts": "class Other: ...\n"}
    texts["other_parts"] += "def other_function(): ...\n"
    for name, text in texts.items():
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(text)
        (site / name / "below.py").write_text("class Below: ...\n")
        about = site / f"{name}_dist-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}_dist\nVersion: 1.0\n")
        (about / "top_level.txt").write_text(name + "\n")
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    (tmp_path / "run/config.py").write_text("custom_imports = ['inst_parts', 'inst_parts.below']\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in texts]:
        del sys.modules[name]
    KINDS["model"].registry._items.pop("InstalledPart", None)


def reached(build: Any, path: str) -> bool:
    """Whether a kind gives it out."""
    for kind in KINDS:
        try:
            build.get(kind, path)
        except (RegistryError, ImportError):
            continue
        return True
    return False


def test_an_installed_package_gives_what_it_registers(installed: Path) -> None:
    build = builder(Config.fromfile("config.py"), allow_imports=True)
    assert (installed / "RAN").exists()
    assert reached(build, "InstalledPart")
    assert reached(build, "inst_parts.Registered")
    assert [name for name in [*OPEN, *SHUT] if reached(build, f"inst_parts.{name}")] == []


@pytest.mark.parametrize("allow", ["inst-parts-dist", "Inst_Parts-Dist", "inst_parts"])
@pytest.mark.parametrize("imports", [False, True])
def test_an_allowed_one_gives_what_is_defined_in_it(installed: Path, allow: str, imports: bool) -> None:
    build = builder(Config.fromfile("config.py"), allow=[allow], allow_imports=imports)
    assert (installed / "RAN").exists()
    assert reached(build, "InstalledPart")
    assert [name for name in OPEN if not reached(build, f"inst_parts.{name}")] == []
    assert [name for name in SHUT if reached(build, f"inst_parts.{name}")] == []
    assert [name for name in ("Other", "other_function", "below.Below") if reached(build, f"other_parts.{name}")] == []


@pytest.mark.parametrize("allow", [[], ["other_parts"], ["inst"], ["inst_parts_"], ["parts"], ["dist"]])
def test_what_nobody_allowed_is_not_even_imported(installed: Path, allow: list[str]) -> None:
    build = builder(Config.fromfile("config.py"), allow=allow)
    names = [f"inst_parts.{name}" for name in [*OPEN, *SHUT, "Registered"]]
    assert [name for name in [*names, "InstalledPart"] if reached(build, name)] == []
    assert not (installed / "RAN").exists()


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
