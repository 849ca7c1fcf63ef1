"""Constructing an object from a config with a `type`; a failure keeps its exception and gains one note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seg_registry.errors import ConfigKeyError, ConfigTypeError
from seg_registry.suggest import did_you_mean
from seg_registry.values.origins import place_of

__all__ = ["arguments", "as_mapping", "build_from_cfg", "construct"]

_NOT_ARGUMENTS = ("type", "_scope_", "_delete_")
_NOTE = "while building "


def build_from_cfg(cfg: object, look_up: Callable[[Any], Any], defaults: Mapping[str, Any]) -> Any:
    """Do what `Registry.build` does: look up `type`, call it with the other keys; nested configs are not built."""
    table = as_mapping(cfg)
    kind, kwargs = arguments(table, defaults)
    return construct(look_up(kind), kwargs, table)


def as_mapping(cfg: object) -> Mapping[str, Any]:
    """Return the dict of a config that is to be built."""
    cfg = getattr(cfg, "_cfg_dict", cfg)  # a Config holds its values there
    if not isinstance(cfg, Mapping):
        raise ConfigTypeError(f"a part is built from a dict with a 'type', got {type(cfg).__name__}: {cfg!r}")
    return cfg


def arguments(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the `type` and the arguments; `defaults` fill in missing keys only, a leftover `_delete_` is ignored."""
    merged = {**defaults, **cfg}
    if "type" not in merged:
        where = place_of(cfg)
        near = did_you_mean("type", cfg, list_known=False)
        hint = f"; {near}" if near else ""
        start = f"{where}: " if where else ""
        raise ConfigKeyError(f"{start}no 'type' in {dict(cfg)!r}, so it is unknown what to build{hint}")
    kind = merged["type"]
    if not isinstance(kind, str) and not callable(kind):
        raise ConfigTypeError(f"'type' must be a name, a class or a function, got {type(kind).__name__}: {kind!r}")
    return kind, {key: value for key, value in merged.items() if key not in _NOT_ARGUMENTS}


def construct(target: Callable[..., Any], kwargs: dict[str, Any], cfg: Mapping[str, Any]) -> Any:
    """Call a class or function; an exception passes through unchanged, with one note."""
    try:
        return target(**kwargs)
    except Exception as error:
        add_note(error, target, kwargs, cfg)
        raise


def add_note(
    error: BaseException, target: Callable[..., object], kwargs: Mapping[str, Any], cfg: Mapping[str, Any]
) -> None:
    """Add the note: config path, file:line, class and signature, near parameters; the innermost part's note counts."""
    if any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        return
    path, where = getattr(cfg, "_path_", ""), place_of(cfg)
    name = getattr(target, "__qualname__", str(target))
    module = getattr(target, "__module__", "")
    at = " ".join(each for each in (f"'{path}'" if path else "", f"({where})" if where else "") if each)
    unknown = _unknown(target, kwargs, error)
    error.add_note(f"{_NOTE}{at + ': ' if at else ''}{unknown}{module}.{name}{_signature(target)}")


def _signature(target: Callable[..., object]) -> str:
    import inspect

    try:
        return str(inspect.signature(target))
    except (TypeError, ValueError):
        return "(...)"


def _unknown(target: Callable[..., object], kwargs: Mapping[str, Any], error: BaseException) -> str:
    """Return a sentence for each argument that neither the signature nor those of the classes above have."""
    try:
        known, passes_on = _parameters(target)
    except (TypeError, ValueError):
        return ""
    hints = []
    for key in kwargs:
        if key not in known and (not passes_on or f"unexpected keyword argument '{key}'" in str(error)):
            near = did_you_mean(key, known, list_known=False)
            hints.append(f"it has no parameter {key!r}" + (f", {near}" if near else "") + "; ")
    return "".join(hints)


def _parameters(target: Callable[..., object]) -> tuple[list[str], bool]:
    """Return the names of the parameters, and whether a `**` hands others on: then with those of the classes above."""
    import inspect

    names: dict[str, None] = {}
    passes_on = False
    classes = target.__mro__ if isinstance(target, type) else ()
    makers = [vars(each)["__init__"] for each in classes if "__init__" in vars(each)]
    for maker in [target, *makers[:-1]]:  # the last one is object's
        parameters = inspect.signature(maker).parameters.values()
        names |= dict.fromkeys(one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
        passes_on = True
    return list(names), passes_on
