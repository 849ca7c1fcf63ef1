"""What must have its place in the site: every public name, registered name, option, key of a config, command.

Asked of the files that `./run interface` writes, and not of what makes the pages: so a page that leaves something out
is seen. Each has an anchor, by which it can be linked to.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from projects import NAMES, project

FROM_THE_RUN = {  # options that a run hands in itself; a config does not give them
    "loops": {"runner", "dataloader", "evaluator", "fp16", "loss"},
    "optim_wrappers": {"optimizer"},
    "optimizers": {"params"},
    "param_schedulers": {"optimizer"},
    "data_samplers": {"dataset", "seed"},
    "models": {"model", "module"},
    "functions": {"data_batch"},
    "optim_wrapper_constructors": {"optim_wrapper_cfg"},
}
CLASS = re.compile(r"class\b")


def slug(*words: str) -> str:
    """Return words as an anchor, as the pages have it.

    >>> slug("config", "train_cfg"), slug("option", "seg train", "--work-dir")
    ('config-train-cfg', 'option-seg-train-work-dir')
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def interface(name: str) -> dict[str, dict[str, str]]:
    """Return the written interface of a package."""
    path = project(name).folder / "interface.json"
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def attributes(name: str) -> dict[str, list[str]]:
    """Return class -> its public attributes that are neither methods nor properties, of one package."""
    found: dict[str, list[str]] = {}
    for path, text in interface(name)["names"].items():
        owner, _, attribute = path.rpartition(".")
        if text.startswith("attribute") and owner.count(".") == 1 and not attribute.startswith("_"):
            found.setdefault(owner, []).append(attribute)
    return found


def others(name: str) -> list[str]:
    """Return the public names of a package that lie in one of its modules, which documents import from."""
    names = interface(name)["names"]
    return [path for path in names if path.count(".") > 1 and ".".join(path.split(".")[:2]) not in names]


def options(signature: str) -> list[str]:
    """Return the names of the arguments in a written signature, without `*args` and `**kwargs`.

    >>> options("(a: int = 1, *args: object, b: str | None = None, **rest: object)")
    ['a', 'b']
    """
    shown = re.sub(r"<[^>]*>", "None", signature)
    function = ast.parse(f"def f{shown}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    return [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def expected() -> Iterator[tuple[str, str, str]]:
    """Yield page (a folder or file of the site), anchor, and what it is, of all that must be there."""
    for name in NAMES:
        listed = interface(name)
        yield from names_of(name, listed["names"])
        for point in listed["entry points"]:
            group, _, entry = point.removeprefix("seg_engine.").partition(".")
            yield f"reference/{slug(group)}.html", slug("ref", group, entry), point
        for key, text in listed["config"].items():
            yield from keys_of(key, text)
        for command in listed["commands"]:
            program, _, names = command.rpartition(" ")
            yield "reference/commands.html", slug("option", program, names.split("/")[-1]), command


def names_of(name: str, names: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the places of a package's public names, and of the members of its classes."""
    page = f"api/{name}.html"
    for path, text in names.items():
        dots, last = path.count("."), path.rpartition(".")[2]
        if last.startswith("_"):
            continue
        if text.startswith("attribute") and dots > 1:
            yield page, slug("api", path), path
        else:
            yield page, path, path


def keys_of(key: str, text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the places of a key of a config, or of the options of what a config names."""
    group, _, entry = key.partition(".")
    if group == "config":
        yield "reference/config-keys.html", slug("config", entry), key
    elif text.startswith("("):
        for option in options(text):
            if option not in FROM_THE_RUN.get(group, ()):
                yield f"reference/{slug(group)}.html", slug("ref", group, entry, option), f"{key}({option})"


def anchors_in(page: Path) -> set[str]:
    """Return the anchors of a built page."""
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))) if page.exists() else set()


def missing(folder: Path) -> list[str]:
    """Return what has no place in a built language, each with the anchor that it should have."""
    found = {page: anchors_in(folder / page) for page in {page for page, _, _ in expected()}}
    return [f"{what} has no place: {page}#{anchor}" for page, anchor, what in expected() if anchor not in found[page]]
