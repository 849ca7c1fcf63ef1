"""Ask the builder for every name of every importable module, and tell which ones a config can reach.

`./run doors` looks at all installed packages and at the standard library (about two minutes), `./run doors torch numpy`
at these. Nothing is built. Each name is asked for as the config of a stranger would, under every kind, and again in a
run that carries out `custom_imports`, with a module beside the config that has the dangerous things by name.

The command fails where a name can be reached that is neither registered, nor an entry point, nor a part of torch; or
whose constructor does what no part does: starts a process, opens a file or a socket, unpickles, runs text, imports.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from seg_registry import Config, builder
from seg_registry.errors import RegistryError
from seg_registry.registry.catalog import KINDS

# Programs, and modules whose import does something: starts a server, asks the network, ends the process.
PROGRAMS = frozenset({"__main__", "antigravity", "conftest", "idlelib", "setup", "test", "tests", "this", "turtledemo"})
PARTS_OF_TORCH = ("torch.nn", "torch.optim", "torch.utils.data")
OURS = ("seg_registry", "seg_hooks", "seg_optim", "seg_runner", "seg_vis", "seg_engine")
NO_PART_CALLS = frozenset(
    {"__import__", "CDLL", "Popen", "Process", "Thread", "compile", "eval", "exec", "import_module", "load", "loads"}
    | {"makedirs", "mkdir", "mkdtemp", "mkstemp", "open", "popen", "remove", "rmtree", "socket", "spawn", "system"}
    | {"unlink", "urlopen", "write", "write_bytes", "write_text", "NamedTemporaryFile", "TemporaryDirectory"}
)
BESIDE = """import builtins, ctypes, importlib, io, os, pickle, shutil, socket, subprocess, tempfile, threading
import torch
from builtins import compile, eval, exec, open
from functools import partial
from pathlib import Path
from subprocess import Popen, run
from torch.package import PackageImporter

start = partial(Popen, shell=True)
listening = threading.Thread(target=print)
load = pickle.Unpickler.load


class Derived(Popen):
    pass


class Started(threading.Thread):
    pass


class Part:
    make = staticmethod(Popen)
    Inner = Popen
"""


def main(tops: list[str]) -> int:
    """Scan, print what was found, and say by the exit code whether all of it may be reached."""
    warnings.simplefilter("ignore")
    names = list(names_of(modules_of(tops or everything())))
    found = reachable(names)
    with tempfile.TemporaryDirectory() as folder:
        beside = [f"beside_the_config.{name}" for name in names_beside(Path(folder))]
        trusting = beside_the_config(Path(folder))
        through = {path for path, _ in reachable(beside, trusting)}
        found += reachable(names, trusting)
    bad = sorted({f"{path}: {why}" for path, item in found if (why := objection(item))})
    bad += sorted(f"{path}: through a module beside the config" for path in through - {"beside_the_config.Part"})
    homes = {f"{item.__module__}.{item.__qualname__}" for _, item in found}
    print(f"{len(names):,} names asked for, {len(homes)} objects can be reached, {len(bad)} of them should not be")
    print("\n".join(bad))
    return 1 if bad or not homes else 0


def everything() -> list[str]:
    """The top-level modules of the standard library and of all installed distributions."""
    return sorted({*sys.stdlib_module_names, *importlib.metadata.packages_distributions()})


def modules_of(tops: Iterable[str]) -> Iterator[ModuleType]:
    """The modules below these, as far as they can be imported here."""
    for name in tops:
        if name.rpartition(".")[2] in PROGRAMS or not all(part.isidentifier() for part in name.split(".")):
            continue
        try:
            module = importlib.import_module(name)
        except BaseException:  # what a module does on import is its own affair: SystemExit, a missing library, a fault
            continue
        yield module
        folders = getattr(module, "__path__", ())
        if not isinstance(folders, int | str):  # some modules answer to any name
            yield from modules_of(each.name for each in pkgutil.iter_modules(folders, name + "."))


def names_of(modules: Iterable[ModuleType]) -> Iterator[str]:
    """Dotted paths of all that can be called: of each module, and of the classes in it."""
    for module in modules:
        for name, item in list(vars(module).items()):
            if not callable(item):
                continue
            yield f"{module.__name__}.{name}"
            if isinstance(item, type) and item.__module__ == module.__name__:
                inner = [key for key, each in vars(item).items() if callable(each) and not key.startswith("__")]
                yield from (f"{module.__name__}.{name}.{key}" for key in inner)


def reachable(names: Iterable[str], build: Any = None) -> list[tuple[str, Any]]:
    """The names that a config may give, with what they mean; under every kind where that makes a difference."""
    build = build or builder()
    found = []
    for name in names:
        near = name.startswith(("torch.", "beside_the_config."))
        for kind in KINDS if near else ("function", "model", "hook"):
            try:
                found.append((name, build.get(kind, name)))
            except (RegistryError, ImportError):
                continue
            break
    return found


def objection(item: Any) -> str:
    """Why nobody should be able to reach an object; empty where all is well."""
    home = str(getattr(item, "__module__", ""))
    if home.partition(".")[0] in OURS:
        return ""  # only what is registered or an entry point is given out: tests/registry/registry/test_builder.py
    if not isinstance(item, type) or not home.startswith(PARTS_OF_TORCH):
        return f"{item!r} is no part"
    called = {name for each in item.__mro__ for name in _called_by(each)} & NO_PART_CALLS
    return f"its constructor calls {', '.join(sorted(called))}" if called else ""


def _called_by(owner: type) -> set[str]:
    """Names of what the constructor of a class calls, as far as its text is there."""
    called: set[str] = set()
    for name in ("__new__", "__init__", "__post_init__"):
        own = vars(owner).get(name)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(own, "__func__", own))))
        except (TypeError, OSError, SyntaxError):
            continue
        calls = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
        called |= {str(getattr(each, "id", getattr(each, "attr", ""))) for each in calls}
    return called


def names_beside(folder: Path) -> list[str]:
    """What a hostile module beside the config has, with the modules that lie in it."""
    (folder / "beside_the_config.py").write_text(BESIDE, encoding="utf-8")
    names = [line.split("as ")[-1] for line in BESIDE.splitlines()[0].removeprefix("import ").split(", ")]
    deep = [
        *("builtins.eval", "ctypes.CDLL", "importlib.import_module", "io.open", "os.system", "pickle.Unpickler"),
        *("shutil.rmtree", "socket.socket", "subprocess.Popen", "tempfile.mkdtemp", "threading.Thread"),
        *("torch.load", "torch.hub.load", "torch.package.PackageImporter", "torch.serialization.pickle.loads"),
    ]
    own = ["Derived", "Started", "Part.make", "Part.Inner", "start", "listening", "load", "partial", "Path", "run"]
    return [*names, *deep, *own, "Popen", "PackageImporter", "compile", "eval", "exec", "open", "Part"]


def beside_the_config(folder: Path) -> Any:
    """The builder of a run on a config that imports all it can."""
    imports = ["torch.distributed", "numpy", "beside_the_config"]
    (folder / "config.py").write_text(f"custom_imports = dict(imports={imports!r})\n", encoding="utf-8")
    return builder(Config.fromfile(folder / "config.py"), allow_imports=True)


if __name__ == "__main__":
    os.environ["WANDB_MODE"] = "disabled"
    raise SystemExit(main(sys.argv[1:]))
