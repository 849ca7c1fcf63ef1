"""The judge: what a dotted path means, and what none may mean, looked at on the object and not on its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seg_registry import NotAllowedError
from seg_registry.registry.dotted_names import (
    are_public_names,
    is_at,
    is_forbidden,
    is_own,
    may_import,
    resolve,
    why_forbidden,
    within,
)

NETS = """
import functools
import subprocess
from seg_registry import Config
from subprocess import Popen


class Net:
    class Inner:
        pass

    @staticmethod
    def made():
        return Net()

    def method(self):
        return 1


class Table(dict): ...
class Starter(subprocess.Popen): ...


def create():
    return Net()


@functools.wraps(subprocess.run)
def run(): ...


def told(): ...


told.__wrapped__ = subprocess.run
ready = Net()
ready.x = Net.Inner
x = ready
number = 1
nowhere = type("nowhere", (), {"__module__": None})
partial = functools.partial(create)
"""


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package on the path, not imported: `judged.nets`, and `judged.build` with a class `build` in it."""
    folder = tmp_path / "judged"
    (folder / "inner").mkdir(parents=True)
    files = {"__init__.py": "", "nets.py": NETS, "inner/__init__.py": "from judged.inner.build import build\n"}
    files |= {"inner/build.py": "class build: ...\n", "broken.py": "import no_such_dependency\n"}
    files |= {"again.py": "from judged.nets import Net\nclass Net2(Net): ...\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [each for each in sys.modules if each.partition(".")[0] == "judged"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "packages", "inside"),
    [
        ("a", ["a"], True),
        ("a.b.c", ["a.b"], True),
        ("a.b", ["x", "a.b", "y"], True),
        ("ab", ["a"], False),
        ("a", ["a.b"], False),
        ("b.a", ["a"], False),
        ("a", [], False),
    ],
)
def test_a_path_lies_in_a_package_by_whole_parts(path: str, packages: list[str], inside: bool) -> None:
    assert within(path, packages) is inside


@pytest.mark.parametrize(
    ("module", "known", "may"),
    [
        ("a", ("a.b.c",), True),
        ("a.b", ("a.b.c",), True),
        ("a.b.c.d", ("x", "a.b.c"), True),
        ("a.x", ("a.b.c",), False),
        ("a.b", ("x.y", "a.b.c"), True),
        ("b", ("a.b.c",), False),
        ("anything.at.all", ("*",), True),
        ("a", (), False),
    ],
)
def test_only_what_is_known_is_imported_and_what_it_lies_in(module: str, known: tuple[str, ...], may: bool) -> None:
    assert may_import(module, known) is may


@pytest.mark.parametrize(
    ("parts", "plain"),
    [
        (["a", "b_c", "D1"], True),
        (["a", "_private"], True),
        (["a", "__main__"], False),
        (["__init", "b"], False),
        (["a", "init__"], False),
        (["a", "b c"], False),
        (["a", ""], False),
        (["", "b"], False),
    ],
)
def test_names_are_such_as_people_write(parts: list[str], plain: bool) -> None:
    assert are_public_names(parts) is plain


def test_whose_a_module_is() -> None:
    assert is_forbidden("os.path")
    assert is_forbidden("pip")
    assert not is_forbidden("torch.os")
    assert is_own("seg_registry.registry.builder")
    assert not is_own("my.seg_registry")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("judged.nets.Net", "Net"),
        ("judged.nets:Net", "Net"),
        ("judged.nets.Net.Inner", "Net.Inner"),
        ("judged.nets:Net.Inner", "Net.Inner"),
        ("judged.nets.Table", "Table"),
        ("judged.inner.build", "build"),
        ("judged.inner.build.build", "build"),
        ("judged.inner:build", "build"),
    ],
)
def test_a_class_of_what_the_caller_vouches_for(judged: Any, path: str, name: str) -> None:
    for allow in (["judged"], ["elsewhere", "judged.nets", "judged.inner"], ["*"], [path.replace(":", ".")]):
        assert resolve(path, allow).__qualname__ == name
    assert resolve(path, opened=["judged"]).__qualname__ == name
    with pytest.raises(NotAllowedError, match="--allow judged"):
        resolve(path)
    with pytest.raises(NotAllowedError):
        resolve(path, ["judged.other"], ["judged.nothing"])


@pytest.mark.parametrize("path", ["judged.nets.create", "judged.nets:create", "judged.nets.Net.made"])
def test_a_function_only_where_the_caller_vouches(judged: Any, path: str) -> None:
    for allow in (["judged"], ["judged.nets"], ["*"], [path.replace(":", ".")]):
        assert type(resolve(path, allow)()).__name__ == "Net"
    for opened in ([], ["judged"], ["judged.nets"]):
        with pytest.raises(NotAllowedError, match=r"is <function .*, which is not allowed.*--allow judged \(in"):
            resolve(path, ["judged.nets.Table"], opened)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *((f"judged.nets.{name}", "can never use") for name in ("Popen", "Starter", "run", "told", "partial")),
        *((f"judged.nets{path}", "can never use") for path in (".Config", ":Config", ".number", ".nowhere")),
        *((f"judged.nets.{name}", "is not a class") for name in ("subprocess", "subprocess.Popen", "missing")),
        *((f"judged.nets.{name}", "is not a class") for name in ("ready.x", "x.x", "create.x", "ready.method")),
        *(("judged.nets", "is not a class"), ("judged.nets.Net.missing", "is not a class")),
        *((path, "of the form") for path in ("judged", "judged.nets.__name__", "judged.nets.Net.__init__", "judged.")),
        *((path, "of the form") for path in ("judged:nets:Net", "judged.nets:", "judged..nets.Net")),
        *((path, "standard library") for path in ("os.system", "os:system", "subprocess.Popen", "pip.main")),
        *((path, "neither registered") for path in ("seg_registry.registry.builder.Builder", "seg_registry:Config")),
        ("judged.nets.ready", "which is not allowed"),
    ],
)
def test_what_nobody_can_vouch_for(judged: Any, path: str, why: str) -> None:
    for allow in (["judged", "os", "subprocess", "pip", "seg_registry"], ["*"]):
        with pytest.raises(NotAllowedError, match=why):
            resolve(path, allow)


def test_a_module_that_fails_to_import_says_so(judged: Any) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve("judged.broken.Net", ["judged"])
    with pytest.raises(NotAllowedError, match="'brokn' is not a class of 'judged'"):
        resolve("judged.brokn.Net", ["judged"])


def test_what_is_not_known_is_not_imported(judged: Any) -> None:
    for path in ("judged.broken.Net", "judged.again.Net", "judged.again:Net"):
        with pytest.raises(NotAllowedError, match=r"--allow judged\b"):
            resolve(path, ["judged.nets"], ["judged.inner.build"])
    assert not {"judged.broken", "judged.again"} & sys.modules.keys()


def test_where_an_object_lies(judged: Any) -> None:
    net = resolve("judged.nets.Net", ["judged"])
    for path in ("judged.nets.Net", "judged.nets:Net"):
        assert is_at(path, net)
    assert is_at("judged.nets.Net.Inner", net.Inner)
    assert is_at("judged.nets:Net.Inner", net.Inner)
    for path in ("judged.again.Net", "judged.nets.Table", "judged.nets.x", "other.nets.Net", "Net", "judged.nets:x"):
        assert not is_at(path, net)
    assert "judged.again" not in sys.modules
    resolve("judged.again.Net2", ["judged"])
    assert is_at("judged.again.Net", net)
    assert not is_at("judged.again.Net2", net)
    sys.modules["other_judged"] = sys.modules["judged.nets"]
    try:
        assert not is_at("other_judged.Net", net)
    finally:
        del sys.modules["other_judged"]
    assert not is_at("judged.nets:Net:Inner", net.Inner)


def test_why_an_object_is_nothing_for_a_config(judged: Any) -> None:
    nets = sys.modules[resolve("judged.nets.Net", ["judged"]).__module__]
    for fine in (nets.Net, nets.Table, nets.create, nets.ready):
        assert why_forbidden(fine) is None
    assert why_forbidden(nets.Starter) == ", a Popen of 'subprocess'"
    for each in (nets.Popen, nets.run, nets.told):
        assert why_forbidden(each) == " of 'subprocess'"
    assert why_forbidden(nets.partial) == " of 'functools'"
    for each in (nets.number, nets.nowhere, nets):
        assert why_forbidden(each) == " of no module"


def test_a_part_of_torch_is_where_it_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    nn = pytest.importorskip("torch.nn")
    assert resolve("torch.nn.Linear") is nn.Linear
    lying = type("Linear", (nn.Module,), {"__module__": "torch.nn.modules.linear", "__qualname__": "Linear"})
    monkeypatch.setattr(nn, "lying", lying, raising=False)
    for path in ("torch.nn.lying", "torch.nn.Parameter", "torch.nn.init.normal_", "torch.Tensor", "torch.nn.Linear.x"):
        with pytest.raises(NotAllowedError):
            resolve(path)
    pipes = resolve("torch.utils.data.Dataset")
    assert pipes.__name__ == "Dataset"
    with pytest.raises(NotAllowedError):
        resolve("torch.utils.data.datapipes.iter.FileOpener")
