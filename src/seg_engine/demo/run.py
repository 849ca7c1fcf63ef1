"""What `seg demo` does: scenes, configs, training, and a list of what lies where."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from importlib.resources import as_file, files
from pathlib import Path

from seg_engine.demo.backends import keep_installed
from seg_engine.demo.scenes import write_scenes
from seg_engine.demo.summary import print_summary

__all__ = ["run_demo"]

SHORT_SCENES = {"training": 48, "validation": 8}
SHORT = [
    "train_cfg.max_iters=40",
    "train_cfg.val_interval=20",
    "default_hooks.checkpoint.interval=20",
    "default_hooks.logger.interval=10",
    "default_hooks.visualization.interval=1",
    "param_scheduler.0.end=10",
    "param_scheduler.1.begin=10",
    "param_scheduler.1.end=40",
    "optim_wrapper.accumulative_counts=1",
]
SHORT_AVERAGE = ["custom_hooks.0.begin_iter=10"]


def run_demo(options: argparse.Namespace) -> int:
    """Draw, train, show; returns the exit code."""
    from seg_engine.launch import make_runner, override, read_config, train

    start = time.monotonic()
    out = Path(options.out)
    scenes = write_scenes(out / "street_scenes", **(SHORT_SCENES if options.short else {}))
    print(f"Street scenes: {scenes} (ADE20K's layout; python -m seg_engine.demo.scenes draws more)")
    path = write_configs(out / "configs") / f"{options.config}_street.py"
    cfg = read_config(path)
    if options.short:
        override(cfg, [*SHORT, *(SHORT_AVERAGE if cfg.get("custom_hooks") else [])])
    override(cfg, options.cfg_options)
    cfg.work_dir, cfg.resume = str(out / options.config), options.resume
    print(f"Config: {path}")
    if left_out := keep_installed(cfg):
        print(left_out)
    sys.stdout.flush()
    runner = make_runner(cfg, overwrite=not options.resume)
    train(runner, again=command(options))
    found = {"config": path, "seconds": time.monotonic() - start, "resume": command(options), "short": options.short}
    print_summary(runner, found)
    return 0


def write_configs(folder: Path) -> Path:
    """Copy the configs that come with the package, so that they can be read and changed; changed ones are kept."""
    with as_file(files("seg_engine.demo") / "configs") as shipped:
        for source in sorted(shipped.rglob("*.py")):
            target = folder / source.relative_to(shipped)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return folder


def command(options: argparse.Namespace) -> str:
    """Return the command line that goes on with this demo."""
    words = ["seg", "demo"]
    if options.out != "work_dirs/demo":
        words += ["--out", options.out]
    if options.config != "convnext":
        words += ["--config", options.config]
    if options.short:
        words.append("--short")
    return shlex.join([*words, "--resume", *(["--cfg-options", *options.cfg_options] if options.cfg_options else [])])
