"""`prepare()` beside packages that refuse, ask and fail as the real ones do; the real ones are in `tests/parity`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_registry import RegistryError, builder
from seg_runner.checkpoint.write import write_checkpoint

from seg_engine.cli import main
from seg_engine.mmseg import prepare, prepare_for
from seg_engine.predict import load_model

Packages = Callable[..., Path]

OPS = "import mmcv._ext as ext\nfocal = ext.sigmoid_focal_loss_forward\nnms = ext.nms\n"
REFUSES = "import mmcv\nassert mmcv.__version__ < '2.2.0', f'MMCV=={mmcv.__version__} is used but incompatible'\n"
REGISTRY = """\
class Registry:
    def get(self, name):
        from mmseg import models
        return getattr(models, name, None)
    def build(self, cfg):
        return getattr(__import__('mmseg.models').models, cfg['type'])()
MODELS = Registry()
"""
MODELS = """\
import torch, torchvision, mmcv.ops
class Net(torch.nn.Conv2d):
    def __init__(self): super().__init__(3, 2, 1)
"""
TORCHVISION = """\
import torch
__version__ = '0.1'
@torch.library.register_fake('torchvision::no_such_operator')
def fake(): ...
"""
REAL = {
    "mmcv": {"__init__.py": "__version__ = '2.2.0'\n", "ops.py": OPS},
    "mmseg": {"__init__.py": REFUSES, "registry.py": REGISTRY, "models.py": MODELS},
    "mmdet": {"__init__.py": REFUSES},
    "torchvision": {"__init__.py": TORCHVISION},
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Writes packages into a folder on the path, and forgets them afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(**files: dict[str, str]) -> Path:
        for package, texts in files.items():
            info = site / f"{package}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            (info / "top_level.txt").write_text(package)
            for name, text in texts.items():
                file = site / package / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return site

    yield write
    for name in [each for each in sys.modules if each.partition(".")[0] in (*REAL, "mmpretrain", "transformers")]:
        del sys.modules[name]


def test_each_obstacle_is_removed_and_named_once(packages: Packages) -> None:
    packages(**REAL)
    register_fake = torch.library.register_fake
    lines = prepare()
    assert [line.partition(" ")[0] for line in lines] == ["mmcv", "torchvision", "mmseg", "mmdet"]
    assert "run in torch" in lines[0]
    assert "0.1 does not fit" in lines[1]
    assert lines[2].endswith("imported with mmcv 2.2.0, which it takes for 2.1.0")
    assert import_module("mmseg.models").Net().weight.shape == (2, 3, 1, 1)
    assert import_module("mmcv").__version__ == "2.2.0"
    assert torch.library.register_fake is register_fake
    with pytest.raises(NotImplementedError, match="operator 'nms' is not among them"):
        import_module("mmcv.ops").nms()
    assert prepare() == []


def test_a_compiled_mmcv_is_left_alone(packages: Packages) -> None:
    packages(**REAL)
    packages(mmcv={"_ext.py": "sigmoid_focal_loss_forward = nms = print\n"})
    assert prepare() == []
    assert import_module("mmcv.ops").nms is print
    with pytest.raises(AssertionError, match=r"MMCV==2\.2\.0 is used"):
        import_module("mmseg")


def test_versions_and_operators_that_fit_need_no_word(packages: Packages) -> None:
    fits = {"__init__.py": TORCHVISION.replace("torchvision::no_such_operator", "aten::add.Tensor").replace("@", "# ")}
    packages(**REAL)
    packages(mmcv={"__init__.py": "__version__ = '2.1.0'\n"}, torchvision=fits)
    assert [line.partition(" ")[0] for line in prepare()] == ["mmcv"]


@pytest.mark.parametrize(("text", "error"), [("assert False, 'another'", AssertionError), ("1 / 0", ZeroDivisionError)])
def test_another_error_of_an_import_passes_through(packages: Packages, text: str, error: type[Exception]) -> None:
    packages(**REAL)
    packages(mmseg={"__init__.py": text})
    with pytest.raises(error):
        prepare()
    assert import_module("mmcv").__version__ == "2.2.0"


def test_the_version_comes_back_where_the_import_fails(packages: Packages) -> None:
    packages(**REAL)
    packages(mmseg={"__init__.py": REFUSES + "import no_such_module\n"})
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        prepare()
    assert import_module("mmcv").__version__ == "2.2.0"


@pytest.mark.parametrize("new", [True, False], ids=["too new", "fits"])
def test_multimodal_models_are_left_out_where_they_would_stop_the_import(packages: Packages, new: bool) -> None:
    packages(**REAL)
    multimodal = {"__init__.py": "", "utils/__init__.py": "", "utils/dependency.py": "WITH_MULTIMODAL = True\n"}
    modeling = "" if new else "def apply_chunking_to_forward(): ...\n"
    packages(mmpretrain=multimodal, pycocotools={"__init__.py": ""})
    packages(transformers={"__init__.py": "", "modeling_utils.py": modeling})
    assert any("multimodal" in line for line in prepare()) is new
    assert import_module("mmpretrain.utils.dependency").WITH_MULTIMODAL is not new


def test_absent_packages_are_named_with_what_installs_them(packages: Packages) -> None:
    packages(mmcv=REAL["mmcv"])
    with pytest.raises(ModuleNotFoundError, match=r"no package mmseg is .*seg-engine\[mmseg\] @ git"):
        prepare()
    assert prepare_for({"default_scope": "mmseg"}) == []


@pytest.mark.parametrize(
    "cfg",
    [
        {"default_scope": "mmseg"},
        {"model": {"backbone": {"type": "mmpretrain.ConvNeXt"}}},
        {"model": {"losses": [{"type": "mmdet.DiceLoss"}]}},
        {"custom_imports": {"imports": ["mmdet.models"]}},
        {"model": {"type": "Net", "_scope_": "mmseg"}},
    ],
    ids=str,
)
def test_a_config_that_asks_for_it(packages: Packages, cfg: dict[str, Any]) -> None:
    packages(**REAL)
    assert len(prepare_for(cfg)) == 4


@pytest.mark.parametrize("cfg", [{}, {"default_scope": "mine"}, {"note": "mmseg.FCNHead"}, {"type": "mmsegx.A"}])
def test_a_config_that_does_not(packages: Packages, cfg: dict[str, Any]) -> None:
    packages(**REAL)
    assert prepare_for(cfg) == []
    assert "mmcv" not in sys.modules


CONFIG = "default_scope = 'mmseg'\nmodel = dict(type='Net')\n"


@pytest.mark.parametrize(
    ("fits", "error"),
    [((), AssertionError), (("mmseg",), RuntimeError), (("mmseg", "torchvision"), ModuleNotFoundError)],
    ids=["version", "torchvision", "operators"],
)
def test_nothing_is_done_unasked_and_the_error_says_what_to_do(
    packages: Packages, fits: tuple[str, ...], error: type[Exception]
) -> None:
    packages(**REAL)
    packages(**{name: {"__init__.py": ""} for name in fits})
    with pytest.raises(RegistryError, match=r"seg_engine\.mmseg\.prepare\(\) .*seg-engine\[mmseg\] @ git") as caught:
        builder({"default_scope": "mmseg"}).build("model", {"type": "Net"})
    assert type(caught.value.__cause__) is error
    with pytest.raises(error) as failed:
        builder({"custom_imports": "mmseg.models"}, allow_imports=True)
    assert any("seg_engine.mmseg.prepare()" in note for note in failed.value.__notes__)
    assert "mmcv._ext" not in sys.modules


def test_a_scope_that_is_not_installed_is_named_with_what_installs_it() -> None:
    with pytest.raises(RegistryError, match=r"seg-engine\[mmseg\] @ git"):
        builder({"default_scope": "mmseg"}).build("model", {"type": "EncoderDecoder"})
    with pytest.raises(RegistryError, match=r"seg-engine\[mmseg\] @ git"):
        builder().build("model", {"type": "mmpretrain.ConvNeXt"})


def test_the_command_says_what_it_stood_in_for(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages(**REAL)
    monkeypatch.chdir(tmp_path)
    Path("c.py").write_text(CONFIG + "train_cfg = dict(max_iters=1)\n")
    assert main(["train", "c.py", "--work-dir", "run"]) != 0
    printed = capsys.readouterr().err
    assert "note: mmcv has no compiled operators" in printed
    assert "optim_wrapper missing" in printed


def test_a_model_is_loaded_after_what_the_caller_prepares(packages: Packages, tmp_path: Path) -> None:
    packages(**REAL)
    net = torch.nn.Conv2d(3, 2, 1)
    path = tmp_path / "m.pth"
    write_checkpoint(path, {"meta": {"cfg": CONFIG}, "state_dict": net.state_dict()})
    with pytest.raises(RegistryError, match=r"prepare\(\)"):
        load_model(path)
    for name in [each for each in sys.modules if each.partition(".")[0] in REAL]:
        del sys.modules[name]
    found = load_model(path, before=prepare_for)
    torch.testing.assert_close(next(found.model.parameters()), net.weight)
