"""The builder: what a config may name, where names come from, custom imports, scopes."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, NotAllowedError, RegistryError, builder
from seg_registry.registry.catalog import FUNCTIONS, HOOKS, MODELS
from seg_registry.registry.entry_points import entries, is_installed

Package = Callable[..., Path]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Writes an installed distribution, with entry points, into a folder on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(name: str, files: dict[str, str], points: str = "", installed: bool = True, dist: str = "") -> Path:
        for file, text in {"__init__.py": "", **files}.items():
            (site / name).mkdir(exist_ok=True)
            (site / name / file).write_text(text)
        if installed:
            info = site / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist or name}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(points)
            (info / "RECORD").write_text("")
            (info / "top_level.txt").write_text(f"{name}\n")
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / f"{name}-done")])  # look-ups are kept per path
        return site

    return write


def test_this_package_offers_the_builder_as_an_entry_point() -> None:
    (point,) = [each for each in entry_points(group="seg_engine.build") if each.name == "default"]
    assert point.load() is builder


def test_names_registered_in_the_process_classes_and_objects() -> None:
    @HOOKS.register_module(force=True)
    class ProcessHook:
        def __init__(self, interval: int = 1) -> None:
            self.interval = interval

    build = builder()
    assert build.get("hook", "ProcessHook") is ProcessHook
    assert build.get("hook", ProcessHook) is ProcessHook
    assert build.build("hook", {"type": "ProcessHook"}, interval=5).interval == 5
    assert build.build("hook", {"type": ProcessHook, "interval": 3}, interval=5).interval == 3
    assert build.build("hook", {"type": "ProcessHook", "_delete_": True}).interval == 1
    with pytest.raises(KeyError, match="no kind 'hooks'"):
        build.get("hooks", "ProcessHook")


def test_an_entry_point_imports_one_module(package: Package) -> None:
    package(
        "ep_one",
        {"good.py": "class EpHook:\n    pass\n", "other.py": "raise RuntimeError('not asked for')\n"},
        "[seg_engine.hooks]\nEpHook = ep_one.good:EpHook\nOtherHook = ep_one.other:X\n",
    )
    assert builder().get("hook", "EpHook").__module__ == "ep_one.good"
    assert "ep_one.other" not in sys.modules
    assert "OtherHook" in HOOKS.names()
    assert set(entries("seg_engine.hooks")) >= {"EpHook", "OtherHook"}


def test_an_entry_point_that_fails_is_chained(package: Package) -> None:
    package("ep_bad", {"bad.py": "import no_such_dependency\n"}, "[seg_engine.metrics]\nBadMetric = ep_bad.bad:X\n")
    with pytest.raises(RegistryError, match="no_such_dependency") as caught:
        builder().get("metric", "BadMetric")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert "ep_bad.bad:X" in caught.value.__cause__.__notes__[0]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "os.getpid",
            "os:getpid",
            "subprocess.Popen",
            "builtins.eval",
            "pip.main",
            "setuptools.setup",
            "functools.partial",
        ),
        *("seg_registry.config.config.os.getpid", "seg_registry.config.config:os.getpid"),
        "seg_registry.config.config.warnings.warn",
        *("seg_registry.registry.registry.NamedTuple", "seg_registry.registry.registry.Any"),
        "seg_registry.suggest.did_you_mean",
        *(
            "seg_registry.config.config",
            "no_such_package.X",
            "a..b",
            "a.b c",
            ".x",
            "x.",
            ":",
            "seg_registry:",
            "seg_registry.errors:ConfigError.mro",
        ),
        *("seg_registry.config.config.Config.fromfile", "hypothesis.given", "pytest.main"),
    ],
)
def test_what_a_dotted_path_may_not_mean(path: str) -> None:
    with pytest.raises(RegistryError):
        builder().get("hook", path)
    with pytest.raises(RegistryError):
        builder(allow=["os", "builtins", "pip", "subprocess"]).build("model", {"type": path})


@pytest.mark.parametrize("allow", [(), "*", "seg_registry"])
def test_of_this_project_only_what_is_registered_or_an_entry_point(allow: Any) -> None:
    build = builder(allow=allow)
    evil = {"custom_imports": ["this_would_be_imported"]}
    home = "seg_registry.registry.builder.Builder"
    for path in (home, "seg_registry:Builder", "seg_registry.Config", "seg_registry.builder"):
        with pytest.raises(NotAllowedError, match="neither registered nor an entry point"):
            build.build("hook", {"type": path, "cfg": evil, "allow_imports": True})
    runner = pytest.importorskip("seg_runner")
    for path in ("seg_runner.IoUMetric", "seg_runner.evaluation.iou.IoUMetric", "seg_runner.evaluation.iou:IoUMetric"):
        assert build.get("metric", path) is runner.IoUMetric
        with pytest.raises(NotAllowedError, match="neither registered nor an entry point"):
            build.get("hook", path)


def test_what_the_caller_allows(package: Package) -> None:
    package(
        "factory_lib",
        {
            "models.py": (
                "from subprocess import Popen\nimport subprocess\n\n"
                "class Net:\n    class Inner:\n        pass\n\ndef create(n=1):\n    return ('made', n)\n"
            ),
            "__init__.py": "from .models import create\n",
        },
    )
    with pytest.raises(NotAllowedError, match=r"allow=\['factory_lib'\]"):
        builder().build("model", {"type": "factory_lib.create"})
    for allow in (["factory_lib"], "factory_lib", ["factory_lib.create"], ["factory_lib.models"]):
        assert builder(allow=allow).build("model", {"type": "factory_lib.create", "n": 2}) == ("made", 2)
    allowed = builder(allow=["factory_lib"])
    assert allowed.get("model", "factory_lib.models.Net.Inner").__name__ == "Inner"
    for path in ("factory_lib.models.Popen", "factory_lib.models.subprocess.Popen", "factory_lib.models:Popen"):
        with pytest.raises(NotAllowedError):
            allowed.get("model", path)


def test_allow_takes_the_name_of_a_distribution(package: Package, caplog: pytest.LogCaptureFixture) -> None:
    package("import_name", {"__init__.py": "class Part: ...\n"}, dist="Dist-Name")
    for name in ("Dist-Name", "dist_name", "DIST-name", "import_name"):
        assert builder(allow=[name]).get("model", "import_name.Part").__name__ == "Part"
    assert not caplog.text
    with pytest.raises(NotAllowedError):
        builder(allow=["dist-other"]).get("model", "import_name.Part")
    assert "'dist-other' is allowed, but no package of this name is installed" in caplog.text


def test_a_function_from_anywhere_works_when_registered() -> None:
    FUNCTIONS.register_module(name="now_and_then", module=len, force=True)
    assert builder().get("function", "now_and_then") is len


def test_torch_gives_its_parts_and_nothing_else() -> None:
    torch = pytest.importorskip("torch")
    build = builder()
    for path in ("torch.nn.Linear", "torch.nn:ReLU", "torch.optim.SGD", "torch.utils.data.DataLoader"):
        assert build.get("model", path).__module__.startswith("torch")
    assert build.get("param_scheduler", "torch.optim.lr_scheduler.StepLR") is torch.optim.lr_scheduler.StepLR
    for path in (
        *("torch.utils.collect_env.subprocess.Popen", "torch.serialization.pickle.Unpickler", "torch.load"),
        *(
            "torch.package.PackageImporter",
            "torch.package",
            "torch.Tensor",
            "torch.hub.load",
            "torch.nn.functional.relu",
        ),
        *("torch.utils.cpp_extension.subprocess.Popen", "torch.os.system", "torch.storage.UntypedStorage"),
    ):
        with pytest.raises(NotAllowedError):
            build.get("model", path)


def test_custom_imports_are_carried_out_by_the_builder_only(
    package: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package("my_parts", {"blocks.py": (
        "from seg_registry.registry.catalog import MODELS\nfrom subprocess import Popen\n"
        "@MODELS.register_module()\nclass MyBlock: ...\nclass Loose: ...\ndef function(): ...\n"
    )})  # fmt: skip
    path = tmp_path / "c.py"
    path.write_text("custom_imports = dict(\n    imports=['my_parts.blocks'])\nmodel = dict(type='MyBlock')\n")
    cfg = Config.fromfile(path)
    with pytest.raises(RegistryError, match=r"c\.py:3: 'MyBlock' .*custom_imports \(my_parts\.blocks\) were not"):
        builder(cfg).build("model", cfg.model)
    assert "my_parts" not in sys.modules
    with caplog.at_level(logging.INFO, "seg_registry"):
        build = builder(cfg, allow_imports=True)
    assert f"importing my_parts.blocks (custom_imports of {path}:2)" in caplog.text
    assert type(build.build("model", cfg.model)).__name__ == "MyBlock"
    assert build.get("model", "my_parts.blocks.MyBlock").__name__ == "MyBlock"
    for refused in ("my_parts.blocks.Popen", "my_parts.blocks.function", "my_parts.blocks.Loose"):
        with pytest.raises(NotAllowedError):  # an installed package is imported for what it registers
            build.get("model", refused)
    named = builder(cfg, allow=["my_parts"])
    assert named.get("model", "my_parts.blocks.Loose").__name__ == "Loose"
    with pytest.raises(NotAllowedError):
        named.get("model", "my_parts.blocks.Popen")


def test_custom_imports_never_reach_the_standard_library() -> None:
    cfg = {"custom_imports": ["subprocess"], "model": {"type": "subprocess.Popen", "args": ["touch", "canary"]}}
    with pytest.raises(NotAllowedError, match="subprocess"):
        builder(cfg, allow_imports=True)
    with pytest.raises(NotAllowedError):
        builder(cfg).build("model", cfg["model"])
    with pytest.raises(NotAllowedError):
        builder().build("hook", {"type": "os.getpid"})


def test_custom_imports_that_fail() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        builder({"custom_imports": {"imports": "no_such_module"}}, allow_imports=True)
    assert "custom_imports" in caught.value.__notes__[0]
    build = builder(
        {"custom_imports": {"imports": ["no_such_module"], "allow_failed_imports": True}}, allow_imports=True
    )
    with pytest.raises(RegistryError, match="no_such_module"):
        build.get("model", "Something")
    with pytest.raises(TypeError, match="custom_imports needs"):
        builder({"custom_imports": {"imports": [3]}}, allow_imports=True)


def test_a_module_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("class Beside: ...\n")
    (tmp_path / "c.py").write_text("custom_imports = dict(imports='beside_it')\n")
    build = builder(Config.fromfile(tmp_path / "c.py"), allow_imports=True)
    assert build.get("model", "beside_it.Beside").__name__ == "Beside"


ZOO = """
class Parts(dict):
    def __init__(self):
        super().__init__()
        self.built = []

    def build(self, cfg):
        self.built.append(dict(cfg))
        kind = cfg.pop("type")
        return self[kind](**{k: v for k, v in cfg.items() if k != "_scope_"})


class Net:
    def __init__(self, n=0):
        if n < 0:
            raise ValueError("negative")
        self.n = n

class ZooHook: ...

MODELS = Parts()
HOOKS = Parts()
MODELS.update(Net=Net, Shared=Net, json=Net)
HOOKS.update(ZooHook=ZooHook, SharedHook=ZooHook)
"""


@pytest.fixture
def zoo(package: Package) -> Any:
    package("zoo_scope", {"registry.py": ZOO, "__init__.py": "def helper(): ...\n"})
    yield
    for name in [each for each in sys.modules if each.startswith("zoo_scope")]:
        del sys.modules[name]


def test_a_scope_is_asked_by_prefix_and_by_default(zoo: Any) -> None:
    build = builder()
    net = build.build("model", {"type": "zoo_scope.Net"}, n=3)
    assert (type(net).__name__, net.n) == ("Net", 3)
    assert sys.modules["zoo_scope.registry"].MODELS.built == [{"n": 3, "type": "Net", "_scope_": "zoo_scope"}]
    scoped = builder({"default_scope": "zoo_scope"})
    assert scoped.build("model", {"type": "Net", "n": 4}).n == 4
    assert scoped.get("hook", "ZooHook").__name__ == "ZooHook"
    assert builder().build("model", {"type": "Net", "_scope_": "zoo_scope"}).n == 0
    with pytest.raises(RegistryError):
        build.get("model", "Net")


def test_models_of_the_scope_come_first_hooks_last(zoo: Any) -> None:
    MODELS.register_module(name="Shared", module=dict, force=True)
    HOOKS.register_module(name="SharedHook", module=dict, force=True)
    scoped = builder({"default_scope": "zoo_scope"})
    assert scoped.get("model", "Shared").__name__ == "Net"
    assert scoped.get("hook", "SharedHook") is dict
    assert builder().get("hook", "zoo_scope.SharedHook") is dict
    assert builder().get("model", "Shared") is dict


def test_a_scope_part_that_fails_keeps_its_exception_with_one_note(zoo: Any) -> None:
    with pytest.raises(ValueError, match="negative") as caught:
        builder().build("model", {"type": "zoo_scope.Net", "n": -1})
    (note,) = caught.value.__notes__
    assert "zoo_scope.registry.Net(n=0)" in note


NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")


@pytest.mark.parametrize(
    ("inner", "word"),
    [
        ({"type": "subprocess.Popen", "args": ["touch", "canary"]}, "'subprocess'"),
        ({"type": "subprocess:Popen"}, "'subprocess'"),
        ({"type": "Net", "norm_cfg": {"type": "os.system", "command": "touch canary"}}, "'os'"),
        ([{"type": "Net"}, {"type": "os.system"}], "'os'"),
        ({"resize_type": "subprocess.Popen"}, "'subprocess'"),
        ({"type": "antigravity"}, "name of a module"),
        ({"resize_type": "antigravity"}, "name of a module"),
        ({"type": "Net", "_scope_": "antigravity"}, "not a scope"),
        ({"type": "zoo_scope.helper"}, "not allowed"),
        ({"type": "zoo_scope.registry.Parts"}, "not allowed"),
        ({"type": "seg_registry.registry.builder.Builder"}, "neither registered"),
        pytest.param({"type": "torch.hub.load"}, "not allowed|not a class", marks=NEEDS_TORCH),
        ({"type": "pytest.main"}, "not allowed"),
    ],
)
def test_what_lies_inside_a_scopes_part_is_judged_before_that_scope_sees_it(zoo: Any, inner: Any, word: str) -> None:
    """MMEngine's registries import any dotted path, or module, that a nested `type` names."""
    for build in (builder(), builder({"default_scope": "zoo_scope"}, allow="*" if "'" in word else ())):
        with pytest.raises(NotAllowedError, match=word):
            build.build("model", {"type": "zoo_scope.Net", "inner": inner})
    assert sys.modules["zoo_scope.registry"].MODELS.built == []


def test_what_may_lie_inside_a_scopes_part(zoo: Any) -> None:
    names = ("Net", "zoo_scope.Net", "zoo_scope.registry.Net", "NotThere", "gone.Net", "a b")
    inner = [{"type": name} for name in names]
    build = builder({"default_scope": "zoo_scope"})
    build.build("model", {"type": "zoo_scope.registry.Net", "n": 1, "_scope_": "zoo_scope"})
    with pytest.raises(TypeError, match="inner"):  # judged, and given to the class, which takes no such argument
        build.build("model", {"type": "Net", "inner": inner, "note": "os.system", "pad_type": "string"})


def test_a_distribution_without_registries_is_no_scope(package: Package) -> None:
    package("plain_lib", {"__init__.py": "raise RuntimeError('imported')\n"})
    with pytest.raises(RegistryError, match="'Net' is not in the model registry"):
        builder({"default_scope": "plain_lib"}).build("model", {"type": "Net", "_scope_": "plain_lib"})
    assert "plain_lib" not in sys.modules


def test_the_name_of_a_module_is_not_asked_for(zoo: Any) -> None:
    with pytest.raises(RegistryError):
        builder().get("model", "zoo_scope.json")


def test_a_folder_that_is_not_installed_is_no_scope(package: Package) -> None:
    package("stray_scope", {"registry.py": "raise RuntimeError('imported')\n"}, installed=False)
    assert not is_installed("stray_scope")
    with pytest.raises(RegistryError):
        builder({"default_scope": "stray_scope"}).get("model", "Net")


def test_a_scope_that_cannot_be_imported_is_chained(package: Package) -> None:
    package("broken_scope", {"registry.py": "import no_such_backend\n"})
    with pytest.raises(RegistryError, match="no_such_backend") as caught:
        builder({"default_scope": "broken_scope"}).get("model", "Net")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_absent_scope_means_ours_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    MODELS.register_module(name="OursInstead", module=dict, force=True)
    build = builder({"default_scope": "absent_scope"})
    with caplog.at_level(logging.WARNING, "seg_registry"):
        assert build.get("model", "OursInstead") is dict
        assert build.get("model", "OursInstead") is dict
        assert build.get("model", "absent_scope.OursInstead") is dict
    lines = [line for line in caplog.messages if "absent_scope" in line and "not installed" in line]
    assert len(lines) == 1


def test_builders_share_nothing_between_threads(zoo: Any) -> None:
    failures: list[object] = []

    def work(scope: str | None) -> None:
        for _ in range(30):
            try:
                found = builder({"default_scope": scope}).build("model", {"type": "Net"})
                if scope is None:
                    failures.append(found)
            except RegistryError as error:
                if scope is not None:
                    failures.append(error)

    threads = [threading.Thread(target=work, args=(scope,)) for scope in ("zoo_scope", None) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_miss_says_where_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("model = dict(\n    head=dict(\n        type='NoSuchHead'))\n")
    cfg = Config.fromfile(tmp_path / "c.py")
    with pytest.raises(RegistryError, match=r"c\.py:3: 'NoSuchHead' is not in the model registry .*\(at 'model\.head'"):
        builder(cfg).build("model", cfg.model.head)


def test_a_distribution_is_found_once_the_import_path_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_installed("late_scope")
    folder = tmp_path / "late_scope-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: late_scope\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_installed("late_scope")
