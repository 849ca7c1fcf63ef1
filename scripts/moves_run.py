"""Train configs of MMSegmentation here for a few steps, and say of each how that went.

The worker of `./run moves`: it reads the path of a config from each line of its input, and answers with a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import moves_config

__all__ = ["RAN", "configs_folder", "prepare", "row_of", "try_config"]

RAN = ("own model", "stand-in")
"""The kinds of rows of configs that were trained; the others are told in `row_of`."""
Row = dict[str, Any]


def configs_folder() -> Path:
    """Return where the wheel has its configs, without importing it."""
    spec = find_spec("mmseg")
    assert spec is not None, "mmsegmentation is not installed"
    return Path(next(iter(spec.submodule_search_locations or ()))) / ".mim" / "configs"


def prepare() -> None:
    """Import MMSegmentation without a compiler, and give it our data set."""
    import moves_data
    import torch

    from seg_engine.mmseg import prepare as stand_in_for_mmcv

    torch.set_num_threads(1)
    stand_in_for_mmcv()
    moves_data.register()


def row_of(name: str, steps: int) -> Row:
    """Return what is told of one config.

    Its `kind` is one of RAN; "package absent" where the config asks for one that is not installed; "fails there too"
    where MMEngine's Runner, given the same, fails as well; or "failed". `reason` says why it was a stand-in or did not
    run. What libraries print goes nowhere.
    """
    start = time.process_time()
    row: Row = {"config": name, "family": name.partition("/")[0], "kind": "own model", "shrunk": [], "reason": ""}
    quiet = io.StringIO()
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        try:
            try_config(configs_folder() / name, steps, Path(place), row)
        except Exception as error:
            row.update(why(error, configs_folder() / name, steps))
            if row["kind"] == "package absent" and "theirs" in row:
                row["reason"] += ", which its `tta_pipeline` asks for; it trained with its own model"
    return row | {"seconds": round(time.process_time() - start, 2)}


def why(error: Exception, path: Path, steps: int) -> Row:
    """Return kind and reason of a config that did not run."""
    absent = absent_packages(path) or re.findall(r"^(\w+) is not installed", str(error))
    if absent:
        return {"kind": "package absent", "reason": f"`{'`, `'.join(absent)}` is not installed"}
    with tempfile.TemporaryDirectory() as place:
        there = mmengine_raises(path, steps, Path(place))
    reason = words_of(error) + (f"; there: {words_of(there)}" if there and words_of(there) != words_of(error) else "")
    trace = "".join(traceback.format_exception(error))[-6000:]
    return {"kind": "fails there too" if there else "failed", "reason": reason, "trace": trace}


def words_of(error: BaseException) -> str:
    """Return what an error says, in a line without this machine's folders."""
    words = " ".join(str(error).split()).replace(f"{configs_folder()}{os.sep}", "")
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {words[:300]} ({Path(last.filename).name}:{last.lineno})"


def mmengine_raises(path: Path, steps: int, folder: Path) -> Exception | None:
    """Return what MMEngine's own Runner raises, given the same shrunk config; None where it trains it.

    MMEngine takes a visualizer of a run before for its own where that has the same name, folder and all.
    """
    from mmengine.config import Config as Reference
    from mmengine.runner import Runner as ReferenceRunner
    from seg_registry import Config

    try:
        cfg = Config.fromfile(path)
        moves_config.shrink(cfg, folder, steps)
        write_files(cfg, folder)
        cfg.visualizer.name = folder.name
        ReferenceRunner.from_cfg(Reference(cfg.to_dict())).train()
    except Exception as error:
        return error
    return None


def absent_packages(path: Path) -> list[str]:
    """Return the packages that the parts of a config name, `mmdet` of `mmdet.DiceLoss`, and that are not installed."""
    from seg_registry import Config

    try:
        cfg = Config.fromfile(path).to_dict()
    except Exception:
        return []
    kinds = [part.get("type") for part in moves_config.dicts_in(cfg)]
    named = {kind.partition(".")[0] for kind in kinds if isinstance(kind, str) and "." in kind}
    return sorted(name for name in named if name.isidentifier() and find_spec(name) is None)


def try_config(path: Path, steps: int, folder: Path, row: Row) -> None:
    """Train a config, validate, and average over versions of a picture; write into its row what was found.

    Raises:
        AssertionError: it ended, and something that a run leaves is not there.
    """
    from seg_registry import Config

    from seg_engine.launch import make_runner

    cfg = Config.fromfile(path)
    put = moves_config.stand_in(cfg)
    if put:
        row.update(kind="stand-in", reason=put)
    row["shrunk"] = moves_config.shrink(cfg, folder, steps)
    write_files(cfg, folder)
    runner = make_runner(cfg)
    runner.train()
    row["steps"] = runner.iter
    row["losses"] = [float(value) for value in runner.message_hub.get_scalar("train/loss").data[0]]
    check_run(runner, folder, steps, row)
    row["theirs"] = theirs(runner, cfg)
    row["tta"] = average_versions(runner, cfg)


def write_files(cfg: Any, folder: Path) -> None:
    """Write the picture of the samples, and weights for a model that does not begin without a file of them."""
    import cv2
    import numpy as np
    import torch

    from seg_engine.launch import make_builder

    side = moves_config.side_of_picture(cfg.model)
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / moves_config.PICTURE), picture)
    if cfg.model.get("pretrained"):
        generator = torch.Generator().manual_seed(0)
        weights = make_builder(cfg).build("model", cfg.model).state_dict()
        drawn = {name: torch.randn(one.shape, generator=generator) / 50 for name, one in weights.items()}
        torch.save(drawn, folder / moves_config.WEIGHTS)


def theirs(runner: Any, cfg: Any) -> list[str]:
    """Return which parts of a run are not this project's, by name: MMSegmentation's own, beyond those of its engine."""
    from seg_engine.launch import make_builder

    schedulers = runner.param_schedulers
    listed = schedulers if isinstance(schedulers, list) else [one for many in schedulers.values() for one in many]
    parts = [*runner.hooks, *listed, runner.optim_wrapper, runner.train_loop, runner.val_loop, runner.visualizer]
    parts += [runner.log_processor, *(runner.visualizer.get_backend(one) for one in backends_of(cfg))]
    kinds = [type(part) for part in parts]
    if cfg.optim_wrapper.get("constructor"):
        kinds.append(make_builder(cfg).get("optim_wrapper_constructor", cfg.optim_wrapper.constructor))
    return sorted({kind.__name__ for kind in kinds if not kind.__module__.startswith("seg_")})


def backends_of(cfg: Any) -> list[str]:
    """Return the names by which a visualizer knows its backends."""
    return [backend.get("name", backend["type"]) for backend in cfg.visualizer.vis_backends]


def check_run(runner: Any, folder: Path, steps: int, row: Row) -> None:
    """Raise AssertionError unless a run has left all that one leaves."""
    assert row["steps"] == len(row["losses"]) == steps, f"{row['steps']} steps, {len(row['losses'])} losses"
    assert all(map(math.isfinite, row["losses"])), f"losses {row['losses']}"
    (lines,) = folder.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert any({"loss", "lr"} <= set(record) for record in records), f"no losses in {lines.name}: {records}"
    assert any("data_time" in record and "loss" not in record for record in records), f"no validation: {records}"
    assert (folder / f"iter_{steps}.pth").is_file(), "no checkpoint"


def average_versions(runner: Any, cfg: Any) -> str:
    """Test one picture with the config's `tta_pipeline` and `tta_model`; return how many versions there were."""
    import cv2
    import torch

    from seg_engine.launch import make_builder

    if not cfg.get("tta_pipeline"):
        return "no tta_pipeline"
    build = make_builder(cfg, imports=True)
    model = build.build("model", {**cfg.tta_model, "module": runner.model}).eval()
    record: Any = {"img_path": str(Path(cfg.work_dir) / moves_config.PICTURE), "reduce_zero_label": False}
    record |= {"seg_map_path": record["img_path"], "seg_fields": []}
    height, width = cv2.imread(record["img_path"]).shape[:2]
    for step in cfg.tta_pipeline:
        record = build.build("transform", step)(record)
    with torch.no_grad():
        (sample,) = model.test_step({key: [[one] for one in versions] for key, versions in record.items()})
    found = tuple(sample.pred_sem_seg.data.shape)
    assert found == (1, height, width), f"a prediction of {found} for a picture of {(height, width)}"
    return f"{len(record['inputs'])} versions"


def limit_memory(gigabytes: float) -> None:
    """Have a model that needs more memory fail, and not the machine."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        most = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--memory", type=float, default=8, help="gigabytes")
    options = parser.parse_args()
    limit_memory(options.memory)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    prepare()
    for line in sys.stdin:
        print(json.dumps(row_of(line.strip(), options.steps)), file=answers, flush=True)


if __name__ == "__main__":
    main()
