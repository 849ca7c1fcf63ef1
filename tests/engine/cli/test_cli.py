from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from projects import ISLANDS, Project
from seg_registry import Config

import seg_engine
import seg_engine.launch
from seg_engine.cli import VERBS, main, make_parser
from seg_engine.cli.messages import describe, from_worker
from seg_engine.cli.options import find_work_dir, use_amp
from seg_engine.cli.rerun import differences, find_record
from seg_engine.cli.test import metrics_of, show, use_tta, write_predictions
from seg_engine.cli.version import versions
from seg_engine.cli.words import in_order
from seg_engine.launch import give, read_config


def test_every_verb_has_its_flags_and_one_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in VERBS)


def test_the_bare_name_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().err
    assert all(f"    {verb} " in told for verb in VERBS)


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("train", ["--work-dir", "--resume", "--amp", "--cfg-options", "--launcher"]),
        (
            "test",
            ["--work-dir", "--show-dir", "--show", "--out", "--cfg-options", "--launcher", "--tta", "--wait-time"],
        ),
        ("predict", ["--out", "--device", "--alpha"]),
        ("demo", ["--out", "--resume", "--short", "--config", "--cfg-options"]),
        ("rerun", ["--work-dir", "--cfg-options"]),
    ],
)
def test_flags_are_mmsegmentations(verb: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert [flag for flag in [*flags, "--debug"] if flag not in text] == []


def test_resume_is_a_switch_or_takes_a_file() -> None:
    parse = make_parser().parse_args
    assert parse(["train", "a.py"]).resume is None
    assert parse(["train", "a.py", "--resume"]).resume is True
    assert parse(["train", "a.py", "--resume", "b.pth"]).resume == "b.pth"


@pytest.mark.parametrize(
    ("given", "file", "resume"), [("auto", False, True), ("auto", True, "auto"), ("b.pth", False, "b.pth")]
)
def test_resume_auto_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, file: bool, resume: object
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("x = 1")
    if file:
        (tmp_path / "auto").touch()
    found: list[object] = []

    def make_runner(cfg: Any, *_: object, **__: object) -> SimpleNamespace:
        found.append(cfg.resume)
        return SimpleNamespace(lost="")

    monkeypatch.setattr(seg_engine.launch, "make_runner", make_runner)
    monkeypatch.setattr(seg_engine.launch, "train", lambda *_, **__: None)
    assert main(["train", "--resume", given, "a.py"]) == 0
    assert found == [resume]


def test_the_help_waits_for_nothing_heavy() -> None:
    heavy = "{'torch', 'cv2', 'numpy', 'rich'}"
    code = f"import sys, seg_engine.cli as c; c.make_parser(); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "seg_engine", "--version"], capture_output=True, text=True, check=True)
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    islands = {name: import_module(Project(name).module).__version__ for name in ISLANDS}
    assert lines == {
        "seg-engine": seg_engine.__version__,
        **islands,
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }


def test_versions_are_those_of_the_files_and_not_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata of an editable installation is as old as the installation."""
    (tmp_path / "seg_vis").mkdir()
    (tmp_path / "seg_vis/__init__.py").write_text("raise RuntimeError('nothing is imported')\n", encoding="utf-8")
    (tmp_path / "seg_vis/__about__.py").write_text('__version__: str = "9.8.7"\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "seg_vis", raising=False)
    monkeypatch.setitem(sys.modules, "seg_hooks", None)
    found = versions()
    assert (found["seg-vis"], found["seg-hooks"]) == ("9.8.7", "not installed")


def test_an_error_is_one_message_and_with_debug_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", str(tmp_path / "none.py")]) == 1
    assert (
        capsys.readouterr().err == f"error: there is no config {tmp_path}/none.py (the path exists up to {tmp_path})\n"
    )
    with pytest.raises(FileNotFoundError):
        main(["train", str(tmp_path / "none.py"), "--debug"])


def test_the_working_folder_is_importable_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    main(["train", "none.py"])
    assert sys.path[-1] == str(tmp_path)


def test_a_message_has_the_notes_and_says_when_the_fault_is_ours() -> None:
    error = ValueError("bad value of x")
    error.add_note("while building 'model' (a.py:3)")
    assert describe(error) == "error: bad value of x\nwhile building 'model' (a.py:3)"
    assert describe(KeyError("x")) == "error: KeyError: 'x'"
    assert "--debug" in describe(AttributeError("a b"))
    assert describe(FileNotFoundError(2, "No such file", "a.txt")).startswith("error: No such file: a.txt")


def test_a_workers_traceback_is_left_out() -> None:
    text = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "a.py", line 1, in f\n    raise ValueError(\n          ^^^\n'
        "ValueError: a.png: label 9\nin transform X\n\n"
    )
    assert from_worker(text) == "a.png: label 9\nin transform X"


def test_the_working_folder_is_the_flags_the_configs_or_named_after_it() -> None:
    options = Namespace(work_dir=None, config="configs/net.py")
    assert find_work_dir(Config({}), options) == "work_dirs/net"
    assert find_work_dir(Config({"work_dir": "there"}), options) == "there"
    assert find_work_dir(Config({"work_dir": "there"}), Namespace(work_dir="here", config="a.py")) == "here"


def test_what_is_odd_in_a_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text("optimizer = dict(type='SGD'),\n", encoding="utf-8")
    assert read_config(path).optimizer.type == "SGD"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: {path}:1: the comma")


def test_amp() -> None:
    cfg = Config({"optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD"}}})
    use_amp(cfg)
    use_amp(cfg)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.loss_scale == "dynamic"
    with pytest.raises(ValueError, match="'MyWrapper'"):
        use_amp(Config({"optim_wrapper": {"type": "MyWrapper"}}))


def test_showing_needs_a_hook() -> None:
    with pytest.raises(ValueError, match="SegVisualizationHook"):
        show(Config({"default_hooks": {}}), Namespace(show=False, show_dir="x"))


def test_pictures_go_where_the_command_line_says() -> None:
    hook = {"visualization": {"type": "SegVisualizationHook"}}
    both = [{"type": "TensorboardVisBackend"}, {"type": "LocalVisBackend", "save_dir": "/there"}]
    cfg = Config({"default_hooks": hook, "visualizer": {"vis_backends": both}})
    show(cfg, Namespace(show=False, show_dir="/here"))
    assert [backend.get("save_dir") for backend in cfg.visualizer.vis_backends] == [None, "/here/vis_data"]
    assert "(--show-dir)" in str(cfg.origin("visualizer.vis_backends.1.save_dir"))
    with pytest.raises(ValueError, match="LocalVisBackend"):
        show(Config({"default_hooks": hook, "visualizer": {"vis_backends": both[:1]}}), Namespace(show=0, show_dir="x"))


def test_every_image_is_drawn_where_validation_draws_a_few() -> None:
    hook = {"visualization": {"type": "SegVisualizationHook", "samples": 3, "max_pictures": 2}}
    cfg = Config({"default_hooks": hook, "visualizer": {"vis_backends": [{"type": "LocalVisBackend"}]}})
    show(cfg, Namespace(show=False, show_dir="/here"))
    assert cfg.default_hooks.visualization.to_dict() == {"type": "SegVisualizationHook", "draw": True, "interval": 1}


def test_what_a_flag_adds_is_not_told_as_a_new_key(caplog: pytest.LogCaptureFixture) -> None:
    backends = {"vis_backends": [{"type": "LocalVisBackend"}]}
    cfg = Config({"default_hooks": {"visualization": {}}, "visualizer": backends, "test_evaluator": {"type": "A"}})
    cfg.test_evaluator.type = "IoUMetric"
    show(cfg, Namespace(show=False, show_dir="/here"))
    write_predictions(cfg, "/there")
    assert (cfg.visualizer.vis_backends[0].save_dir, cfg.test_evaluator.output_dir) == ("/here/vis_data", "/there")
    assert not caplog.records


def test_tta_wraps_the_model() -> None:
    cfg = Config({"model": {"type": "A"}, "test_dataloader": {"dataset": {"pipeline": []}}})
    use_tta(cfg)
    assert cfg.model.to_dict() == {"type": "SegTTAModel", "flip": True, "module": {"type": "A"}}
    own = Config({**cfg.to_dict(), "model": {"type": "A"}, "tta_model": {"type": "Mine"}, "tta_pipeline": [1]})
    use_tta(own)
    assert own.model.to_dict() == {"type": "Mine", "module": {"type": "A"}}
    assert own.test_dataloader.dataset.pipeline == [1]


def test_a_record_is_found_and_what_differs_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        find_record(tmp_path)
    for name in ("2026_1", "2026_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"config": "a.py", "seed": 1}), encoding="utf-8")
    assert find_record(tmp_path)[0].name == "2026_2"
    (tmp_path / "2026_2" / "run.json").write_text(json.dumps({"seed": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match="without a config"):
        find_record(tmp_path)
    told = differences({"versions": {"torch": "0.1", "nothing-like-it": "1"}, "git": {"changed": ["a"]}})
    assert told[0].startswith("torch was 0.1 and is ")
    assert told[1] == "nothing-like-it was 1 and is not installed"
    assert "1 files were not committed" in told[2]


def parsed(*words: str) -> Namespace:
    parser = make_parser()
    return parser.parse_args(in_order(words, parser))


OPTION = "--cfg-options"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["train", "--resume", "a.py"], {"config": "a.py", "resume": True}),
        (["train", "--resume", "b.pth", "a.py"], {"config": "a.py", "resume": "b.pth"}),
        (["train", "--resume=b.pth", "a.py"], {"config": "a.py", "resume": "b.pth"}),
        (["train", "--amp", "--resume", "--work-dir", "w", "a.yaml"], {"config": "a.yaml", "resume": True}),
        (["train", OPTION, "a=1", "b=2", "a.py"], {"config": "a.py", "cfg_options": ["a=1", "b=2"]}),
        (["train", "a.py", OPTION, "a=1", OPTION, "b=2", "c=3"], {"cfg_options": ["a=1", "b=2", "c=3"]}),
        (["train", OPTION, "a=1", "a.py", OPTION, "b=2"], {"config": "a.py", "cfg_options": ["a=1", "b=2"]}),
        (["train", f"{OPTION}=a=1", "a.py"], {"config": "a.py", "cfg_options": ["a=1"]}),
        (["train", OPTION, "data_root=x.py", "a.py"], {"config": "a.py", "cfg_options": ["data_root=x.py"]}),
        (["train", OPTION, "a", "a.py"], {"config": "a.py", "cfg_options": ["a"]}),
        (["test", OPTION, "a=1", "a.py", "b.pth"], {"config": "a.py", "checkpoint": "b.pth", "cfg_options": ["a=1"]}),
        (["test", "a.py", "--tta", "b.pth", OPTION, "a=1", OPTION, "b=2"], {"cfg_options": ["a=1", "b=2"]}),
        (["rerun", OPTION, "a=1", "src", OPTION, "b=2"], {"record": "src", "cfg_options": ["a=1", "b=2"]}),
        (["demo", OPTION, "a=1", OPTION, "b=2"], {"cfg_options": ["a=1", "b=2"]}),
        (["train", "--work_dir", "w", "a.py"], {"config": "a.py", "work_dir": "w"}),
        (["train", "a.py", "--work_dir=w", "--trust_config"], {"work_dir": "w", "trust_config": True}),
        (["train", "a.py", "--cfg_options", "a_b=1"], {"cfg_options": ["a_b=1"]}),
        (["train", "a.py", "--local_rank", "3"], {"local_rank": 3}),
        (["train", "a.py", "--work", "w"], {"work_dir": "w"}),
        (["test", "--show_dir", "s", "--wait_time", "1", "a.py", "b.pth"], {"show_dir": "s", "wait_time": 1.0}),
    ],
)
def test_words_may_stand_in_any_order(words: list[str], found: dict[str, object]) -> None:
    options = vars(parsed(*words))
    assert {key: options[key] for key in found} == found


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["train", "a.py", "--workdir", "w"], "--work-dir"),
        (["train", "a.py", "--resmue"], "--resume"),
        (["train", "a.py", "--cfgoptions", "a=1"], "--cfg-options"),
        (["train", "a.py", "--cfg-option5", "a=1"], "--cfg-options"),
        (["test", "a.py", "b.pth", "--showdir", "s"], "--show-dir"),
        (["rerun", "x", "--wrok-dir", "w"], "--work-dir"),
        (["demo", "--shrot"], "--short"),
        (["train", "a.py", "--Work-Dir", "w"], "--work-dir"),
    ],
)
def test_a_misspelt_option_is_told_with_the_right_one(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parsed(*words)
    assert left.value.code == 2
    assert f"did you mean {near}?" in capsys.readouterr().err.splitlines()[-1]


def test_every_option_of_every_verb_may_be_written_with_underscores() -> None:
    verbs = next(iter(make_parser()._subparsers._group_actions)).choices  # type: ignore[union-attr]
    names = [(verb, name) for verb, parser in verbs.items() for name in parser._option_string_actions]
    assert len(names) > 30
    for verb, name in names:
        if name.startswith("--") and name not in ("--local_rank", "--local-rank"):
            assert in_order([verb, name.replace("-", "_").replace("__", "--", 1)], make_parser())[1] == name


RECORDS = ["[]", "x", "[" * 100_000, " " * 2**23, '{"config": "c.py"}', '{"seed": "1"}', '{"seed": 1, "versions": [1]}']
RECORDS += [f'{{"seed": 1, "config": {name}}}' for name in ('"../c.py"', '"/etc/c.py"', '["c.py"]', "5")]


@pytest.mark.parametrize("text", RECORDS)
def test_a_record_of_any_content_is_an_error_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json"):
        find_record(tmp_path)


@pytest.mark.parametrize(
    "words",
    [["predict", "c.pth", "i.png"], ["demo"], ["migrate", "c.py"]],
    ids=lambda words: words[0],
)
def test_one_of_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words) == 1
    assert f"seg {words[0]} works in one process, but this is one of 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "a.py"], "did you mean train?"),
        (["Predict"], "did you mean predict?"),
        (["configs/my net.py"], "seg train 'configs/my net.py'"),
        (["xyzzy"], "there is no verb 'xyzzy' (verbs: demo, train"),
    ],
)
def test_a_misspelt_verb_is_told_with_the_right_one(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "evaluator",
    [
        {"type": "IoUMetric"},
        {"type": "CityscapesMetric"},
        {"type": "DepthMetric"},
        [{"type": "MyMetric"}, {"type": "IoUMetric"}],
        {"type": "Evaluator", "metrics": {"type": "IoUMetric"}},
        {"type": "Evaluator", "metrics": [{"type": "MyMetric"}, {"type": "DepthMetric"}]},
        {"near": {"type": "IoUMetric"}, "far": [{"type": "MyMetric"}, {"type": "CityscapesMetric"}]},
    ],
)
def test_out_writes_with_every_metric_that_can(evaluator: Any) -> None:
    cfg = Config({"test_evaluator": evaluator})
    write_predictions(cfg, "there")
    for key, metric in metrics_of(cfg.test_evaluator):
        assert "output_dir" not in metric or "(--out)" in str(cfg.origin(f"{key}.output_dir"))
        assert metric.get("output_dir") == (None if metric["type"] == "MyMetric" else "there")
        assert metric.get("keep_results") is (True if metric["type"] == "CityscapesMetric" else None)


def test_out_needs_a_metric_that_writes() -> None:
    with pytest.raises(ValueError, match="--out needs one of IoUMetric, CityscapesMetric, DepthMetric"):
        write_predictions(Config({"test_evaluator": [{"type": "MyMetric"}]}), "there")


ODD = r"""
import sys, warnings
from seg_engine.cli import demo, main

def run(options):
    print("na\u00efve \u2192 \u6f22 \udcff")
    warnings.warn("a warning \x1b[31m of \u6f22", stacklevel=1)
    raise ValueError("an error \x1b[31m of \u6f22")

demo.run = run
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "words", [["demo"], ["demo", "--debug"], ["demo", "\x1b[31m"], ["demo", "--\x1b[31m"], ["\x1b"]]
)
def test_no_encoding_ends_a_command_and_nothing_is_carried_out(words: list[str], encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", ODD, *words], env=env, capture_output=True, timeout=300)
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"UnicodeEncodeError" not in done.stderr
    assert b"x1b" in done.stderr
    assert done.returncode == (1 if words in (["demo"], ["demo", "--debug"]) else 2)


def test_what_a_flag_sets_is_told_by_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.py").write_text("model = dict(type='X')\n")
    assert main(["train", "c.py", "--launcher", "slurm"]) == 1
    told = capsys.readouterr().err
    assert "launcher='slurm', but this process was not started by srun (SLURM_PROCID is not set)" in told
    assert "launcher='slurm' (--launcher)" in told
    assert ".py:" not in told
    cfg = read_config("c.py")
    give(cfg, "the checkpoint of seg test", load_from="a.pth", resume=False)
    assert (cfg.load_from, cfg.resume) == ("a.pth", False)
    assert "the checkpoint of seg test" in str(cfg.origin("load_from"))
