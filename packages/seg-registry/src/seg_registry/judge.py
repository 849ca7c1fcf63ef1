"""What a dotted path in a config may mean: judged on the object that it resolves to, never on the string."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

from seg_registry.errors import NotAllowedError

__all__ = ["NEVER", "OURS", "is_never", "resolve"]

OURS = ("seg_registry", "seg_hooks", "seg_optim", "seg_runner", "seg_vis", "seg_engine")
NEVER = frozenset({"builtins", "pip", "setuptools", "pkg_resources", "_distutils_hack"}) | sys.stdlib_module_names


def is_never(module: str) -> bool:
    """Whether a module belongs to what a config can never reach: the standard library, pip, setuptools."""
    return module.partition(".")[0] in NEVER


def resolve(path: str, allow: Iterable[str] = (), widened: Iterable[str] = (), *, functions: bool = False) -> Any:
    """The class (or, where allowed, function) that a dotted path `package.module.Name` or `package.module:Name` means.

    `allow` is what the caller vouches for, classes and functions ('*': every package); `widened` are packages that
    custom_imports brought in, classes only; `functions` says that this kind wants callables.
    """
    allow, widened = tuple(allow), tuple(widened)
    top = path.replace(":", ".").partition(".")[0]
    if is_never(top):
        raise NotAllowedError(f"{path!r}: a config can never use {top!r} (standard library, pip or setuptools)")
    if (
        top != "torch"
        and "*" not in allow
        and top not in {each.partition(".")[0] for each in (*OURS, *allow, *widened)}
    ):
        raise NotAllowedError(_how_to_allow(path, top))
    found = _find(path)
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or is_never(module):
        raise NotAllowedError(f"{path!r} is {found!r} of {module!r}, which a config can never use")
    if not _allowed(found, path, module, allow, widened, functions):
        raise NotAllowedError(_how_to_allow(path, f"{module.partition('.')[0]}", found))
    return found


def _allowed(found: Any, path: str, module: str, allow: Any, widened: Any, functions: bool) -> bool:
    is_class = isinstance(found, type)
    vouched = "*" in allow or _within(module, allow) or (path.replace(":", ".") in allow)
    if not is_class and not (isinstance(found, FunctionType) and (functions or vouched)):
        return False
    if vouched or _within(module, (*OURS, *widened)):
        return True
    return is_class and module.partition(".")[0] == "torch" and _is_part_of_torch(found)


def _within(path: str, packages: Iterable[str]) -> bool:
    return any(path == each or path.startswith(each + ".") for each in packages)


def _is_part_of_torch(found: type) -> bool:
    from importlib import import_module

    places = {
        "torch.nn": ("Module",),
        "torch.optim": ("Optimizer",),
        "torch.optim.lr_scheduler": ("LRScheduler",),
        "torch.utils.data": ("Dataset", "Sampler", "DataLoader"),
    }
    bases = [getattr(import_module(module), name) for module, names in places.items() for name in names]
    return issubclass(found, tuple(bases))


def _find(path: str) -> Any:
    """Import the module part, then read the class out of it; a module lying in another one is not walked into."""
    modules, names = _split(path)
    found: Any = modules
    for name in names:
        found = getattr(found, name, None)
        if found is None or isinstance(found, ModuleType):
            raise NotAllowedError(f"{path!r}: {name!r} is not a class of {modules.__name__!r}")
        if name is not names[-1] and not isinstance(found, type):
            raise NotAllowedError(f"{path!r}: {name!r} is not a class")
    return found


def _split(path: str) -> tuple[ModuleType, list[str]]:
    from importlib import import_module

    head, colon, tail = path.partition(":")
    parts = head.split(".")
    limit = len(parts) if colon else len(parts) - 1
    if not all(part.isidentifier() for part in parts) or limit == 0:
        raise NotAllowedError(f"{path!r} is not of the form package.module.Name")
    module = import_module(parts[0])
    used = 1
    while used < limit:
        name = ".".join(parts[: used + 1])
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            break
        used += 1
    return module, [*parts[used:], *(tail.split(".") if tail else [])]


def _how_to_allow(path: str, package: str, found: Any = None) -> str:
    what = f"{path!r} is not allowed"
    if found is not None:
        what = f"{path!r} is {found!r}, which is not allowed"
    return (
        f"{what}: a config may name registered parts, entry points, classes of this project, and torch's modules, "
        f"optimizers, schedulers, datasets, samplers and loaders. To trust it, say so outside the config: "
        f"allow=[{package!r}] (seg train --trust-config)"
    )
