"""Loading and dumping configs: the bare limit, ours, MMEngine and its fork, in turns.

The files are some of the published configs inside of MMSegmentation's wheel, where it is installed (with `--peers`: in
the environment of that peer); without it, a chain of three written for the purpose. The bare limit runs each file
and merges it into its bases: it checks nothing, replaces no variables and remembers no origins, and keeps nothing for
the next call, as ours does. Asked of MMEngine is 6 times our time in a fresh process, 25 times after that, and 30
times for dumping.
"""

from __future__ import annotations

import logging
import os
import pprint
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _contest import Contest, Contestant, Goal, main
from _environments import PEERS, python_for

Work = Callable[[], object]
FOLDER = "SEG_BENCH_CONFIGS"
"""The environment variable that tells contestants where the files lie."""
WHERE = "import importlib.util as u; print(u.find_spec('mmseg').submodule_search_locations[0])"
LOADED, DUMPED = 30, 4
"""So many files."""
FIRST = """
import logging, sys, time, warnings
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
sys.path.append(sys.argv[2])
{imports}
start = time.process_time()
load(sys.argv[1])
print(time.process_time() - start)
"""
BARE = "from config import bare_load as load"
OURS = "from seg_registry import Config; load = Config.fromfile"
THEIRS = "from mmengine.config import Config; load = Config.fromfile"


def find_files(peers: bool) -> str:
    """The folder of the published configs, or, without them, of a chain of three."""
    python, _ = python_for(("mmseg",), "parity", peers)
    if python is not None:
        place = subprocess.run([python, "-c", WHERE], capture_output=True, text=True, check=True).stdout.split()[-1]
        return str(Path(place, ".mim", "configs"))
    print("MMSegmentation is not installed: a chain of three files is loaded")
    folder = Path(tempfile.mkdtemp(prefix="seg-bench-"))
    (folder / "model.py").write_text("model = dict(type='A', parts=[dict(type='B', n=i) for i in range(40)])\n")
    (folder / "run.py").write_text("train_cfg = dict(max_iters=10)\noptim = dict(type='SGD', lr=0.1)\n")
    (folder / "train.py").write_text("_base_ = ['model.py', 'run.py']\noptim = dict(lr=0.2)\n")
    return str(folder)


def config_files(count: int) -> list[str]:
    """So many of the files that have bases and which every contestant can load, from all over the folder."""
    found = []
    for path in sorted(Path(os.environ[FOLDER]).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "_base_ =" in text and not any(word in text for word in ("{{", "custom_imports", "::", "_base_.")):
            found.append(str(path))
    return found[:: max(1, len(found) // count)][:count]


def merge(into: dict[str, Any], own: dict[str, Any]) -> None:
    """Put the values of a file over those of its bases."""
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict) and not value.pop("_delete_", False):
            merge(into[key], value)
        else:
            into[key] = value


def bare_load(file: str) -> dict[str, Any]:
    """The shortest code that gives the values of a file and its bases."""
    with open(file, encoding="utf-8") as opened:
        code = compile(opened.read(), file, "exec")
    values: dict[str, Any] = {}
    exec(code, values)
    del values["__builtins__"]
    bases = values.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merge(merged, bare_load(os.path.join(os.path.dirname(file), base)))
    merge(merged, values)
    return merged


def theirs(fork: bool) -> Any:
    """MMEngine's Config, quiet; the fork has the same module names, and lies beside the original in its environment."""
    import mmengine

    if fork and mmengine.__version__ != version("onedl-mmengine"):
        raise ImportError("the original lies over the fork: `./run fork:engine` puts it back")
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from mmengine.config import Config

    return Config


def ours() -> Any:
    """Our Config."""
    from seg_registry import Config

    return Config


def load_all(fromfile: Callable[[], Callable[[str], object]]) -> Work:
    """Load the files, again and again."""
    files, load = config_files(LOADED), fromfile()
    return lambda: [load(file) for file in files]


def first(imports: str) -> Work:
    """Load one of the files as the first thing that a process does after its imports."""
    files, code = config_files(9), FIRST.format(imports=imports)
    here = str(Path(__file__).parent)

    def work() -> float:
        files.append(files.pop(0))
        command = [sys.executable, "-c", code, files[-1], here]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    return work


def dump_all(config: Callable[[], Any]) -> Work:
    """Write the loaded files as Python."""
    loaded = [config().fromfile(file) for file in config_files(DUMPED)]
    return lambda: [each.dump() for each in loaded]


def bare_dump() -> Work:
    loaded = [bare_load(file) for file in config_files(DUMPED)]
    return lambda: [pprint.pformat(each) for each in loaded]


def origins(kept: bool) -> Work:
    """Load with and without the place from which each value comes."""
    from seg_registry.config.load import Loader

    files = config_files(LOADED)
    return lambda: [Loader(keep=False, origins=kept).load(file) for file in files]


def with_peers(contestants: dict[str, Any], make: Callable[[bool], Any]) -> dict[str, Any]:
    """MMEngine and its fork beside bare and ours."""
    original = Contestant(make(False), "mmengine", "parity", rounds=3)
    return {**contestants, "MMEngine": original, "its fork": Contestant(make(True), "mmengine", "fork", rounds=3)}


CONTESTS = [
    Contest(
        "one config, first thing in a fresh process",
        with_peers({"bare": partial(first, BARE), "ours": partial(first, OURS)}, lambda _: partial(first, THEIRS)),
        measure="own",
        rounds=9,
        seconds=20,
        least=0.0,
        apart=True,
    ),
    Contest(
        f"configs loaded again, at most {LOADED}",
        with_peers(
            {"bare": partial(load_all, lambda: bare_load), "ours": partial(load_all, lambda: ours().fromfile)},
            lambda fork: partial(load_all, lambda: theirs(fork).fromfile),
        ),
        seconds=12,
    ),
    Contest(
        f"configs dumped, at most {DUMPED}",
        with_peers(
            {"bare": bare_dump, "ours": partial(dump_all, ours)}, lambda fork: partial(dump_all, lambda: theirs(fork))
        ),
        seconds=12,
    ),
    Contest(
        "the origins of values, nothing kept",
        {"without": partial(origins, False), "with": partial(origins, True)},
        seconds=12,
        goals=[Goal("with", ratio=1.3)],
    ),
]

if __name__ == "__main__":
    if FOLDER not in os.environ:
        os.environ[FOLDER] = find_files("--peers" in sys.argv or bool(os.environ.get(PEERS)))
    main(CONTESTS)
