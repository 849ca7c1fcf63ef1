"""Loading and dumping configs: ours against MMEngine, on the 769 configs of the mmsegmentation wheel, as ratios.

Run `python benchmarks/config.py`; without mmengine and mmsegmentation it says so and measures what is there.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from _measure import paired
from seg_registry import Config
from seg_registry.config.load import Loader

COLD = """
import sys, time, logging, warnings
logging.disable(logging.CRITICAL); warnings.simplefilter("ignore")
from {module} import Config
start = time.process_time()
Config.fromfile(sys.argv[1])
print(time.process_time() - start)
"""
IMPORT = "import sys, time; s = time.process_time(); import seg_registry; print(time.process_time() - s)"


def config_files() -> list[str]:
    """The configs inside the wheel, or, without it, a chain of three written for the purpose."""
    spec = importlib.util.find_spec("mmseg")
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [str(path) for place in places for path in sorted(Path(place, ".mim", "configs").rglob("*.py"))]
    if files:
        return files
    print("mmsegmentation is not installed: measuring a small chain of our own")
    folder = Path(tempfile.mkdtemp())
    (folder / "model.py").write_text("model = dict(type='A', parts=[dict(type='B', n=i) for i in range(40)])\n")
    (folder / "run.py").write_text("train_cfg = dict(max_iters=10)\noptim = dict(type='SGD', lr=0.1)\n")
    (folder / "train.py").write_text("_base_ = ['model.py', 'run.py']\noptim = dict(lr=0.2)\n")
    return [str(folder / "train.py")]


def child(code: str, *args: str) -> float:
    result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def cold(files: list[str], peer: bool, rounds: int) -> dict[str, list[float]]:
    """One config loaded first thing in a fresh process."""
    times: dict[str, list[float]] = {"ours": [], "mmengine": []}
    for file in files[:: max(1, len(files) // rounds)][:rounds]:
        times["ours"].append(child(COLD.format(module="seg_registry"), file))
        if peer:
            times["mmengine"].append(child(COLD.format(module="mmengine.config"), file))
    return times


def row(name: str, ours: float, peer: float | None, goal: str) -> None:
    ratio = f"{peer / ours:6.1f} x" if peer else "       -"
    print(
        f"{name:44}{ours * 1000:9.2f} ms{f'{peer * 1000:9.2f} ms' if peer else '            -':>13}{ratio:>10}   {goal}"
    )


def load_each(fromfile: Callable[[str], object], files: list[str]) -> list[float]:
    """Seconds of CPU for each file in this process; files that fail (a package that is missing) are left out."""
    times = []
    for file in files:
        start = time.process_time()
        try:
            fromfile(file)
        except (ImportError, RuntimeError):
            continue
        times.append(time.process_time() - start)
    return times


def main() -> None:
    warnings.simplefilter("ignore")
    files = config_files()
    peer = importlib.util.find_spec("mmengine") is not None and len(files) > 1
    if not peer:
        print("mmengine is not installed: no comparison")
    print(f"{len(files)} configs{'':34}{'ours':>10}{'mmengine':>13}{'ratio':>10}   goal")
    times = cold(files, peer, 9)
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    row("one config, cold, fresh process (median)", medians["ours"], medians.get("mmengine"), ">= 6 x")
    theirs = None
    if peer:
        import logging

        from mmengine.config import Config as Peer

        logging.disable(logging.CRITICAL)
        theirs = statistics.mean(load_each(Peer.fromfile, files[::7]))
    ours = statistics.mean(load_each(Config.fromfile, files))
    row("all, one process (mean of a config)", ours, theirs, ">= 25 x")
    sample = [Config.fromfile(file) for file in files[::97]]
    dumps: dict[str, Callable[[], object]] = {"ours": lambda: [cfg.dump() for cfg in sample]}
    if peer:
        theirs_sample = [Peer(cfg.to_dict()) for cfg in sample]
        dumps["mmengine"] = lambda: [cfg.dump() for cfg in theirs_sample]
    dumped = {name: statistics.median(values) for name, values in paired(dumps, 3).items()}
    row("dump (mean)", dumped["ours"] / len(sample), dumped.get("mmengine", 0) / len(sample) or None, ">= 30 x")
    some = files[::20]
    origins = paired(
        {
            "with": lambda: [Loader(keep=False).load(file) for file in some],
            "without": lambda: [Loader(keep=False, origins=False).load(file) for file in some],
        },
        15,
    )
    share = statistics.median(a / b for a, b in zip(origins["with"], origins["without"], strict=True)) - 1
    print(f"{'origins, share of loading time':44}{share * 100:8.1f} %{'':33}<= 30 %")
    imported = statistics.median(child(IMPORT) for _ in range(7))
    row("import seg_registry", imported, None, "<= 30 ms")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
