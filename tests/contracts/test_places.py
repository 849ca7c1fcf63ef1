"""Every argument of every registered class that names a file is known, and none lets a config write anywhere else."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from seg_registry import Config, parse_options
from seg_runner import Runner
from seg_runner.process.places import NAMES, PLACES, is_written

LIKE_A_PATH = re.compile(r"(?:dir|folder|(?<!pro)file|path|root|ur[il]|repo|location|place|tmpl|prefix)(?![a-z])")
READ = {
    "ann_file": "a list of images",
    "data_prefix": "folders of data",
    "data_root": "folders of data",
    "file_client_args": "options of a store",
    "prefix": "of names of metrics",
    "work_dir": "where everything else lies: the caller's choice",
}
"""Arguments that name what is read, or no path at all."""

CHECKPOINT = "default_hooks = dict(checkpoint=dict(type='CheckpointHook', {key}={value!r}))"
BACKEND = "visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend', {key}={value!r})])"
TRACKER = "visualizer = dict(type='Visualizer', vis_backends=[dict(type='{kind}', {{key}}={{value!r}})])"
WAYS = {
    "default_hooks.checkpoint.out_dir": CHECKPOINT,
    "default_hooks.checkpoint.filename_tmpl": CHECKPOINT,
    "default_hooks.logger.out_dir": "default_hooks = dict(logger=dict(type='LoggerHook', {key}={value!r}))",
    "custom_hooks.0.json_trace_path": "custom_hooks = [dict(type='ProfilerHook', {key}={value!r})]",
    "custom_hooks.0.on_trace_ready.dir_name": (
        "custom_hooks = [dict(type='ProfilerHook', on_trace_ready=dict(type='tb_trace', {key}={value!r}))]"
    ),
    "val_evaluator.output_dir": "val_evaluator = dict(type='IoUMetric', {key}={value!r})",
    "test_evaluator.metrics.1.output_dir": (
        "test_evaluator = dict(metrics=[dict(type='IoUMetric'), dict(type='CityscapesMetric', {key}={value!r})])"
    ),
    "test_evaluator.near.0.output_dir": "test_evaluator = dict(near=[dict(type='DepthMetric', {key}={value!r})])",
    "test_evaluator.out_file_path": "test_evaluator = dict(type='DumpResults', {key}={value!r})",
    "visualizer.save_dir": "visualizer = dict(type='SegLocalVisualizer', {key}={value!r})",
    "visualizer.vis_backends.0.save_dir": BACKEND,
    "visualizer.vis_backends.0.img_save_dir": BACKEND,
    "visualizer.vis_backends.0.config_save_file": BACKEND,
    "visualizer.vis_backends.0.scalar_save_file": BACKEND,
    "visualizer.vis_backends.0.tracking_uri": TRACKER.format(kind="MLflowVisBackend"),
    "visualizer.vis_backends.0.artifact_location": TRACKER.format(kind="MLflowVisBackend"),
    "visualizer.vis_backends.0.init_kwargs.dir": (
        "visualizer = dict(type='Visualizer', "
        "vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict({key}={value!r}))])"
    ),
    "experiment_name": "{key} = {value!r}",
}
"""Where a config can say it, and how."""
DATA = "{0}_dataloader = dict(dataset=dict(type='NoSuchData')); {0}_cfg = dict(loss=True)"
RUN = "; ".join(["model = dict(type='NoSuchModel')", DATA.format("val"), DATA.format("test")])


def registered() -> dict[str, Any]:
    groups = (group for group in entry_points().groups if group.startswith("seg_engine."))
    points = {point.value: point for group in groups for point in entry_points(group=group)}
    return {name: points[name] for name in sorted(points) if name.startswith("seg_")}


def test_no_argument_that_names_a_file_is_forgotten() -> None:
    names = {name for point in registered().values() for name in arguments(point.load())}
    like = {name for name in names if LIKE_A_PATH.search(name) and not is_written(name)}
    assert like == set(READ)
    tried = {key.rpartition(".")[2] for key in WAYS}
    assert {name for name in names if is_written(name)} <= tried


def arguments(made: Any) -> list[str]:
    try:
        return list(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        return []


@pytest.mark.parametrize("suffix", ["..", "../x", "/etc/x", "~/x", "x/../../../../x", "C:\\x", "a\0b"])
@pytest.mark.parametrize("key", WAYS)
def test_a_config_from_elsewhere_writes_nowhere_else(key: str, suffix: str, tmp_path: Path) -> None:
    name = key.rpartition(".")[2]
    if name in NAMES and suffix == "~/x":
        return  # a folder of that name, inside
    text = WAYS[key].format(key=name, value=suffix)
    with pytest.raises(ValueError, match=rf"{re.escape(key)} \(.*train\.py:3\)="):
        start(f"strict_paths = True\n{RUN}\n{text}\n", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", [key for key in WAYS if key.rpartition(".")[2] in PLACES | {"dir"}])
def test_a_whole_path_of_ones_own_or_of_the_command_line_passes(key: str, tmp_path: Path) -> None:
    name = key.rpartition(".")[2]
    text = f"{RUN}\n{WAYS[key].format(key=name, value='/elsewhere')}\n"
    with pytest.raises(KeyError, match="NoSuchModel"):
        start(text, tmp_path)
    with pytest.raises(KeyError, match="NoSuchModel"):
        start(f"strict_paths = True\n{text}", tmp_path, f"{key}=/somewhere")


LISTED = "custom_hooks = [dict(type='ProfilerHook', json_trace_path='/theirs')]"


BESIDE = ["custom_hooks.0.priority=5", "+custom_hooks=[dict(type='X')]", "custom_hooks.0.schedule.x=1"]


@pytest.mark.parametrize("option", BESIDE)
def test_an_option_for_something_beside_a_place_does_not_make_it_ones_own(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"custom_hooks\.0\.json_trace_path .*'/theirs' is /theirs, outside"):
        start(f"strict_paths = True\n{RUN}\n{LISTED}\n", tmp_path, option)
    named = "custom_hooks.0.json_trace_path=/mine"
    for own in ([named], [named, option], ["custom_hooks=[dict(type='X', json_trace_path='/mine')]"]):
        with pytest.raises(KeyError, match="NoSuchModel"):
            start(f"strict_paths = True\n{RUN}\n{LISTED}\n", tmp_path, *own)


def start(text: str, folder: Path, *words: str) -> None:
    (folder / "train.py").write_text(text)
    cfg: Any = Config.fromfile(folder / "train.py")
    cfg.work_dir = str(folder / "out")
    cfg.merge_from_dict(parse_options(list(words)), strict=True, source="--cfg-options")
    Runner.from_cfg(cfg)
