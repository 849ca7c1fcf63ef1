"""Every place of a config whose words name an object refuses hostile names, and says which place it was.

The look-ups are found in the source: a new one that no row of the tables below reaches fails the last test.
"""

from __future__ import annotations

import ast
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pytest
import seg_optim
import torch
from helpers.doors import CASES, CONV, HERE, HOSTILE, NOT_READ, RAN, base, hostile, put
from seg_optim.schedules.simulate import simulated
from seg_registry import Config
from seg_runner import Runner
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.distributed.strategy import OwnWrapper
from seg_vis import Visualizer

from seg_engine.launch import make_runner
from seg_engine.models.segmentor import Segmentor
from seg_engine.plan.measured import of_config
from seg_engine.predict import load_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the run is: data, a module that leaves a trace, a file that does so when it is unpickled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for kind, value in itertools.product(("img", "ann"), (0, 1)):
        (tmp_path / kind).mkdir(exist_ok=True)
        cv2.imwrite(f"{kind}/{value}.png", np.full((8, 8, 3) if kind == "img" else (8, 8), value, np.uint8))
    Path("evil_module.py").write_text(f"import pathlib\npathlib.Path({RAN!r}).touch()\nclass Part: ...\n")
    torch.save(Evil(), "evil.pth")
    yield tmp_path
    assert not Path(RAN).exists()
    assert "evil_module" not in sys.modules


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


def runner_of(place: str, value: Any) -> Runner:
    cfg = base()
    put(cfg, place, value)
    Path("c.py").write_text("".join(f"{key} = {each!r}\n" for key, each in cfg.items()))
    return make_runner(Config.fromfile("c.py"))


def run(place: str, value: Any) -> None:
    runner = runner_of(place, value)
    if place.startswith("test_"):
        runner.test()
    else:
        runner.train()


def alone(name: str) -> dict[str, tuple[str, Callable[[], Any]]]:
    """What looks names up without a runner: the words by which it is told, and the call."""
    net, this = torch.nn.Linear(1, 1), hostile(HERE, name)
    rates = {"optimizer": {"type": "SGD", "lr": 0.1}}
    saved = base()
    saved["model"] = this
    read = base()
    read["test_dataloader"]["dataset"]["pipeline"].insert(1, this)
    return {
        "backend": ("backend", lambda: Visualizer(vis_backends=[this], save_dir="out")),
        "constructor": (
            "optim_wrapper.constructor",
            lambda: seg_optim.build_optim_wrapper(net, {**rates, "constructor": name}),
        ),
        "wrapper": ("optim_wrapper.type", lambda: seg_optim.build_optim_wrapper(net, {**rates, "type": name})),
        "optimizer": ("optim_wrapper.optimizer.type", lambda: seg_optim.build_optim_wrapper(net, {"optimizer": this})),
        "explained": (
            "optim_wrapper.constructor",
            lambda: seg_optim.explain(net, {**rates, "constructor": name}),
        ),
        "simulated": (
            "param_scheduler[0].type",
            lambda: simulated([this], {"base": 0.1}, 2),
        ),
        "a head": ("", lambda: Segmentor(backbone=CONV, decode_head=this)),
        "model of a checkpoint": ("model", lambda: loaded(saved)),
        "transform of a checkpoint": ("pipeline.1", lambda: loaded(read)),
        "model of a plan": ("", lambda: planned({**base(), "model": this})),
        "data of a plan": ("", lambda: planned({**base(), "train_dataloader": {"dataset": this}})),
        "wrapper of a model": ("model_wrapper_cfg", lambda: wrapped(net, this)),
    }


def wrapped(net: torch.nn.Module, cfg: dict[str, Any]) -> None:
    text = "".join(f"{key} = {each!r}\n" for key, each in {**base(), "model_wrapper_cfg": cfg}.items())
    runner = make_runner(Config.fromstring(text, ".py"))
    runner.strategy = OwnWrapper()  # as on several ranks
    runner.wrap_model(runner.cfg["model_wrapper_cfg"], net)


def planned(cfg: dict[str, Any]) -> None:
    Path("plan.py").write_text("".join(f"{key} = {each!r}\n" for key, each in cfg.items()))
    of_config(Path("plan.py"), trust=False, samples=1)


def loaded(cfg: dict[str, Any]) -> None:
    text = "".join(f"{key} = {each!r}\n" for key, each in cfg.items())
    model = make_runner(Config.fromstring("".join(f"{key} = {each!r}\n" for key, each in base().items()), ".py")).model
    write_checkpoint(Path("a.pth"), {"meta": {"cfg": text, "iter": 1}, "state_dict": model.state_dict()})
    load_model("a.pth")


REACHED: set[tuple[str, int]] = set()


def refused(call: Callable[[], Any], words: str) -> None:
    """The call ends in an error with the place in it; the lines that it came through are kept."""
    with pytest.raises(Exception) as caught:
        call()
    error: BaseException | None = caught.value
    told = "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert words in told, told
    while error is not None:
        REACHED.update(lines_of(error.__traceback__))
        error = error.__cause__ or error.__context__


def lines_of(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            yield path.relative_to(ROOT).as_posix(), traceback.tb_lineno
        traceback = traceback.tb_next


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0] for case in CASES])
def test_a_hostile_name_is_refused_with_its_place(number: int) -> None:
    _, place, value, words = CASES[number]
    for name in [*HOSTILE][number % 3 :: 3]:
        refused(partial(run, place, hostile(value, name)), words)


@pytest.mark.parametrize("label", alone("os.system"))
def test_so_it_is_without_a_runner(label: str) -> None:
    for name in HOSTILE:
        words, call = alone(name)[label]
        refused(call, words)


@pytest.mark.parametrize("place", NOT_READ)
def test_a_key_that_nothing_reads_does_nothing(place: str) -> None:
    for name in [*HOSTILE][:3]:
        runner = runner_of(place, hostile(NOT_READ[place], name))
        runner.train()
        shutil.rmtree("out")


A_TABLE = "a name in a table of ours"
FOUND = "its type was looked up in the lines before"
FIXED = "not a word of a config"
LOADED = "an entry point, which is loaded once its name was found"
NO_DOORS = {
    "getattr(torch, kind)": FIXED,
    "getattr(torch, kind, None)": FIXED,
    "getattr(torch, name)": FIXED,  # in legacy.py and mapped.py a dtype, checked before
    "getattr(torch, name, None)": FIXED,
    "getattr(torch.backends, kind)": FIXED,
    "getattr(torch, value.device.type, None)": FIXED,
    "getattr(torch, torch.device(device).type, None)": FIXED,
    "getattr(torch.optim, optimizer_type, None)": "a class of optimizers, checked in the next line",
    "getattr(signal, name)": A_TABLE,
    "getattr(sys.modules.get(module), name, None)": A_TABLE,
    "getattr(sys.modules.get(f'{PACKAGE}.registry'), registry, None)": FIXED,
    "getattr(sys.modules.get('mmengine.runner'), TABLES[scheme], None)": A_TABLE,
    "getattr(ctypes.CDLL(None, use_errno=True), name, None)": FIXED,
    "resolve(palette, classes)": A_TABLE,
    "import_module(f'seg_engine.cli.{name}')": A_TABLE,
    "importlib.import_module(library)": A_TABLE,
    "importlib.import_module(module)": FIXED,
    "importlib.import_module(package)": FIXED,
    "others[ema_type].load()": LOADED,
    "known[kind].load()": LOADED,
    "found[0].load()": LOADED,
    "find('optim_wrapper.constructor', kind, 'seg_engine.optim_wrapper_constructors', CONSTRUCTORS)": (
        "in explain.py, once the wrapper is built"
    ),
    "self.resolve('optim_wrapper', 'OptimWrapperDict', 'optim_wrapper')": FIXED,
    "self.resolve('model', name, f'{key}.ema_type')": "asked again by the hook once it was refused",
    "self.part('param_scheduler', own, key, optimizer=optimizer, end=end)": FOUND,
    "self.part('visualizer', own, 'visualizer', name=name, save_dir=str(log_dir))": FOUND,
    "self.part('visualizer', _changed(own, type=kind), 'visualizer', name=name, save_dir=str(log_dir))": FOUND,
    "assembler.resolve('hook', name, 'default_hooks')": "asked again once it was refused",
    "parts.build('transform', {'type': 'PackSegInputs'})": FIXED,
    "getattr(sys.modules.get(f'mmengine.{module}'), name, None)": FIXED,
    "self.builder.get(kind, ours.__name__)": FIXED,
}


@pytest.mark.checkout
def test_the_tables_reach_every_look_up() -> None:
    """Runs after the others; alone, it would miss what they reach."""
    assert REACHED, "run the whole file: this test judges what the others reached"
    found = list(look_ups())
    missed = [
        f"{path}:{first}: {text}"
        for path, first, last, text in found
        if text not in NO_DOORS and not any((path, line) in REACHED for line in range(first, last + 1))
    ]
    assert not missed, "\n".join(missed)
    assert NO_DOORS.keys() <= {text for *_, text in found}


def look_ups() -> Iterator[tuple[str, int, int, str]]:
    """Every call in the source that can turn a word into an object: file, first and last line, its text."""
    for path in sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("src/**/*.py")]):
        if "seg_registry" in path.parts:  # the judge itself: tests/registry/test_doors.py
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import))
        modules = {(each.asname or each.name).partition(".")[0] for node in imports for each in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_look_up(node, modules):
                yield path.relative_to(ROOT).as_posix(), node.lineno, node.end_lineno or node.lineno, ast.unparse(node)


def is_look_up(call: ast.Call, modules: set[str]) -> bool:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    owner = ast.unparse(getattr(call.func, "value", ast.Constant("")))
    words = [each for each in call.args if not isinstance(each, ast.Constant)]
    if name in ("eval", "exec", "__import__", "import_module", "find_class", "load_library"):
        return bool(words) and not isinstance(call.args[0], ast.Constant)
    if name == "getattr":
        return ast.unparse(call.args[0]).partition(".")[0] in modules and not isinstance(call.args[1], ast.Constant)
    if name == "load":  # of an entry point
        return "[" in owner
    if name in ("build", "part", "resolve", "get"):
        return len(call.args) > 1 and (name != "get" or owner.endswith("builder"))
    given = {getattr(each, "id", getattr(each, "attr", "")) for each in call.args}
    return "builder" in given or (name == "find" and len(call.args) > 2)
