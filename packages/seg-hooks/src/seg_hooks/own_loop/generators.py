"""Random generators that a loader, its samplers, its data set and their functions keep: found, saved, put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

if TYPE_CHECKING:  # numpy is no dependency
    import numpy

    Generator = random.Random | torch.Generator | numpy.random.Generator | numpy.random.RandomState

__all__ = ["find_generators", "load_states", "reseed", "seed_opencv", "states_of"]

MOST = 10_000
LONG = 100
"""A list or dict of more elements is taken for data and not walked."""
LIBRARIES = {"builtins", "torch", "numpy", "collections", "PIL", "cv2"}
"""Their methods use no generators of the user's."""


def find_generators(root: object) -> dict[str, Generator]:
    """Find the generators of python, torch and numpy inside an object, by the path to each.

    Attributes, lists and dicts are walked, and what functions hold in closures and use of their module.

    Example:
        >>> class Data:
        ...     def __init__(self):
        ...         self.steps = [random.Random(0)]
        >>> list(find_generators(Data()))
        ['steps[0]']
    """
    found: dict[str, Generator] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting and len(seen) < MOST:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if _is_generator(value):
            found[path.lstrip(".") or "itself"] = value
        else:
            waiting.extend(reversed([(name, one) for name, one in _members(path, value) if not _is_leaf(one)]))
    return found


def states_of(root: object) -> dict[str, Any]:
    """Return where each generator inside an object stands, as plain values and tensors; None where it cannot say."""
    return {path: _state(one) for path, one in find_generators(root).items()}


def load_states(root: object, saved: Mapping[str, Any]) -> list[str]:
    """Put the generators inside an object back; return the paths of those that could not be."""
    generators = find_generators(root)
    return [path for path in {**generators, **saved} if not _load(generators.get(path), saved.get(path))]


def reseed(root: object, seed: int) -> None:
    """Give each generator inside an object a seed of its own."""
    for number, one in enumerate(find_generators(root).values()):
        own = (seed + 0x9E3779B97F4A7C15 * (number + 1)) % 2**63
        if isinstance(one, random.Random):
            one.seed(own)
        elif isinstance(one, torch.Generator):
            one.manual_seed(own)
        elif hasattr(one, "bit_generator"):
            one.bit_generator.state = type(one.bit_generator)(own).state
        else:
            one.seed(own % 2**32)


def seed_opencv(seed: int) -> None:
    """Seed OpenCV's generator, where it is loaded: it can be seeded, and its state cannot be read."""
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setRNGSeed(seed & 0x7FFFFFFF)


def _is_generator(value: object) -> TypeGuard[Generator]:
    if isinstance(value, random.Random | torch.Generator):
        return True
    numpy = sys.modules.get("numpy.random")
    return numpy is not None and isinstance(value, (numpy.Generator, numpy.RandomState))


def _is_leaf(value: object) -> bool:
    return value is None or isinstance(value, str | bytes | int | float | torch.Tensor)


def _members(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    elif isinstance(value, FunctionType):
        yield from _members_of_function(path, value)
    elif isinstance(value, partial):
        yield from ((path, value.func), (f"{path}.args", value.args), (f"{path}.keywords", value.keywords))
    elif not isinstance(value, type | ModuleType):
        yield from _elements(path, value)
        if type(value).__module__.partition(".")[0] not in LIBRARIES:
            methods = [one for one in vars(type(value)).values() if isinstance(one, FunctionType)]
            yield from ((f"{path}.{one.__name__}", one) for one in methods)
        # the iterator of persistent workers is no part of the data
        yield from ((f"{path}.{name}", one) for name, one in _attributes(value).items() if name != "_iterator")


def _elements(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and len(value) <= LONG:
        yield from ((f"{path}[{key!r}]", one) for key, one in value.items())
    elif isinstance(value, list | tuple) and len(value) <= LONG:
        yield from ((f"{path}[{index}]", one) for index, one in enumerate(value))


def _attributes(value: object) -> Mapping[str, object]:
    found = getattr(value, "__dict__", None)
    own = dict(found) if isinstance(found, Mapping) else {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if isinstance(name, str) and not name.startswith("__"):
                try:
                    own.setdefault(name, object.__getattribute__(value, name))
                except AttributeError:
                    continue
    return own


def _members_of_function(path: str, function: FunctionType) -> Iterator[tuple[str, object]]:
    for name in function.__code__.co_names:
        one = function.__globals__.get(name)
        if _is_generator(one) or (isinstance(one, FunctionType) and one.__module__ == function.__module__):
            yield f"{path}:{name}", one
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{path}:{name}", cell.cell_contents
        except ValueError:
            continue  # not yet filled
    yield f"{path}:defaults", function.__defaults__


def _state(generator: Generator) -> object:
    try:
        if isinstance(generator, random.Random):
            return generator.getstate()
        if isinstance(generator, torch.Generator):
            return generator.get_state()
        if hasattr(generator, "bit_generator"):
            return _plain(generator.bit_generator.state)
        kind, keys, *rest = generator.get_state(legacy=True)
        return [str(kind), _plain(keys), *rest]
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    tolist = getattr(value, "tolist", None)
    return value if tolist is None else tolist()


def _load(generator: Generator | None, state: Any) -> bool:
    """Put a generator back; whether it took the state."""
    if generator is None or state is None:
        return False
    try:
        if isinstance(generator, random.Random):
            version, values, gauss = state
            generator.setstate((version, tuple(values), gauss))
        elif isinstance(generator, torch.Generator):
            generator.set_state(state)
        elif hasattr(generator, "bit_generator"):
            generator.bit_generator.state = _as_arrays(state)
        else:
            generator.set_state(tuple(state))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False  # of another kind than the one that was saved
    return True


def _as_arrays(state: object) -> object:
    """Return a state of numpy, which holds arrays, from the lists of a checkpoint."""
    if isinstance(state, Mapping):
        return {name: _as_arrays(one) for name, one in state.items()}
    return sys.modules["numpy"].asarray(state, dtype="uint64") if isinstance(state, list) else state
