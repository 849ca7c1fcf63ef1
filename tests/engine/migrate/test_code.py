"""What is said of people's own code, which is read and never run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.migration import report_on, said

from seg_engine.migrate.project import look_at

HOOK = """
from seg_hooks import Hook

class Mine(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        {line}
"""


@pytest.mark.parametrize(
    "line",
    [
        "print(runner.iter, runner.max_iters, runner.work_dir, runner.model.module.anything)",
        "runner.message_hub.update_scalar('train/x', 1); runner.train_loop.max_iters",
        "runner.mine = 3; print(runner.mine)",
        "self.runner = runner; self.runner.logger.info('x')",
        "runner.optim_wrapper.whatever_a_wrapper_has; runner._train_loop._max_iters; runner.val_loop.evaluator",
    ],
)
def test_what_the_runner_has_is_no_finding(tmp_path: Path, line: str) -> None:
    report = report_on(tmp_path, {"hooks.py": HOOK.format(line=line)})
    assert (report.code, report.findings) == (0, [])


@pytest.mark.parametrize(
    ("line", "what", "advice"),
    [
        ("print(runner.itre)", "runner.itre does not exist here", "did you mean runner.iter?"),
        ("runner.train_loop.max_itres", "runner.train_loop.max_itres ", "did you mean runner.train_loop.max_iters?"),
        ("runner.set_randomness(3)", "runner.set_randomness does not", "randomness=dict(seed=...) in the config"),
        ("self.runner._no_such_thing()", "runner._no_such_thing does", "what there is: "),
    ],
)
def test_what_the_runner_lacks_is_named_with_the_nearest(tmp_path: Path, line: str, what: str, advice: str) -> None:
    report = report_on(tmp_path, {"hooks.py": HOOK.format(line=line)})
    (found,) = report.findings
    assert found.place == "hooks.py:6"
    assert found.what.startswith(what)
    assert found.advice.startswith(advice)
    assert report.code == 1


def test_a_runner_of_something_else_is_none_of_ours(tmp_path: Path) -> None:
    assert not report_on(tmp_path, {"ci.py": "import json\n\ndef f(runner):\n    runner.start_job()\n"}).findings


@pytest.mark.parametrize(
    ("text", "line", "what", "advice"),
    [
        ("from mmcv.runner import Hook", 1, "mmcv.runner.Hook is gone", "from mmengine.hooks import Hook"),
        ("import mmcv\n\nmmcv.Config.fromfile('a')", 3, "mmcv.Config is gone", "from mmengine.config import Config"),
        ("import mmcv.runner.hooks as h\n", 1, "mmcv.runner is gone", "from mmengine import runner"),
        ("from mmseg.core import add_prefix", 1, "mmseg.core.add_prefix is gone", "from mmseg.utils import add_prefix"),
    ],
)
def test_old_names_have_new_ones(tmp_path: Path, text: str, line: int, what: str, advice: str) -> None:
    found = [each for each in report_on(tmp_path, {"old.py": text}).findings if each.line == line]
    assert any(each.what.startswith(what) and each.advice == advice for each in found)


def test_what_is_imported_and_nowhere_is_named_once_for_the_package(tmp_path: Path) -> None:
    text = "import no_such_thing_x.b\nimport numpy.no_such\nfrom numpy import zeros, no_module\nimport json\n"
    report = report_on(tmp_path, {"a.py": text})
    assert said(report) == [
        "a.py:1: the package no_such_thing_x is not installed",
        "a.py:2: there is no module numpy.no_such in what is installed",
    ]


def test_a_compiled_operator_is_named_and_one_of_the_stand_in_is_not(tmp_path: Path) -> None:
    found = said(report_on(tmp_path, {"a.py": "from mmcv.ops import RoIAlign, DeformConv2d, point_sample\n"}))
    assert [line for line in found if "mmcv.ops." in line] == ["a.py:1: mmcv.ops.RoIAlign is compiled, and is not here"]


def test_an_import_that_may_fail_is_none(tmp_path: Path) -> None:
    text = "try:\n    import no_such_thing_x\nexcept ImportError:\n    no_such_thing_x = None\n"
    assert not report_on(tmp_path, {"a.py": text}).findings


def test_modules_of_the_project_are_there(tmp_path: Path) -> None:
    imports = "from . import b\nfrom .b import c\nfrom pkg.b import c\n"
    files = {"pkg/__init__.py": "", "pkg/a.py": imports, "pkg/b.py": "c = 1"}
    assert not report_on(tmp_path, {**files, "tools/x.py": "import pkg.b\nimport y\n", "tools/y.py": ""}).findings


def test_a_folder_of_a_packages_name_is_not_that_package(tmp_path: Path) -> None:
    files = {"numpy/mine.py": "from numpy.linalg import norm\n", "plain/a.py": "", "b.py": "import plain.a, plain.c\n"}
    assert said(report_on(tmp_path, files)) == ["b.py:1: there is no module plain.c in what is installed"]


@pytest.mark.parametrize(
    "text",
    [
        "import torch.distributed as dist\n\ndist.init_process_group('nccl')\n",
        "import torch\n\ntorch.nn.parallel.DistributedDataParallel(None)\n",
        "from torch.distributed import launch\n",
        "from torch.nn.parallel import DistributedDataParallel as DDP\n\nDDP(None)\n",
    ],
)
def test_a_group_or_a_wrapper_of_ones_own_is_no_finding(tmp_path: Path, text: str) -> None:
    assert not report_on(tmp_path, {"a.py": text}).findings


def test_asking_which_process_one_is_is_no_finding(tmp_path: Path) -> None:
    text = "import torch.distributed as dist\n\nif dist.is_available() and dist.get_rank() == 0:\n    print()\n"
    assert not report_on(tmp_path, {"a.py": text}).findings


def test_nothing_of_a_project_is_run(tmp_path: Path) -> None:
    touch = f"open({str(tmp_path / 'touched')!r}, 'w')\n"
    config = "custom_imports = dict(imports=['mine'])\n{config}"
    names = ("mine.py", "mine/__init__.py", "setup.py", "sitecustomize.py")
    report_on(tmp_path, {"conf.py": config, **dict.fromkeys(names, touch)})
    assert not (tmp_path / "touched").exists()


def test_one_file_of_code_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in its folder, whether it lies in a package or not."""
    monkeypatch.chdir(tmp_path)
    text = "import nowhere\nfrom mine import other\nmodel = dict()\n\n\nclass A:\n    pass\n"
    folder = report_on(Path(), {"mine/__init__.py": "", "mine/other.py": "", "mine/a.py": text, "b.py": "x = ("})
    report = look_at(Path("mine/a.py"))
    assert (report.kind, report.code, report.files) == ("file of code", 1, {"code": ["mine/a.py"]})
    assert report.findings == [each for each in folder.findings if each.file == "mine/a.py"]
    assert (look_at(Path("b.py")).code, look_at(Path("b.py")).findings[0].file) == (2, "b.py")
