"""Loading weights into a model: prefixes of wrappers removed, what does not fit listed by name and shape; export."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.write import write_or_explain
from seg_runner.model.wrapping import unwrap

__all__ = [
    "LoadOptions",
    "NothingFitsError",
    "WeightsReport",
    "clean_name",
    "clean_state_dict",
    "export_safetensors",
    "load_weights",
    "nothing_fits",
    "weights_of",
]

LOG = logging.getLogger("seg_runner")


class LoadOptions(TypedDict, total=False):
    """How weights are loaded, as `load_weights` takes it."""

    strict: bool
    complete: bool
    revise_keys: Sequence[tuple[str, str]]
    key: str | None


@dataclass
class WeightsReport:
    """What loading weights did: names loaded, missing in the file, unknown to the model, and of another shape."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Tell whether every weight found its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def wanted(self) -> int:
        """Return how many weights the model has."""
        return len(self.loaded) + len(self.missing) + len(self.mismatched)

    def __str__(self) -> str:
        return "\n  ".join(self.lines())

    def lines(self, limit: int = 20) -> list[str]:
        """Return the report in words, one finding a line."""
        found = [f"{name}: shape {there} in the file, {here} in the model" for name, there, here in self.mismatched]
        found += [f"{name}: not in the file, keeps its initial value" for name in self.missing]
        found += [f"{name}: in the file, not in the model" for name in self.unexpected]
        if len(found) > limit:
            found = [*found[:limit], f"... and {len(found) - limit} more"]
        return [f"weights: {len(self.loaded)} tensors loaded", *found]


def clean_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return names as the bare model has them: without what `torch.compile` puts in.

    >>> list(clean_state_dict({"_orig_mod.a": 1, "b._orig_mod.c": 2}))
    ['a', 'b.c']
    """
    cleaned: Any = type(state_dict)() if isinstance(state_dict, dict) else {}
    cleaned.update({clean_name(name): value for name, value in state_dict.items()})
    if hasattr(state_dict, "_metadata"):
        cleaned._metadata = {clean_name(k): v for k, v in state_dict._metadata.items()}
    return cleaned  # type: ignore[no-any-return]


def clean_name(name: str) -> str:
    """Return the name of a weight as the bare model has it.

    >>> clean_name("b._orig_mod.c")
    'b.c'
    """
    return re.sub(r"(^|\.)_orig_mod(\.|$)", lambda found: found[1] if found[2] else "", name)


def weights_of(model: nn.Module) -> dict[str, Any]:
    """Return the state dict of the bare model, with clean names."""
    return clean_state_dict(unwrap(model).state_dict())


def load_weights(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    *,
    strict: bool = False,
    complete: bool = False,
    revise_keys: Sequence[tuple[str, str]] = (),
    key: str | None = None,
) -> WeightsReport:
    """Copy weights into a model, whatever wrapper either of them was in, and log what did not fit.

    Args:
        model: The model, wrapped or not.
        state_dict: Names to tensors; a whole checkpoint is taken by its `state_dict`.
        strict: Raise instead of leaving weights out.
        complete: Raise where the model would keep weights of its own; what else the file holds does no harm.
        revise_keys: (regular expression, replacement) applied to the names in the file first.
        key: Where in a checkpoint of another kind the weights lie (`model`, `ema.state_dict`, ...).

    Raises:
        KeyError: There is no such `key`.
        ValueError: Not one name is a name of the model; says where weights lie that would fit.
        RuntimeError: With `strict`, anything missing, unknown or of another shape; with `complete`, anything missing
            or of another shape.
    """
    given = _at(state_dict, key)
    target = _target(model, given, revise_keys)
    own = _names_of(target)
    report, fitting = WeightsReport(), {}
    for name, value in _named(given, own, revise_keys).items():
        if name not in own:
            report.unexpected.append(name)
        elif isinstance(value, torch.Tensor) and value.shape != own[name][1].shape:
            report.mismatched.append((name, tuple(value.shape), tuple(own[name][1].shape)))
        else:
            report.loaded.append(name)
            fitting[own[name][0]] = value
    seen = {*report.loaded, *(name for name, *_ in report.mismatched)}
    report.missing = [name for name in own if name not in seen and not name.endswith("num_batches_tracked")]
    if own and not seen:
        raise NothingFitsError(nothing_fits(state_dict, list(own), key))
    if (strict and not report.whole) or (complete and (report.missing or report.mismatched)):
        raise RuntimeError("the weights do not fit this model:\n  " + "\n  ".join(report.lines()[1:]))
    target.load_state_dict(fitting, strict=False)
    for line in report.lines() if not report.whole else []:
        LOG.warning("%s", line)
    return report


def _names_of(model: nn.Module) -> dict[str, tuple[str, Any]]:
    """Return the clean names of a model's weights, each with its own name and value."""
    return {clean_name(name): (name, value) for name, value in model.state_dict().items()}


def _target(model: nn.Module, given: Mapping[str, Any], revise_keys: Sequence[tuple[str, str]]) -> nn.Module:
    """Return what the weights are put into: the model, or where all it has lies in its `module` (test-time augmentation
    of MMEngine's kind, a wrapper of one's own) and the file names it without, what lies there.
    """
    target = unwrap(model)
    while isinstance(inner := getattr(target, "module", None), nn.Module):
        own = _names_of(target)
        if not own or not all(name.startswith("module.") for name in own):
            break
        if any(name in own for name in _named(given, own, revise_keys)):
            break
        target = unwrap(inner)
    return target


def _at(content: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """Return the weights in a checkpoint: under the key, under `state_dict`, or the whole."""
    if key is None:
        inner = content.get("state_dict")
        return inner if isinstance(inner, Mapping) else content
    found: Any = content
    for part in [key] if key in content else key.split("."):
        if not isinstance(found, Mapping) or not isinstance(found.get(part), Mapping):
            raise KeyError(f"the checkpoint has no weights under {key!r}; its keys: {', '.join(map(str, content))}")
        found = found[part]
    return found  # type: ignore[no-any-return]


def _named(
    state_dict: Mapping[str, Any], own: Mapping[str, Any], revise_keys: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    named = {}
    for name, value in state_dict.items():
        if not isinstance(name, str):
            raise ValueError(
                f"the weights have the key {name!r} ({type(name).__name__}); names of weights are texts, such as "
                "'decode_head.conv_seg.weight': this is no state_dict of a model"
            )
        for pattern, replacement in revise_keys:
            name = re.sub(pattern, replacement, name)
        named[_fitted(clean_name(name), own)] = value
    return named


def _fitted(name: str, own: Mapping[str, Any]) -> str:
    """Return the name without a leading `module.`, if the model knows it only so."""
    short = name
    while short not in own and short.startswith("module."):
        short = short.removeprefix("module.")
    return short if short in own or not name.startswith("module.") else name.removeprefix("module.")


def export_safetensors(checkpoint: str | Path, out: str | Path) -> Path:
    """Write a checkpoint's weights (averaged ones, where it has them) as a safetensors file.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        CheckpointError: The checkpoint is not whole.
    """
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("safetensors is not installed: pip install safetensors") from error
    content = read_checkpoint(checkpoint)
    weights = content.get("state_dict", content)
    tensors = {clean_name(name): value.clone().contiguous() for name, value in weights.items()}
    data = save(tensors, metadata={"format": "pt"})
    write_or_explain(Path(out), data, len(data))
    return Path(out)


class NothingFitsError(ValueError):
    """Not one weight of a file has a name of the model."""


def nothing_fits(content: Mapping[str, Any], own: Sequence[str], key: str | None = None) -> str:
    """Say what to do with a file that has no weight of this model.

    Args:
        content: The whole checkpoint.
        own: Names of the model's weights.
        key: Where they were looked for.

    >>> print(nothing_fits({"model": {"conv.weight": 1}, "epoch": 3}, ["conv.weight", "conv.bias"]))
    nothing was loaded: no weight of the file has a name of this model. The file's keys: model, epoch.
    Under 'model' 1 of the model's 2 names are found: give key='model'.
    """
    lines = ["nothing was loaded: no weight of the file has a name of this model."]
    lines[0] += f" The file's keys: {_some(list(map(str, content)))}."
    places = {path: sorted(set(own) & set(names)) for path, names in _places(content)}
    best = max(places, key=lambda path: len(places[path]), default=None)
    if best and places[best]:
        found = f"{len(places[best])} of the model's {len(own)} names are found"
        lines.append(f"Under {best!r} {found}: give key={best!r}.")
        return "\n".join(lines)
    for path, names in _places(content):
        where = "" if path in ("", key or "state_dict") else f"key={path!r}, "
        if (change := _prefix(names, own)) is not None:
            lines.append(f"The names differ by a prefix: give {where}revise_keys=[{change}].")
            return "\n".join(lines)
    lines.append(f"The model's names: {_some(list(own))}. Give key=... or revise_keys=[(pattern, replacement), ...].")
    return "\n".join(lines)


def _places(content: Mapping[str, Any], path: str = "", depth: int = 3) -> Iterator[tuple[str, list[str]]]:
    """Yield every dict of tensors in a checkpoint: its dotted path, and its names."""
    names = [str(name).removeprefix("module.") for name, value in content.items() if not isinstance(value, Mapping)]
    if names:
        yield path, names
    for name, value in content.items() if depth else ():
        if isinstance(value, Mapping):
            yield from _places(value, f"{path}.{name}" if path else str(name), depth - 1)


def _prefix(names: Sequence[str], own: Sequence[str]) -> str | None:
    """Return the pair for `revise_keys` that makes most of these names those of the model; None where none does."""
    mine, theirs = set(own), set(names)
    less = [f"({'^' + re.escape(lead)!r}, '')" for name in names for lead, rest in _cuts(name) if rest in mine]
    more = [f"('^', {lead!r})" for name in own for lead, rest in _cuts(name) if rest in theirs]
    return next((change for change, _ in Counter(less + more).most_common(1)), None)


def _cuts(name: str) -> list[tuple[str, str]]:
    return [(name[: dot.end()], name[dot.end() :]) for dot in re.finditer(r"\.", name)]


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
