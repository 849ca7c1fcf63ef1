"""`custom_imports` of a config: recorded while loading, carried out by the builder, never the standard library."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from seg_registry.errors import ConfigTypeError, NotAllowedError
from seg_registry.judge import is_never
from seg_registry.origins import place_of

__all__ = ["carry_out", "top_packages"]


def modules_of(entry: Any) -> tuple[list[str], bool]:
    """The modules of a `custom_imports` entry, and whether failures are allowed."""
    imports = entry.get("imports", []) if isinstance(entry, Mapping) else entry
    modules = [imports] if isinstance(imports, str) else imports
    if not isinstance(modules, list | tuple) or not all(isinstance(each, str) for each in modules):
        raise ConfigTypeError(f"custom_imports needs imports='module' or a list of modules, got {entry!r}")
    return list(modules), isinstance(entry, Mapping) and bool(entry.get("allow_failed_imports"))


def top_packages(entry: Any) -> tuple[str, ...]:
    """The packages that a `custom_imports` entry names."""
    return tuple(dict.fromkeys(each.partition(".")[0] for each in modules_of(entry)[0]))


def carry_out(entry: Any, filename: str | None) -> list[BaseException]:
    """Import each module, telling the log first; returns the failures that the entry allows."""
    import logging
    from importlib import import_module

    modules, may_fail = modules_of(entry)
    for module in modules:
        if is_never(module):
            raise NotAllowedError(f"custom_imports names {module!r}, which a config can never use")
    log = logging.getLogger("seg_registry")
    failures: list[BaseException] = []
    for module in modules:
        log.info("importing %s (custom_imports%s)", module, _at(entry))
        _make_findable(module, filename)
        try:
            import_module(module)
        except ImportError as error:
            error.add_note(f"while importing {module!r} for custom_imports{_at(entry)}")
            if not may_fail:
                raise
            log.warning("importing %s failed, which the config allows: %s", module, error)
            failures.append(error)
    return failures


def _at(entry: Any) -> str:
    where = place_of(entry, "imports")
    return f" of {where}" if where else ""


def _make_findable(module: str, filename: str | None) -> None:
    """A module beside the config becomes importable: its folder goes to the end of the path."""
    from importlib.util import find_spec

    top = module.partition(".")[0]
    if filename is None or find_spec(top) is not None:
        return
    folder = os.path.dirname(os.path.abspath(filename))
    if os.path.exists(os.path.join(folder, top)) or os.path.exists(os.path.join(folder, f"{top}.py")):
        sys.path.append(folder)
