"""A config: whether it loads, whether what it names is there, and which known differences it meets."""

from __future__ import annotations

import ast
import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_engine.migrate.differences import differences_of, place_of_key
from seg_engine.migrate.findings import CHANGE, NOTE, UNREAD, Finding
from seg_engine.migrate.modules import absent_part
from seg_engine.migrate.old_names import CONFIG_KEYS, TYPES
from seg_engine.migrate.scopes import EXTRAS, absent_scope, install, prepared
from seg_engine.migrate.type_names import Named, look_up, named_types

__all__ = ["Loaded", "findings_of", "has_base", "is_config", "load"]

SIGNS = frozenset({"_base_", "model", "default_scope", "train_dataloader", "optim_wrapper", "default_hooks", "data"})
"""Top-level names of which a config has one; a module of code rarely has, and it has classes."""
WHERE = re.compile(r"^(?P<file>.+?):(?P<line>\d+): (?P<what>.*)$", re.DOTALL)
CIRCLE = "the bases form a circle"
"""What the loader says of bases that it can never come to the end of."""


@dataclass
class Loaded:
    """A config that was read.

    Attributes:
        path: The file.
        cfg: Its values; None where it cannot be loaded.
        chain: The files that it was read from.
        findings: What loading it said.
    """

    path: Path
    cfg: Any = None
    chain: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)

    @property
    def trains(self) -> bool:
        """Tell whether it describes an experiment, not only a part of one: a model, and data for it."""
        if self.cfg is None or not self.cfg.get("model"):
            return False
        return any(self.cfg.get(f"{mode}_dataloader") for mode in ("train", "val", "test"))


def is_config(tree: ast.Module) -> bool:
    """Tell whether a Python file is a config: it assigns data to what configs assign, and defines no class.

    >>> is_config(ast.parse("model = dict(type='A')")), is_config(ast.parse("model = 1\\nclass A: pass"))
    (True, False)
    >>> is_config(ast.parse("model = init_model('a.py', 'a.pth')"))
    False
    """
    if any(isinstance(node, ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body):
        return False
    data = [node for node in tree.body if is_data(node)]
    named = {target.id for node in data for target in targets(node) if isinstance(target, ast.Name)}
    return bool(named & SIGNS) or any(isinstance(node, ast.With) and reads_base(node) for node in tree.body)


def has_base(tree: ast.Module) -> bool:
    """Tell whether a config names a base; one that a run wrote names none.

    >>> has_base(ast.parse("_base_ = 'a.py'")), has_base(ast.parse("model = dict(_base_=1)"))
    (True, False)
    """
    named = {target.id for node in tree.body for target in targets(node) if isinstance(target, ast.Name)}
    return "_base_" in named or any(isinstance(node, ast.With) and reads_base(node) for node in tree.body)


def is_data(node: ast.stmt) -> bool:
    """Tell whether a statement assigns data that is written out: a text, a list, a dict or a call of `dict`."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    made = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict"
    return made or isinstance(value, ast.Constant | ast.Dict | ast.List | ast.Tuple)


def targets(node: ast.stmt) -> Sequence[ast.expr]:
    """Return what a statement assigns to."""
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


def reads_base(node: ast.With) -> bool:
    """Tell whether a statement is `with read_base():`."""
    call = node.items[0].context_expr
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "read_base"


def load(path: Path) -> Loaded:
    """Load a config with its bases; what is wrong with it is told in the loader's own words."""
    from seg_registry import Config, ConfigError, ConfigFileError, ConfigSyntaxError, UnsafeConfigError

    loaded = Loaded(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded.cfg = Config.fromfile(path)
        except UnsafeConfigError as error:
            advice = "where the config is your own: seg train --trust-config, Config.fromfile(path, trusted=True)"
            loaded.findings.append(said(error, CHANGE, path, advice, "configs-are-not-run"))
        except (ConfigFileError, ConfigSyntaxError) as error:
            loaded.findings.append(said(error, UNREAD, path))
        except ConfigError as error:
            loaded.findings.append(said(error, UNREAD if CIRCLE in str(error) else CHANGE, path))
        except OSError as error:
            loaded.findings.append(Finding(UNREAD, str(path), 0, f"it cannot be read: {error.strerror}"))
    for warning in caught:
        comma = "a-comma-after-a-dict" if "comma" in str(warning.message) else ""
        loaded.findings.append(said(warning.message, NOTE, path, "", comma))
    if loaded.cfg is not None:
        loaded.chain = frozenset(file for file, _ in loaded.cfg._texts)
    return loaded


def said(error: object, level: str, path: Path, advice: str = "", name: str = "") -> Finding:
    """Return a finding of an error or warning of the engine; its text begins with the place, where it knows it."""
    found = WHERE.match(str(error))
    if found is None:
        return Finding(level, str(path), 0, str(error), advice, name)
    return Finding(level, found["file"], int(found["line"]), found["what"], advice, name)


def findings_of(loaded: Loaded, roots: Sequence[Path], registered: dict[str, str]) -> Iterator[Finding]:
    """Yield what is to be said of a config that was loaded.

    Args:
        loaded: The config.
        roots: Folders of the project that modules are imported from.
        registered: Names that the project's code registers, and the module of each; empty for one that is imported
            without being named.
    """
    cfg = loaded.cfg
    yield from old_keys(cfg)
    yield from wrong_arguments(cfg, loaded.path)
    if not loaded.trains:  # a part of an experiment, which says the rest of what this one needs
        return
    yield from (Finding(NOTE, ".", 0, line) for line in prepared(cfg))
    yield from imports_of(cfg, roots)
    yield from unknown_types(cfg, registered)
    yield from differences_of(cfg)


def old_keys(cfg: Any) -> Iterator[Finding]:
    """Yield what a key of MMSegmentation 0.x is called now."""
    for key, new in CONFIG_KEYS.items():
        if key in cfg and not cfg.reads(key) and new not in cfg:
            file, line = place_of_key(cfg, key)
            yield Finding(CHANGE, file, line, f"{key} is read by nothing since MMSegmentation 1.0", f"write {new} now")


def wrong_arguments(cfg: Any, path: Path) -> Iterator[Finding]:
    """Yield what the runner says of the keys of a config, before it builds anything."""
    from seg_runner.assembly.arguments import fill_arguments
    from seg_runner.assembly.from_config import arguments_of, misspelt
    from seg_runner.assembly.own_keys import own_arguments, own_lines

    for line in own_lines(cfg):
        yield of_runner(line, path, NOTE, "one-key-is-ours")
    own = copy.deepcopy(cfg)
    own.work_dir = "work_dirs"
    try:
        strict = own_arguments(own).get("strict_keys", True) is True
        lines = misspelt(own)
        for line in lines:
            yield of_runner(line, path, CHANGE if strict else NOTE, "misspelt-keys")
        if own.get("model") and not (lines and strict):
            given = arguments_of(own)
            taken = {key: value for key, value in given.items() if key not in ("model", "work_dir")}
            fill_arguments({**taken, "cfg": own})
    except (KeyError, TypeError, ValueError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        yield of_runner(text, path, CHANGE)


def of_runner(text: str, path: Path, level: str, name: str = "") -> Finding:
    """Return a finding of what the runner says; the place stands in brackets behind the key."""
    found = re.search(r" \(((?P<file>[^()]+?):(?P<line>\d+))[^()]*\)", text)
    if found is None:
        return Finding(level, str(path), 0, text, "", name)
    what = text.replace(found[0], "", 1)
    return Finding(level, str(Path(found["file"]).absolute()), int(found["line"]), what, "", name)


def imports_of(cfg: Any, roots: Sequence[Path]) -> Iterator[Finding]:
    """Yield which of the `custom_imports` are never imported, or not there."""
    entry = cfg.get("custom_imports")
    if not entry:
        return
    from seg_registry import NotAllowedError
    from seg_registry.registry.custom_imports import check_module, modules_of

    file, line = place_of_key(cfg, "custom_imports")
    modules, may_fail = modules_of(entry)
    for module in modules:
        try:
            check_module(module)
        except NotAllowedError as error:
            yield Finding(CHANGE, file, line, str(error), "", "configs-open-no-package")
            continue
        absent = absent_part(module, [Path(file).parent, *roots])
        if absent and not may_fail:
            what = f"custom_imports: there is no module {absent}, neither in the project nor installed"
            yield Finding(CHANGE, file, line, what, EXTRAS.get(absent, ""))


def unknown_types(cfg: Any, registered: dict[str, str]) -> Iterator[Finding]:
    """Yield names that no package has, that no `custom_imports` brings, or whose package is not here."""
    absent: dict[tuple[str, str], list[Named]] = {}
    for named in named_types(cfg):
        short = named.name.rpartition(".")[2]
        if named.name in registered or short in registered:
            yield from not_imported(named, registered.get(named.name) or registered.get(short) or "")
            continue
        looked = look_up(named)
        if looked.found is not None:
            continue
        scope = absent_scope(named.name, named.scope)
        if short in TYPES:
            what = f"type={named.name!r} is gone since MMSegmentation 1.0"
            yield Finding(CHANGE, named.file, named.line, what, f"what does its work now: {TYPES[short]}")
        elif scope:
            absent.setdefault((f"the package {scope} is not installed", install(scope)), []).append(named)
        elif looked.failed:
            absent.setdefault((f"an import fails ({looked.failed})", install(named.scope)), []).append(named)
        else:
            yield Finding(CHANGE, named.file, named.line, first_sentence(looked.why))
    for (what, advice), missing in absent.items():
        yield Finding(CHANGE, missing[0].file, missing[0].line, f"{what}, which {listed(missing)} come from", advice)


def not_imported(named: Named, module: str) -> Iterator[Finding]:
    """Yield that a name is registered in a module that nothing imports; no module: something does."""
    if module:
        what = f"{named.name!r} is registered in {module}, which nothing imports"
        yield Finding(CHANGE, named.file, named.line, what, f"custom_imports = dict(imports=[{module!r}])")


def listed(missing: Sequence[Named]) -> str:
    """Return the first names, and how many more there are."""
    names = sorted({one.name for one in missing})
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def first_sentence(text: str) -> str:
    """Return what an error of the registry says first: which name, and which one is near.

    >>> first_sentence("'A' is not in the hook registry (3 names); did you mean 'B'? Searched: this process")
    "'A' is not in the hook registry (3 names); did you mean 'B'?"
    """
    return re.split(r"(?<=[?.]) Searched: |\. Searched: ", text, maxsplit=1)[0]
