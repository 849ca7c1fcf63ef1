"""The API pages: every public name of each package, from its signature and docstring."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import site_names
from interface_config import signature, written
from projects import NAMES, Project, project
from site_docstrings import Parts, documented, escape, parse


def public(module: Any) -> list[str]:
    """Return the public names of a package."""
    return sorted((name for name in module.__all__ if name != "__version__"), key=str.lower)


def page(one: Project) -> str:
    """Return the page of one package."""
    module = importlib.import_module(one.module)
    names = public(module)
    listed = {getattr(module, name) for name in names if inspect.isclass(getattr(module, name))}
    head = [
        f"# {one.module}",
        escape(inspect.cleandoc(module.__doc__ or "")),
        f"```python\nimport {one.module}\n```",
        "\n".join(f"- {{py:obj}}`{name} <{one.module}.{name}>`: {summary(getattr(module, name))}" for name in names),
        f"```{{py:module}} {one.module}\n```",
    ]
    blocks = [*head, *(entry(module, name, listed) for name in names)]
    for path in site_names.others(one.name):
        inner, _, name = path.rpartition(".")
        blocks.append(f"```{{py:currentmodule}} {inner}\n```\n\n" + entry(importlib.import_module(inner), name, listed))
    return "\n\n".join(blocks) + "\n"


def summary(value: Any) -> str:
    """Return one line about a public name."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return documented(value).summary
    return parse(type(value).__doc__).summary


def entry(module: Any, name: str, listed: set[type]) -> str:
    """Return the section of one public name."""
    value = getattr(module, name)
    if inspect.isclass(value):
        blocks = ["\n\n".join(body(documented(value))), fields(module.__name__, name), *members(value, listed)]
        return section(name, directive("py:class", f"{name}{call(value)}", "\n\n".join(filter(None, blocks)), 5))
    if inspect.isroutine(value):
        return section(name, directive("py:function", f"{name}{call(value)}", "\n\n".join(body(documented(value))), 5))
    return section(name, directive("py:data", name, f"{summary(value)}\n\nA `{type(value).__name__}`.", 5))


def fields(module: str, name: str) -> str:
    """Return the attributes of a class on one line, each with an anchor."""
    path = f"{module}.{name}"
    found = attributes_of(module).get(path, ())
    marked = (f"`{one}`{{#{site_names.slug('api', path, one)}}}" for one in found)
    return f"**Attributes** {', '.join(marked)}" if found else ""


@functools.cache
def attributes_of(module: str) -> dict[str, list[str]]:
    """Return class -> attributes of the package that a module is in."""
    return site_names.attributes(module.partition(".")[0].replace("_", "-"))


def section(name: str, text: str) -> str:
    """Return a heading, so that the name stands in the page's list of contents, over its description."""
    return f"## {name}\n\n{text}"


def directive(kind: str, head: str, text: str, colons: int) -> str:
    """Return a directive of Sphinx's Python domain, which gives the name its place in the index and the search."""
    return f"{':' * colons}{{{kind}}} {head}\n\n{text}\n{':' * colons}"


def call(value: Any) -> str:
    """Return a signature as it is written; nothing where there is none."""
    try:
        found = written(signature(value)) if inspect.isclass(value) else written(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    return found.replace("...", "…") if "..." in found else found


def body(said: Parts) -> Iterator[str]:
    """Yield the parts of a description."""
    yield said.summary
    yield said.text
    if said.options:
        yield "\n".join(f"`{name}`\n: {text}\n" for name, text in said.options.items() if text)
    if said.returns:
        yield f"**Returns** {said.returns}"
    if said.raises:
        yield "**Errors**\n\n" + "\n".join(f"- `{kind}`: {text}" for kind, text in said.raises)
    yield said.example


def members(cls: type, listed: set[type]) -> Iterator[str]:
    """Yield the public methods and properties of a class; those of another public class stand at that one."""
    for owner in inspect.getmro(cls):
        if owner is not cls and owner in listed:
            shown = [name for name in own(owner) if name not in vars(cls)]
            if shown:
                link = f"{{py:obj}}`{owner.__name__} <{public_path(owner)}>`"
                yield f"And what {link} has: {', '.join(f'`{name}`' for name in shown)}."
            return
        if owner is cls or owner.__module__.startswith("seg_"):
            for name in own(owner):
                if getattr(cls, name, None) is getattr(owner, name, None) or owner is cls:
                    yield member(owner, name)


def public_path(cls: type) -> str:
    """Return the dotted name under which a class is public."""
    return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def own(cls: type) -> list[str]:
    """Return the public methods and properties that a class defines, with a docstring."""
    kinds = (property, functools.cached_property, classmethod, staticmethod)
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, kinds))
        and inspect.getdoc(value)
    ]


def member(cls: type, name: str) -> str:
    """Return the description of a method or property."""
    value = vars(cls)[name]
    text = "\n\n".join(filter(None, body(parse(inspect.getdoc(value)))))
    if isinstance(value, property | functools.cached_property):
        return directive("py:property", name, text, 4)
    kind = {classmethod: "py:classmethod", staticmethod: "py:staticmethod"}.get(type(value), "py:method")
    function = getattr(value, "__func__", value)
    taken = inspect.signature(function)
    if kind != "py:staticmethod":
        taken = taken.replace(parameters=list(taken.parameters.values())[1:])
    return directive(kind, f"{name}{written(taken)}".replace("...", "…"), text, 4)


def pages() -> Iterator[tuple[str, str]]:
    """Yield file and text of each package's page, and of their list."""
    said = {name: (importlib.import_module(project(name).module).__doc__ or "").splitlines()[0] for name in NAMES}
    listing = "\n".join(f"- [{project(name).module}]({name}.md): {escape(said[name])}" for name in NAMES)
    tree = "\n".join(["```{toctree}", ":hidden:", "", *NAMES, "```"])
    intro = "Every public name of each package. What is not here may change at any time."
    yield "index.md", f"# API\n\n{intro}\n\n{listing}\n\n{tree}\n"
    for name in NAMES:
        yield f"{name}.md", page(project(name))
