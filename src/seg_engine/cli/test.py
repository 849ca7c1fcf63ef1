"""Measure a checkpoint on the test set of a config, and draw or write its predictions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_engine.cli.options import add_run_options, load_config
from seg_engine.ranks import tell

if TYPE_CHECKING:
    from seg_registry import Config
    from seg_runner import Runner

__all__ = ["add_arguments", "run"]

WRITERS = ("IoUMetric", "CityscapesMetric", "DepthMetric")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `seg test`."""
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    add_run_options(parser)
    parser.add_argument("--show-dir", metavar="DIR", help="draw image, truth, prediction and errors into this folder")
    parser.add_argument("--show", action="store_true", help="show the pictures in a window")
    parser.add_argument("--wait-time", type=float, default=2, metavar="SECONDS", help="how long --show shows each (2)")
    parser.add_argument("--out", metavar="DIR", help="write the predictions as PNG files into this folder")
    parser.add_argument(
        "--tta", action="store_true", help="average over versions: tta_model and tta_pipeline, else mirroring"
    )


def run(options: argparse.Namespace) -> int:
    """Test."""
    from seg_vis.names import printable

    from seg_engine.launch import give, make_runner

    cfg = load_config(options)
    for key in ("test_dataloader", "test_evaluator"):
        if cfg.get(key) is None:
            raise ValueError(f"{options.config} has no {key}, so there is nothing to test on")
    give(cfg, "the checkpoint of seg test", load_from=options.checkpoint, resume=False)
    if options.show or options.show_dir:
        show(cfg, options)
    if options.out:
        write_predictions(cfg, options.out)
    if options.tta:
        use_tta(cfg)
    runner = make_runner(cfg, options.trust_config, options.allow)
    found = runner.test()
    shown = "  ".join(f"{name}: {value:.2f}" for name, value in found.items() if isinstance(value, int | float))
    tell(printable(shown, lines=False))
    return 1 if tell_missing(runner, options) else 0


def tell_missing(runner: Runner, options: argparse.Namespace) -> bool:
    """Tell whether files that the command line asked for are not there; a line for each kind."""
    from seg_runner.evaluation.tables import missing_files
    from seg_vis.names import printable

    sets = getattr(runner.test_loop, "sets", {})
    missing = missing_files(evaluator for _, evaluator in sets.values()) if options.out else 0
    lacks = getattr(runner.visualizer, "lacks", 0) if options.show_dir else 0
    for count, what, where in ((missing, "predictions", options.out), (lacks, "pictures or rows", options.show_dir)):
        if count:
            print(printable(f"error: {count} {what} are not in {where}: the log says why"), file=sys.stderr)
    return bool(missing or lacks)


def show(cfg: Config, options: argparse.Namespace) -> None:
    """Switch the visualization hook on; with `--show-dir` for every image, whatever validation draws.

    Raises:
        ValueError: the config has no such hook, no visualizer, or none that writes files.
    """
    hook = (cfg.get("default_hooks") or {}).get("visualization")
    if hook is None or cfg.get("visualizer") is None:
        raise ValueError(
            "--show and --show-dir need default_hooks.visualization=dict(type='SegVisualizationHook') and a visualizer"
        )
    hook["draw"] = True
    if options.show:
        hook["show"], hook["wait_time"] = True, options.wait_time
    if options.show_dir:
        hook["interval"] = 1
        for few in ("samples", "max_pictures"):
            hook.pop(few, None)
        backends = cfg.visualizer.get("vis_backends") or []
        local = [index for index, backend in enumerate(backends) if backend.get("type") == "LocalVisBackend"]
        if not local:
            raise ValueError("--show-dir needs dict(type='LocalVisBackend') in visualizer.vis_backends")
        folder = str(Path(options.show_dir) / "vis_data")  # as MMSegmentation has it
        changes = {f"+visualizer.vis_backends.{index}.save_dir": folder for index in local}
        cfg.merge_from_dict(changes, source="--show-dir")


def write_predictions(cfg: Config, out: str) -> None:
    """Have the metrics of a config write what the model predicts.

    Raises:
        ValueError: none of them writes files.
    """
    found = {key: metric["type"] for key, metric in metrics_of(cfg.test_evaluator) if metric.get("type") in WRITERS}
    if not found:
        raise ValueError(f"--out needs one of {', '.join(WRITERS)} in test_evaluator: these write the predictions")
    for key, kind in found.items():
        changes = {f"+{key}.output_dir": out, **({f"+{key}.keep_results": True} if kind == "CityscapesMetric" else {})}
        cfg.merge_from_dict(changes, source="--out")


def metrics_of(evaluator: object, key: str = "test_evaluator") -> list[tuple[str, Any]]:
    """Return keys and dicts of the metrics of an evaluator's config: one, several, or an Evaluator with `metrics`.

    >>> metrics_of({"type": "Evaluator", "metrics": [{"type": "IoUMetric"}]})
    [('test_evaluator.metrics.0', {'type': 'IoUMetric'})]
    """
    if isinstance(evaluator, list | tuple):
        return [metric for index, one in enumerate(evaluator) for metric in metrics_of(one, f"{key}.{index}")]
    if not isinstance(evaluator, dict):
        return []
    if "metrics" in evaluator:
        return metrics_of(evaluator["metrics"], f"{key}.metrics")
    if "type" in evaluator:
        return [(key, evaluator)]
    return [metric for name, one in evaluator.items() for metric in metrics_of(one, f"{key}.{name}")]


def use_tta(cfg: Config) -> None:
    """Average over versions of each image: those of `tta_pipeline`, else the image and its mirror image."""
    tta = dict(cfg.get("tta_model") or {"type": "SegTTAModel", "flip": cfg.get("tta_pipeline") is None})
    if cfg.get("tta_pipeline") is not None:
        cfg.test_dataloader["dataset"]["pipeline"] = cfg.tta_pipeline
    if cfg.get("data_preprocessor") is not None:
        cfg.model.setdefault("data_preprocessor", cfg.data_preprocessor)
    cfg.model = {**tta, "module": cfg.model}
