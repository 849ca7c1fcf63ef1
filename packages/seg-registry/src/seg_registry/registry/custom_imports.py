"""`custom_imports` of a config: recorded while loading, imported by the builder, never the standard library."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from seg_registry.errors import ConfigTypeError, NotAllowedError
from seg_registry.registry.dotted_names import are_public_names, is_forbidden, is_own, within
from seg_registry.registry.scope import help_for
from seg_registry.values.origins import place_of

__all__ = ["Imported", "allowed_packages", "check_module", "import_custom_modules", "modules_of"]

# They register nothing, and what they hold is looked at without an import.
_NOTHING_TO_REGISTER = ("torch", "numpy", "cv2")


# Their imports do something by design: write files, start programs, change settings.
_NO_PARTS = frozenset({"conftest", "setup", "test", "tests"})


class Imported(NamedTuple):
    """What became of a `custom_imports` entry."""

    opened: tuple[str, ...] = ()
    """Modules beside the config, or in the folder that the command runs from: their classes may be named by path."""
    left_out: tuple[str, ...] = ()
    failures: tuple[BaseException, ...] = ()


def modules_of(entry: object) -> tuple[list[str], bool]:
    """Return the modules of a `custom_imports` entry, and whether failures are allowed."""
    imports = entry.get("imports", []) if isinstance(entry, Mapping) else entry
    modules = [imports] if isinstance(imports, str) else imports
    if not isinstance(modules, list | tuple) or not all(isinstance(each, str) for each in modules):
        raise ConfigTypeError(f"custom_imports needs imports='module' or a list of modules, got {entry!r}")
    return list(modules), isinstance(entry, Mapping) and bool(entry.get("allow_failed_imports"))


def import_custom_modules(
    entry: object, filename: str | None, allow: Iterable[str] = (), *, all_of_them: bool = False
) -> Imported:
    """Import the modules of an entry; each is logged first.

    Args:
        entry: The value of `custom_imports`.
        filename: The config's file: modules beside it are found.
        allow: Modules and packages that the caller trusts ('*': all).
        all_of_them: Import the others, too.

    Raises:
        NotAllowedError: one of the modules is never imported for a config.
        ImportError: an import failed, and the entry does not allow that.
    """
    import logging
    from importlib import import_module

    log = logging.getLogger("seg_registry")
    modules, may_fail = modules_of(entry)
    allow = tuple(allow)
    wanted = [
        each
        for each in modules
        if "*" in allow or within(each, allow) or (all_of_them and not within(each, _NOTHING_TO_REGISTER))
    ]
    left_out = [each for each in modules if each not in wanted]
    if left_out:
        log.warning("%s", _left_out(left_out, entry))
    for module in wanted:
        check_module(module, entry)
    failures: list[BaseException] = []
    opened = []
    for module in wanted:
        log.info("importing %s (custom_imports%s)", module, _at(entry))
        make_importable(module, filename)
        try:
            import_module(module)
        except Exception as error:  # some packages check versions with assert while they are imported
            error.add_note(f"while importing {module!r} for custom_imports{_at(entry)}{_how_to_find(module)}")
            if help_for(module, error):
                error.add_note(help_for(module, error))
            if not (may_fail and isinstance(error, ImportError)):
                raise
            log.warning("importing %s failed, which the config allows: %s", module, error)
            failures.append(error)
        else:
            opened += [module] if _is_local(module, filename) else []
    return Imported(tuple(opened), tuple(left_out), tuple(failures))


def check_module(module: str, entry: object = None) -> None:
    """Refuse a module that is never imported for a config, whoever allows it; imports nothing.

    Raises:
        NotAllowedError: it is of the standard library, pip, setuptools or their like, a program, or a test.
    """
    if is_forbidden(module):
        raise NotAllowedError(f"custom_imports{_at(entry)} names {module!r}, which a config can never use")
    parts = module.split(".")
    if not are_public_names(parts) or _NO_PARTS.intersection(parts[1:]):
        raise NotAllowedError(f"custom_imports{_at(entry)} names {module!r}, a program or a test, which has no parts")


def _left_out(modules: list[str], entry: object) -> str:
    shown = [each if each.isprintable() else repr(each) for each in modules]  # a terminal would carry the rest out
    words = " ".join(f"--allow {each}" for each in shown)
    return (
        f"custom_imports{_at(entry)}: {', '.join(shown)} not imported, because a config may not decide that. "
        f"To import: {words} (all: --trust-config; in code: allow_imports=True)"
    )


def _at(entry: object) -> str:
    where = place_of(entry, "imports")
    return f" of {where}" if where else ""


def _how_to_find(module: str) -> str:
    """Return what makes a package of the current folder importable (`projects` of a clone); else the empty string."""
    top = module.partition(".")[0]
    here = top.isidentifier() and top not in sys.modules and Path.cwd().joinpath(top).is_dir()
    return f"; {top} lies in this folder: start with PYTHONPATH={Path.cwd()}" if here else ""


def make_importable(module: str, filename: str | None) -> None:
    """Make a module beside the config importable: its folder goes to the end of the path."""
    from importlib.util import find_spec

    top = module.partition(".")[0]
    if filename is None or find_spec(top) is not None:
        return
    folder = os.path.dirname(os.path.abspath(filename))
    if os.path.exists(os.path.join(folder, top)) or os.path.exists(os.path.join(folder, f"{top}.py")):
        sys.path.append(folder)


def allowed_packages(allow: Iterable[str] | str, filename: str | None = None) -> tuple[str, ...]:
    """Return what `--allow NAME` opens: that name; where a distribution has it, the packages that this installs.

    A name that is neither is logged, as nothing follows from it.

    >>> allowed_packages(["my_parts.blocks", "json"])
    ('my_parts.blocks', 'json')
    """
    import logging
    from importlib.metadata import packages_distributions
    from importlib.util import find_spec

    opened: list[str] = []
    for name in [allow] if isinstance(allow, str) else allow:
        opened.append(name)
        top = name.partition(".")[0]
        if top.isidentifier():
            make_importable(name, filename)
        if name == "*" or "." in name or (top.isidentifier() and find_spec(top) is not None):
            continue
        asked = _normalized(name)
        below = sorted(each for each, owners in packages_distributions().items() if asked in map(_normalized, owners))
        opened += below
        if not below:
            logging.getLogger("seg_registry").warning("%r is allowed, but no package of this name is installed", name)
    return tuple(opened)


def _normalized(name: str) -> str:
    """Return the name of a distribution as the package index compares it: `My_Parts` is `my-parts`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_local(module: str, filename: str | None) -> bool:
    """Tell whether an imported module is the user's own: beside the config, or in the folder where the command runs.

    A folder that packages were installed into (`pip install --target`) is no such place.
    """
    top = sys.modules.get(module.partition(".")[0])
    if top is None or is_own(module) or within(module, _NOTHING_TO_REGISTER):
        return False
    folders = [Path(each).parent for each in getattr(top, "__path__", ())]
    if not folders and getattr(top, "__file__", None):
        folders = [Path(str(top.__file__)).parent]
    places = {Path.cwd().resolve(), *([Path(filename).resolve().parent] if filename else [])}
    return bool(folders) and all(
        each.resolve() in places and next(each.glob("*.dist-info"), None) is None for each in folders
    )
