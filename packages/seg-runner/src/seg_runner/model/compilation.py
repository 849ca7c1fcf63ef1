"""`compile`: its options checked before a run, the model compiled in place, and where compiling broke off."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from seg_runner.checks import flag
from seg_runner.errors import check_options, did_you_mean
from seg_runner.model.graph.options import MODE, compile_options, graph_options
from seg_runner.model.wrapping import unwrap

__all__ = ["check_compile", "compile_model", "graph_breaks"]


def check_compile(options: object, where: str = "", from_config: bool = False) -> None:
    """Refuse options that torch.compile does not know.

    Args:
        options: True, False, or keywords of `torch.compile`; with `mode='graph'` those of `GraphOptions`, too.
        where: Where they stand, for messages.
        from_config: They are words of a config, which may run nothing.

    Raises:
        TypeError: a keyword that it does not take.
        ValueError: a value that it does not know, such as the name of a backend, or that no config may give.
    """
    if not isinstance(options, Mapping):
        return
    given, options = options, compile_options(options)
    graph_options(given)
    if options is None:
        return
    check_options(torch.compile, options, f"compile{where}", hidden=("model",))
    if from_config:
        _refuse_programs(options.get("options"), where)
    for name in ("fullgraph", "disable"):
        flag(options.get(name, False), f"compile.{name}")
    backend = options.get("backend", "inductor")
    known = torch.compiler.list_backends(exclude_tags=())
    if not callable(backend) and backend not in known:
        near = did_you_mean(str(backend), known)
        raise ValueError(f"compile.backend{where} must be one of {', '.join(known)}, not {backend!r}.{near}")
    try:
        torch.compile(torch.nn.Identity(), **options)
    except (RuntimeError, TypeError, ValueError) as error:
        own = f" Beside torch's modes there is {MODE!r}." if "mode" in options else ""
        raise ValueError(f"compile{where}={dict(given)!r} is not accepted by torch.compile: {error}{own}") from error


def _refuse_programs(options: object, where: str) -> None:
    """Refuse texts among a backend's settings: some name programs that it starts, or folders it imports from."""
    if not isinstance(options, Mapping | None):
        raise TypeError(f"compile.options{where} must be a dict of the backend's settings, not {options!r}")
    for name, value in (options or {}).items():
        if not (value is None or isinstance(value, bool | int | float) or callable(value)):
            raise ValueError(
                f"compile.options[{name!r}]{where} is {value!r}: a config may set switches and numbers here, since "
                "a text can name a program that the compiler starts. Set it in code: torch._inductor.config"
            )


def compile_model(model: nn.Module, options: object) -> None:
    """Compile the forward pass in place, for training and inference; names in checkpoints stay as they are.

    Args:
        model: The model. One that says what to compile (`compile_target`) has that compiled.
        options: True, or keywords of `torch.compile`; nothing is compiled where only a graph is asked for.

    Raises:
        RuntimeError: there is no C++ compiler, and this needs one.
    """
    if (keywords := compile_options(options)) is None:
        return
    bare = unwrap(model)
    target = getattr(bare, "compile_target", bare)
    if keywords.get("backend", "inductor") == "inductor" and not keywords.get("disable"):
        _check_compiler(model)
    if type(target).forward.__module__.startswith("torch.nn."):  # dynamo begins in no frame of torch's own
        target._compiled_call_impl = torch.compile(_own_frame(target._call_impl), **keywords)
    else:
        target.compile(**keywords)


def _own_frame(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call of a module, begun in a frame of ours."""

    def called(*args: object, **kwargs: object) -> Any:
        return call(*args, **kwargs)

    return called


def _check_compiler(model: nn.Module) -> None:
    """Refuse a model on the CPU where nothing can build what torch's compiler writes for it, which is C++."""
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return
    from torch._inductor import config

    names = [name for name in config.cpp.cxx if name]
    if not any(map(shutil.which, names)):
        raise RuntimeError(
            f"compile: for a CPU torch writes C++, and no compiler is here (looked for {', '.join(names)}). Install "
            "one, such as g++ (apt install g++), name it in the environment variable CXX, or leave compile out"
        )


@contextmanager
def graph_breaks() -> Iterator[dict[str, int]]:
    """Count meanwhile where compiling broke off: the first line of each reason, and how often; filled at the end."""
    from torch._dynamo.utils import counters

    before, found = Counter(counters["graph_break"]), dict[str, int]()
    try:
        yield found
    finally:
        for reason, count in (Counter(counters["graph_break"]) - before).items():
            line = reason.strip().partition("\n")[0]
            found[line] = found.get(line, 0) + count
