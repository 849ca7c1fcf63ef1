"""Which modules FSDP gathers together: those that are named, else the blocks that a model repeats, else by size."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from seg_runner.errors import did_you_mean

__all__ = ["find_units"]

Modules = dict[str, nn.Module]
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
"""What holds modules and is never called, so that nothing could gather its weights."""
SMALL = 10_000
"""Fewer parameters than these are not gathered apart, unless the config says so."""
SMALLEST = 0.001
"""A block with a smaller share of all parameters is not worth a message of its own."""


def find_units(
    model: nn.Module, chosen: Sequence[str | type] | None = None, min_params: int | None = None
) -> tuple[Modules, str]:
    """Return the modules that are gathered each at once, by name and from outer to inner, and in words why these.

    Args:
        model: The bare model.
        chosen: Names of classes, classes, names of modules, or patterns of them.
        min_params: From which number of parameters on, where nothing is chosen.

    Raises:
        ValueError: What was chosen is no class or module here, or is a list of modules, which is never called.

    >>> class Block(nn.Linear): ...
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(Block(8, 8), Block(8, 8)))
    >>> list(find_units(net)[0]), list(find_units(net, ["0"])[0]), list(find_units(net, min_params=64)[0])
    (['1.0', '1.1'], ['0'], ['1.0', '1.1'])
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if chosen is not None:
        return _unshared(model, _chosen(modules, chosen)), "as strategy.wrap names them"
    if min_params is None:
        if blocks := _unshared(model, _repeated(model)):
            return blocks, "the blocks that the model repeats"
        min_params = max(_size(model) // 8, SMALL)
    units = _unshared(model, dict(_by_size(model, min_params)))
    return units, f"modules with at least {min_params:,} parameters"


def _chosen(modules: Modules, chosen: Sequence[str | type]) -> Modules:
    found: Modules = {}
    kinds = {type(module).__name__ for module in modules.values()}
    for one in chosen:
        if isinstance(one, type):
            matched = {name: module for name, module in modules.items() if isinstance(module, one)}
        else:
            matched = {
                name: module
                for name, module in modules.items()
                if type(module).__name__ == one or fnmatch.fnmatchcase(name, one)
            }
        if not matched:
            near = did_you_mean(str(one), [*modules, *kinds])
            raise ValueError(f"strategy.wrap: no module, and no class of one, is called {str(one)!r}.{near}")
        lists = [name for name, module in matched.items() if isinstance(module, CONTAINERS)]
        if lists:
            raise ValueError(
                f"strategy.wrap: {lists[0]!r} is a {type(matched[lists[0]]).__name__}, which is never called, so its "
                f"weights cannot be gathered. Name what lies in it: '{lists[0]}.*'"
            )
        found |= matched
    return {name: module for name, module in modules.items() if name in found and _size(module)}


def _repeated(model: nn.Module) -> Modules:
    """Return what stands several times in a list, of a class that is not torch's: blocks, else whole stages."""
    found: Modules = {}
    least = SMALLEST * _size(model)
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        kinds = Counter(type(child) for child in module)
        for key, child in module.named_children():
            ours = not type(child).__module__.startswith("torch.nn.modules")
            if ours and not isinstance(child, CONTAINERS) and kinds[type(child)] > 1 and _size(child) > least:
                found[f"{name}.{key}" if name else key] = child
    return _outermost(found)


def _outermost(blocks: Modules) -> Modules:
    """Leave one layer of blocks: stages whose blocks hold nearly all they have give way to these, others do not."""
    left: Modules = {}
    for name, module in blocks.items():
        inside = _tops([(key, one) for key, one in blocks.items() if key.startswith(f"{name}.")])
        within = any(name.startswith(f"{key}.") for key in left)
        if not within and sum(map(_size, inside)) < 0.8 * _size(module):
            left[name] = module
    return left


def _by_size(model: nn.Module, least: int, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield modules with so many parameters besides those inside them that are yielded, too, from outer to inner.

    Torch's own modules are left whole: some use the weights of what lies in them without calling it.
    """
    for key, module in model.named_children():
        name = f"{prefix}{key}"
        atom = type(module).__module__.startswith("torch.nn.modules") and not isinstance(
            module, (*CONTAINERS, nn.Sequential)
        )
        inside = [] if atom else list(_by_size(module, least, f"{name}."))
        rest = _size(module) - sum(_size(one) for one in _tops(inside))
        if rest >= least and not isinstance(module, CONTAINERS):
            yield name, module
        yield from inside


def _tops(found: list[tuple[str, nn.Module]]) -> list[nn.Module]:
    names = [name for name, _ in found]
    return [module for name, module in found if not any(name.startswith(f"{other}.") for other in names)]


def _unshared(model: nn.Module, units: Modules) -> Modules:
    """Leave out units that share a parameter with something outside of them: the wrapper gathers those."""
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))

    def apart(unit: nn.Module) -> bool:
        own = Counter(id(parameter) for _, parameter in unit.named_parameters(remove_duplicate=False))
        return all(uses[key] == count for key, count in own.items())

    return {name: unit for name, unit in units.items() if apart(unit)}


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
