"""What a dotted path in a config may mean: judged on the object that it resolves to, never on the string."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any, TypeGuard

from seg_registry.errors import NotAllowedError

__all__ = [
    "FORBIDDEN",
    "OWN_PACKAGES",
    "are_public_names",
    "is_at",
    "is_class",
    "is_forbidden",
    "is_own",
    "resolve",
    "why_forbidden",
    "within",
]

OWN_PACKAGES = ("seg_registry", "seg_hooks", "seg_optim", "seg_runner", "seg_vis", "seg_engine")
FORBIDDEN = (
    frozenset({"builtins", "distutils", "pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel"})
    | sys.stdlib_module_names
)

# Where torch keeps what a config names, and the classes that count there. Data pipes are data sets that open files
# for writing, unpickle and call what they are given: they are no part of this.
_TORCH = ("torch.nn", "torch.optim", "torch.utils.data")
_NOT_TORCH = ("torch.utils.data.datapipes",)
_TORCH_BASES = {
    "torch.nn": ("Module",),
    "torch.optim": ("Optimizer",),
    "torch.optim.lr_scheduler": ("LRScheduler",),
    "torch.utils.data": ("Dataset", "Sampler", "DataLoader"),
}
# Modules of the standard library whose classes may stand among the bases of a class from elsewhere: they hold data,
# or describe types. A base out of any other starts processes or threads, opens files or sockets, or runs code.
_HARMLESS = frozenset(
    {"abc", "argparse", "builtins", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum"}
    | {"fractions", "functools", "itertools", "json", "numbers", "pathlib", "random", "string", "types", "typing"}
    | {"_collections_abc", "_random", "_typing", "_weakref", "_weakrefset", "typing_extensions", "weakref"}
)


def is_forbidden(module: str) -> bool:
    """Tell whether a module belongs to what a config can never reach: the standard library, pip, setuptools."""
    return module.partition(".")[0] in FORBIDDEN


def is_own(module: str) -> bool:
    """Tell whether a module belongs to this project, where only what is registered or an entry point may be named."""
    return module.partition(".")[0] in OWN_PACKAGES


def resolve(path: str, allow: Iterable[str] = (), opened: Iterable[str] = ()) -> Any:
    """Return the class (where allowed, function) that a path `package.module.Name` or `package.module:Name` means.

    Args:
        path: The dotted path.
        allow: What the caller trusts, classes and functions: packages, modules, dotted paths; '*' is all.
        opened: Modules beside the config that `custom_imports` brought in: the classes defined there, or below.
    """
    allow, opened = tuple(allow), tuple(opened)
    dotted = path.replace(":", ".")
    top = dotted.partition(".")[0]
    if is_forbidden(top):
        raise NotAllowedError(f"{path!r}: a config can never use {top!r} (standard library, pip or setuptools)")
    if is_own(top):
        raise NotAllowedError(f"{path!r} is neither registered nor an entry point, so no config can name it")
    known = (*_TORCH, *allow, *opened)
    if not may_import(top, known):
        raise NotAllowedError(_how_to_allow(path, top))
    found = _find(path, known)
    module = _module_of(path, found)
    if not _allowed(found, dotted, module, allow, opened):
        raise NotAllowedError(_how_to_allow(path, module.partition(".")[0], found))
    return found


def may_import(module: str, known: tuple[str, ...]) -> bool:
    """Tell whether a module may be imported to look for a name: what is known, what lies below it, and its parents."""
    return "*" in known or within(module, known) or any(within(each, [module]) for each in known)


def _module_of(path: str, found: object) -> str:
    """Return the module where an object is defined; raise an error where no config may use that."""
    why = why_forbidden(found)
    if why is not None or is_own(found.__module__):
        raise NotAllowedError(f"{path!r} is {found!r}{why or ''}, which a config can never use")
    return str(found.__module__)


def why_forbidden(found: object) -> str | None:
    """Return why no config may use an object: where it, or what it wraps or derives from, is defined; else None."""
    wrapped = [found.__wrapped__] if type(found) is FunctionType and hasattr(found, "__wrapped__") else []
    for each in (found, *wrapped):
        module = getattr(each, "__module__", None)
        if not isinstance(module, str):
            return " of no module"
        if is_forbidden(module):
            return f" of {module!r}"
    for base in found.__mro__[1:] if is_class(found) else ():
        if is_forbidden(base.__module__) and base.__module__.partition(".")[0] not in _HARMLESS:
            return f", a {base.__qualname__} of {base.__module__!r}"
    return None


def is_class(found: object) -> TypeGuard[type]:
    """Tell whether an object is a class, and does not only say so: `isinstance` believes its `__class__`."""
    return issubclass(type(found), type)


def is_at(path: str, item: object) -> bool:
    """Tell whether a path means an object: its own path, or one in a module of its package; imports nothing."""
    dotted = path.replace(":", ".", 1)
    own = str(getattr(item, "__module__", ""))
    if dotted == f"{own}.{getattr(item, '__qualname__', '')}":
        return True
    module, _, name = dotted.rpartition(".")
    same = module.partition(".")[0] == own.partition(".")[0]
    return same and module in sys.modules and getattr(sys.modules[module], name, None) is item


def _allowed(found: object, dotted: str, module: str, allow: tuple[str, ...], opened: tuple[str, ...]) -> bool:
    if "*" in allow or within(module, allow) or dotted in allow:
        return is_class(found) or type(found) is FunctionType
    return is_class(found) and (within(module, opened) or _is_part_of_torch(found, module))


def within(path: str, packages: Iterable[str]) -> bool:
    """Tell whether a dotted path is one of these packages, or lies in one."""
    return any(path == each or path.startswith(each + ".") for each in packages)


def _is_part_of_torch(found: type, module: str) -> bool:
    from importlib import import_module

    if not within(module, _TORCH) or within(module, _NOT_TORCH):
        return False
    here: Any = sys.modules.get(module)
    for name in found.__qualname__.split("."):
        here = getattr(here, name, None)
    bases = [getattr(import_module(place), name) for place, names in _TORCH_BASES.items() for name in names]
    return here is found and issubclass(found, tuple(bases))


def _find(path: str, known: tuple[str, ...]) -> Any:
    """Import the module part, then read the class out of it; a module lying in another one is not walked into."""
    modules, names = _split(path, known)
    found: Any = modules
    for number, name in enumerate(names, start=1):
        found = getattr(found, name, None)
        if found is None or isinstance(found, ModuleType):
            if not may_import(f"{modules.__name__}.{name}", known):
                raise NotAllowedError(_how_to_allow(path, f"{modules.__name__}.{name}"))
            raise NotAllowedError(f"{path!r}: {name!r} is not a class of {modules.__name__!r}")
        if number < len(names) and not is_class(found):
            raise NotAllowedError(f"{path!r}: {name!r} is not a class")
    return found


def _split(path: str, known: tuple[str, ...]) -> tuple[ModuleType, list[str]]:
    from importlib import import_module

    head, colon, tail = path.partition(":")
    parts, names = head.split("."), tail.split(".") if colon else []
    limit = len(parts) if colon else len(parts) - 1
    if not are_public_names([*parts, *names]) or limit == 0:
        raise NotAllowedError(f"{path!r} is not of the form package.module.Name")
    module = import_module(parts[0])
    used = 1
    while used < limit:
        name = ".".join(parts[: used + 1])
        if not may_import(name, known):
            break
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            break
        used += 1
    return module, [*parts[used:], *names]


def are_public_names(parts: Iterable[str]) -> bool:
    """Tell whether these are names as people write them: no `__main__`, which is a program, no other dunder."""
    return all(part.isidentifier() and not (part.startswith("__") or part.endswith("__")) for part in parts)


def _how_to_allow(path: str, package: str, found: object = None) -> str:
    what = f"{path!r} is not allowed"
    if found is not None:
        what = f"{path!r} is {found!r}, which is not allowed"
    return (
        f"{what}: a config may name registered parts, entry points, classes of the modules beside it that its "
        f"custom_imports name, and torch's modules, optimizers, schedulers, datasets, samplers and loaders. To trust "
        f"it, say so outside the config: --allow {package} (in code: allow=[{package!r}])"
    )
