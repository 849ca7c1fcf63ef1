"""What is said of configs: in the words of the loader, the registry and the runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.migration import CONFIG, report_on, said
from helpers.tree import ROOT

from seg_engine.migrate.differences import RULES
from seg_engine.migrate.project import look_at

REGISTERS = """
from seg_registry import TRANSFORMS

@TRANSFORMS.register_module()
class Jitter:
    def __call__(self, results):
        return results
"""


def test_a_config_that_runs_as_it_is(tmp_path: Path) -> None:
    report = report_on(tmp_path, {"a.py": CONFIG})
    assert (report.code, report.findings, report.files["configs"]) == (0, [], ["a.py"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import os\n{config}", "a.py:1: the import of os is not allowed in a config"),
        ("{config}modle = 3", "a.py:10: 'modle' is no key of a run. Did you mean 'model'?"),
        ("{config}model.backbone.type = 'TinyConvNext'", "a.py:10: 'TinyConvNext' is not in the model registry"),
        ("{config}evaluation = dict(interval=3)", "a.py:10: evaluation is read by nothing since MMSegmentation 1.0"),
        ("{config}default_hooks = dict(logger=dict(type='TextLoggerHook'))", "a.py:10: type='TextLoggerHook' is gone"),
        ("{config}launcher = 'pytorc'", "a.py:10: launcher='pytorc'"),
        ("{config}val_dataloader = dict(dataset=dict(type='BaseSegDataset'))", "a.py:10: the config has val_"),
        ("{config}custom_imports = dict(imports=['subprocess'])", "a.py:10: custom_imports names 'subprocess'"),
        ("{config}custom_imports = dict(imports=['nowhere'])", "a.py:10: custom_imports: there is no module nowhere"),
        ("{config}model.type = 'nowhere.Net'", "a.py:10: the package nowhere is not installed"),
        ("{config}default_scope = 'nowhere'\nmodel.type = 'Net'", "a.py:11: the package nowhere is not installed"),
        ("_base_ = 'nowhere.py'\n{config}", ""),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path: Path, text: str, what: str) -> None:
    report = report_on(tmp_path, {"a.py": text})
    if not what:
        assert report.code == 2
        return
    assert [line for line in said(report) if line.startswith(what)], said(report)
    assert report.code == 1


def test_what_the_loader_warns_of_is_to_be_known(tmp_path: Path) -> None:
    report = report_on(tmp_path, {"a.py": "{config}optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1)),"})
    assert report.code == 0
    assert said(report, "note")[0].startswith("a.py:10: ")
    assert report.findings[0].name == "a-comma-after-a-dict"


def test_a_name_of_ours_that_the_config_uses_is_left_to_it(tmp_path: Path) -> None:
    text = "checkpoint = 'https://x.org/a.pth'\n{config}model.backbone.init_cfg = dict(checkpoint=checkpoint)"
    report = report_on(tmp_path, {"a.py": text})
    assert report.code == 0
    assert said(report, "note")[0].startswith("a.py:1: checkpoint is left to the config")


def test_a_name_that_the_project_registers_wants_to_be_imported(tmp_path: Path) -> None:
    use = "{config}train_dataloader.dataset.pipeline.append(dict(type='Jitter'))\n"
    files = {"pkg/__init__.py": "from . import more", "pkg/more.py": REGISTERS, "a.py": use}
    (found,) = report_on(tmp_path, files).findings
    assert (found.place, found.advice) == ("a.py:10", "custom_imports = dict(imports=['pkg.more'])")
    report = report_on(tmp_path, {"a.py": use + "custom_imports = dict(imports=['pkg'])"})
    assert report.code == 0
    assert [each.name for each in report.findings] == ["configs-open-no-package"]


def test_a_clone_of_a_scope_has_its_own_names(tmp_path: Path) -> None:
    clone = {"some_scope/__init__.py": "", "some_scope/registry.py": "", "some_scope/parts.py": REGISTERS}
    use = "{config}default_scope = 'some_scope'\ntrain_dataloader.dataset.pipeline.append(dict(type='Jitter'))\n"
    assert report_on(tmp_path, {**clone, "configs/a.py": use}).code == 0


def test_what_is_wrong_in_a_base_is_said_once_and_counts_for_each_config(tmp_path: Path) -> None:
    files = {"_base_/all.py": "{config}model.type = 'Nothing'", "a.py": "_base_ = '_base_/all.py'"}
    report = report_on(tmp_path, {**files, "b.py": files["a.py"]})
    assert said(report) == ["_base_/all.py:10: " + report.findings[0].what]
    assert report.as_is("configs") == 0
    assert report.files["configs"] == ["a.py", "b.py", "_base_/all.py"]


def test_names_of_another_library_are_left_to_it(tmp_path: Path) -> None:
    files = {"pkg.py": REGISTERS.replace("class Jitter", "class Albu")}
    text = "dict(type='Albu', transforms=[dict(type='HueSaturationValue')])"
    files["a.py"] = f"{{config}}train_dataloader.dataset.pipeline.append({text})\ncustom_imports = ['pkg']"
    assert report_on(tmp_path, files).code == 0


def test_a_base_without_data_is_a_part_and_no_experiment(tmp_path: Path) -> None:
    assert report_on(tmp_path, {"_base_/model.py": "model = dict(type='Nothing')"}).code == 0


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ("randomness = dict(seed=0)", "random-numbers-belong-to-a-sample", 3),
        ("visualizer = dict(type='X', vis_backends=[dict(type='WandbVisBackend')])", "curves-by-mode", 10),
        ("default_hooks = dict(a=dict(type='CheckpointHook', max_keep_ckpts=2))", "every-checkpoint-counts", 10),
        (
            "default_hooks = dict(a=dict(type='CheckpointHook', save_best='mIoU'))",
            "a-new-best-does-not-save-the-checkpoint-again",
            10,
        ),
        ("default_hooks = dict(v=dict(type='SegVisualizationHook', draw=True))", "pictures-with-headings", 10),
        ("optim_wrapper.type = 'AmpOptimWrapper'", "mixed-precision-follows-the-device", 10),
        ("optim_wrapper.clip_grad = dict(max_norm=0)", "clipping-at-0-is-off", 10),
        ("val_evaluator = dict(type='IoUMetric', output_dir='out')", "one-file-an-image", 10),
        (
            "train_dataloader.dataset.update(reduce_zero_label=True, metainfo=dict(classes=('a', 'b')))",
            "reduction-comes-before-the-choice-of-classes",
            10,
        ),
        (
            "test_dataloader = dict(dataset=dict(type='BaseSegDataset', pipeline=[dict(type='Pad', size=(8, 8))]))",
            "padding-of-a-test-pipeline-is-taken-off",
            10,
        ),
    ],
)
def test_a_known_difference_is_named_with_its_line(tmp_path: Path, text: str, name: str, line: int) -> None:
    found = [each for each in report_on(tmp_path, {"a.py": "{config}" + text}).findings if each.name == name]
    assert [each.place for each in found] == [f"a.py:{line}"]
    assert found[0].level == "differs"
    assert found[0].page.endswith(f"differences.html#{name}")


def test_the_plain_config_meets_no_difference_but_each_rule_is_an_entry_of_the_list(tmp_path: Path) -> None:
    entries = (ROOT / "docs/differences.md").read_text(encoding="utf-8")
    used = {*RULES, "several-processes-are-found", "misspelt-keys", "configs-are-not-run", "configs-open-no-package"}
    used |= {"one-key-is-ours", "a-comma-after-a-dict"}
    assert [name for name in used if f"\n## `{name}`\n" not in entries] == []


def test_one_config_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text(CONFIG + "model.type = 'Segmentr'", encoding="utf-8")
    report = look_at(Path("a.py"))
    assert (report.kind, report.code, report.findings[0].place) == ("config", 1, "a.py:10")
    text = '{"model": {"type": "Segmentr"}, "train_dataloader": {"batch_size": 2}}'
    Path("b.json").write_text(text, encoding="utf-8")
    assert any(line.startswith("b.json:1: 'Segmentr'") for line in said(look_at(Path("b.json"))))


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ({"a.py": b"model = dict(a='\xff')"}, "a.py"),
        ({"a.py": b"model = dict(a=1)\n\0"}, "a.py"),
        ({"a.py": b"_base_ = 'b.py'\nmodel = dict()", "b.py": b"model = dict(a='\xff')"}, "b.py"),
        ({"a.py": b"_base_ = 'b.py'\nmodel = dict()", "b.py": b"model = dict(a=1)\n\0"}, "b.py"),
        ({"a.py": b"_base_ = 'b.py'\nmodel = dict()", "b.py": b"_base_ = 'a.py'\nmodel = dict()"}, "b.py"),
    ],
)
def test_what_cannot_be_read_as_text_or_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], first: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in files.items():
        Path(name).write_bytes(data)
    report = look_at(Path("a.py"))
    assert (report.code, [each.file for each in report.findings if each.level == "unread"]) == (2, [first])
    folder = look_at(Path())
    assert (folder.code, said(folder)) == (2, [])


COPIES = ("work/last_checkpoint", "work/a.py", "work/20261129_101010/a.py", "other/20261129_101010/x", "other/b.py")


def test_configs_that_runs_wrote_are_left_out(tmp_path: Path) -> None:
    """All but code, and configs with a base, which no run writes; a folder given by name is looked at."""
    texts = dict.fromkeys(COPIES, "{config}model.type = 'Nothing'")
    mine = {"a.py": "{config}", "zoo/b.py": "{config}", "zoo/iter_80000.pth": "", "work/mine.py": "_base_ = '../a.py'"}
    report = report_on(tmp_path, {**texts, **mine, "work/code.py": "import os\n"})
    assert report.files["configs"] == ["a.py", "work/mine.py", "zoo/b.py"]
    assert report.files["code"] == ["work/code.py"]
    assert said(report, "note") == [".: configs that runs wrote into their folders are left out (3 here)"]
    assert said(report) == []
    assert "a.py" in look_at(tmp_path / "work").files["configs"]
    assert look_at(tmp_path / "work" / "a.py").code == 1
