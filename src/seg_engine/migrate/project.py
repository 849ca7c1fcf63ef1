"""A project folder, a config or a checkpoint, and the report on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from seg_engine.migrate.checkpoints import findings_of_checkpoint
from seg_engine.migrate.code import Code, parse, read_code
from seg_engine.migrate.code_findings import findings_in
from seg_engine.migrate.configs import Loaded, findings_of, has_base, is_config, load
from seg_engine.migrate.findings import NOTE, UNREAD, Finding, Report
from seg_engine.migrate.modules import module_name
from seg_engine.migrate.scripts import findings_of_script
from seg_engine.migrate.tree import Tree, kind_of, relative, text_of, walk
from seg_engine.migrate.type_names import quiet

__all__ = ["look_at"]

CONFIGS = (".py", ".json", ".yaml", ".yml", ".toml")
MOST_CHECKPOINTS = 50
"""Of a project; the newest of each folder are enough to know what they are."""


@dataclass
class Project:
    """What was read of a project.

    Attributes:
        tree: Its files.
        configs: Its configs.
        code: Its code, by module.
        copies: How many configs runs wrote into their folders; they are no more looked at.
    """

    tree: Tree
    configs: list[Loaded] = field(default_factory=list)
    code: dict[str, Code] = field(default_factory=dict)
    copies: int = 0

    @property
    def roots(self) -> list[Path]:
        """Return the folders that its modules are imported from."""
        return [self.tree.root]


def look_at(path: Path) -> Report:
    """Return the report on a project folder or one file of it; nothing of it is run or imported.

    Raises:
        OSError: there is nothing there, or it cannot be read.
        ValueError: it is neither a folder nor a file.
    """
    if path.is_dir():
        return of_project(path)
    if not path.exists():
        from seg_engine.data.files import nearest_folder

        raise FileNotFoundError(f"there is no {path} ({nearest_folder(path)})")
    if not path.is_file():
        raise ValueError(f"{path} is no project, config or checkpoint: it is neither a folder nor a file")
    if kind_of(path.name) == "scripts":
        report = Report(str(path), "script", {"scripts": [str(path)]})
        report.add(apart(str(path), partial(of_script, path, str(path))))
        return report
    if path.suffix.lower() == ".py" and not holds_config(path):
        return of_one_module(path)
    return of_config(path) if path.suffix.lower() in CONFIGS else of_checkpoint(path)


def holds_config(path: Path) -> bool:
    """Tell whether a Python file is a config; one that cannot be read is none, and looking at it says why."""
    try:
        return is_config(parse(text_of(path), str(path)))
    except (OSError, SyntaxError, ValueError):
        return False


def of_one_module(path: Path) -> Report:
    """Return the report on one file of code; what lies beside it may give names that it uses."""
    whole = path.absolute()
    root = next(folder for folder in whole.parents if not (folder / "__init__.py").is_file())
    project, report = Project(Tree(root)), Report(str(path), "file of code", {"code": [str(path)]})
    with quiet():
        read_module(project, whole, report.findings)
        for module in sorted(whole.parent.glob("*.py")):
            if module != whole:
                read_module(project, module, [])
        found = [each for each in named(project.tree, of_code(project)) if each.file == project.tree.name(whole)]
    report.findings = [replace(each, file=str(path)) for each in report.findings]
    report.add(replace(each, file=str(path)) for each in found)
    return report


def of_checkpoint(path: Path) -> Report:
    """Return the report on one checkpoint."""
    report = Report(str(path), "checkpoint", {"checkpoints": [str(path)]})

    def look() -> list[Finding]:
        report.facts, findings = findings_of_checkpoint(path, str(path))
        return findings

    report.add(apart(str(path), look))
    return report


def of_config(path: Path) -> Report:
    """Return the report on one config; code that lies beside it is looked at for names that it registers."""
    whole = path.absolute()
    report = Report(str(path), "config", {"configs": [str(path)]})
    with quiet():
        loaded = load(whole)
        project = Project(Tree(whole.parent), [loaded])
        for module in sorted(whole.parent.glob("*.py")) if loaded.trains else ():
            read_module(project, module, [])
        found = apart(str(whole), partial(of_loaded, project, loaded))
        report.add(seen_from_here(found), str(path))
    return report


def seen_from_here(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings with the paths of their files as seen from the current folder."""
    for each in findings:
        yield replace(each, file=relative(each.file, Path.cwd()))


def of_project(folder: Path) -> Report:
    """Return the report on a project."""
    tree = walk(folder.absolute())
    project, report = Project(tree), Report(str(folder), "project")
    with quiet():
        for path in tree.files["python"]:
            read_module(project, path, tree.findings)
        report.add(tree.findings)
        bases = {file for loaded in project.configs for file in loaded.chain - {str(loaded.path)}}
        for loaded in project.configs:
            if str(loaded.path) not in bases or loaded.trains:
                found = apart(str(loaded.path), partial(of_loaded, project, loaded))
                report.add(named(tree, found), tree.name(loaded.path))
        report.add(named(tree, of_code(project)))
    if project.copies:
        what = f"configs that runs wrote into their folders are left out ({project.copies} here)"
        report.add([Finding(NOTE, ".", 0, what, "seg migrate FILE looks at one")])
    report.add(of_scripts(tree))
    report.add(of_checkpoints(tree))
    report.files = {
        "configs": [tree.name(each.path) for each in project.configs],
        "code": [tree.name(each.path) for each in project.code.values()],
        "scripts": [tree.name(path) for path in tree.files["scripts"]],
        "checkpoints": [tree.name(path) for path in tree.files["checkpoints"]],
    }
    return report


def apart(file: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what is found in one file; an error that nobody thought of costs that file, not the rest of the report."""
    try:
        return list(look())
    except Exception as error:  # whatever it is, it becomes a finding with the file's name
        what = f"it could not be looked at: {type(error).__name__}: {error}"
        return [Finding(UNREAD, file, 0, what, "this should not happen: please report it, with the file if you can")]


def named(tree: Tree, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings with the names of their files as the report shows them."""
    for each in findings:
        yield replace(each, file=tree.name(each.file))


def read_module(project: Project, path: Path, findings: list[Finding]) -> None:
    """Read a Python file as what it is: a config, or code."""
    findings += apart(project.tree.name(path), lambda: read(project, path))


def read(project: Project, path: Path) -> Iterator[Finding]:
    """Read a Python file; yield why it cannot be."""
    name = module_name(path, project.tree.root)
    try:
        module = parse(text_of(path), str(path))
        if is_config(module):
            if path.parent in project.tree.runs and not has_base(module):
                project.copies += 1
            elif all(path != one.path for one in project.configs):
                project.configs.append(load(path))
        else:
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            project.code[name] = read_code(path, package)
    except OSError as error:
        yield cannot(project, path, f"it cannot be read: {error.strerror}")
    except SyntaxError as error:
        yield replace(cannot(project, path, f"it is no Python: {error.msg}"), line=error.lineno or 0)
    except ValueError as error:
        yield cannot(project, path, str(error))


def cannot(project: Project, path: Path, what: str) -> Finding:
    """Return what says that a file could not be read."""
    return Finding(UNREAD, project.tree.name(path), 0, what)


def of_loaded(project: Project, loaded: Loaded) -> Iterator[Finding]:
    """Yield what is to be said of a config."""
    yield from loaded.findings
    if loaded.cfg is None:
        return
    try:
        yield from list(findings_of(loaded, project.roots, registered(project, loaded)))
    except RecursionError:  # values inside values, deeper than anybody writes
        yield Finding(UNREAD, str(loaded.path), 0, "its values are nested too deeply")


def registered(project: Project, loaded: Loaded) -> dict[str, str]:
    """Return the names that the project registers, and the module to import where the config does not do so."""
    from seg_registry.registry.custom_imports import modules_of

    entry = loaded.cfg.get("custom_imports")
    reached = reachable(project, modules_of(entry)[0] if entry else [])
    scope = str(loaded.cfg.get("default_scope") or "")
    found: dict[str, str] = {}
    for module, code in project.code.items():
        here = module in reached or (bool(scope) and module.partition(".")[0] == scope)
        found |= dict.fromkeys(code.registered, "" if here else module)
    return found


def reachable(project: Project, modules: Iterable[str]) -> set[str]:
    """Return the project's modules that importing these brings in: what they import, and the packages they lie in."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        parts = waiting.pop().split(".")
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name in project.code and name not in found:
                found.add(name)
                waiting += [each.name for each in project.code[name].used if each.imported]
    return found


def of_code(project: Project) -> Iterator[Finding]:
    """Yield what is to be said of the project's code."""
    gives = frozenset(name for code in project.code.values() for name in code.gives | code.own)
    for code in project.code.values():
        roots = [*project.roots, code.path.parent]
        yield from apart(str(code.path), partial(findings_in, code, str(code.path), roots, gives))


def of_scripts(tree: Tree) -> Iterator[Finding]:
    """Yield what is to be said of the shell scripts."""
    for path in tree.files["scripts"]:
        yield from apart(tree.name(path), partial(of_script, path, tree.name(path)))


def of_script(path: Path, file: str) -> Iterator[Finding]:
    """Yield what is to be said of a shell script."""
    try:
        yield from list(findings_of_script(path, file))
    except UnicodeDecodeError:
        yield Finding(UNREAD, file, 0, "it is no text in UTF-8")
    except (OSError, ValueError) as error:
        yield Finding(UNREAD, file, 0, f"it cannot be read: {error}")


def of_checkpoints(tree: Tree) -> Iterator[Finding]:
    """Yield what is to be said of the checkpoints; of many, the first."""
    files = tree.files["checkpoints"]
    for path in files[:MOST_CHECKPOINTS]:
        name = tree.name(path)
        yield from apart(name, partial(in_checkpoint, path, name))
    if len(files) > MOST_CHECKPOINTS:
        what = f"{MOST_CHECKPOINTS} of {len(files)} checkpoints were looked at"
        yield Finding("note", ".", 0, what, "seg migrate FILE looks at one")


def in_checkpoint(path: Path, file: str) -> list[Finding]:
    """Return what is to be said of a checkpoint."""
    return findings_of_checkpoint(path, file)[1]
