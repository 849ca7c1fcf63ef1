"""Docstrings (Google style, with Markdown's backticks) as Markdown for the reference of the site."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from griffe import Docstring, DocstringSectionKind

logging.getLogger("griffe").setLevel(logging.CRITICAL)  # types stand in signatures, not in docstrings
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
Kind = DocstringSectionKind


@dataclass
class Parts:
    """What a docstring says, each part as Markdown."""

    summary: str = ""
    text: str = ""
    options: dict[str, str] = field(default_factory=dict)
    raises: list[tuple[str, str]] = field(default_factory=list)
    returns: str = ""
    example: str = ""


def escape(text: str) -> str:
    """Return a text in which only code is marked up: stars, angle brackets and dollars stand for themselves.

    >>> escape("a * b <c> `d * e`")
    'a \\\\* b \\\\<c> `d * e`'
    """
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [re.sub(r"([*<$\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, re.sub(r"([*<$\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text[end:])])


def paragraphs(text: str) -> str:
    """Return a docstring's text as Markdown: what stands behind `>>>`, or is indented, as code, the rest as prose."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        if block.lstrip().startswith(">>>"):
            blocks.append("```pycon\n" + inspect.cleandoc(block) + "\n```")
        elif all(line.startswith("    ") for line in lines):
            language = "python" if "(" in block or "=" in block else "text"
            blocks.append(f"```{language}\n" + inspect.cleandoc("\n" + block) + "\n```")
        else:
            at = next((index for index, line in enumerate(lines) if line.lstrip().startswith(">>>")), len(lines))
            blocks.append(escape("\n".join(lines[:at])))
            if at < len(lines):
                blocks.append("```pycon\n" + inspect.cleandoc("\n" + "\n".join(lines[at:])) + "\n```")
    return "\n\n".join(blocks)


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def parse(text: str | None) -> Parts:
    """Split a docstring into its parts."""
    parts = Parts()
    for section in Docstring(inspect.cleandoc(text or "")).parse("google"):
        if section.kind is Kind.text:
            parts.text += ("\n\n" if parts.text else "") + section.value
        elif section.kind in (Kind.parameters, Kind.attributes, Kind.other_parameters):
            parts.options |= {each.name: escape(one_line(each.description)) for each in section.value}
        elif section.kind is Kind.raises:
            parts.raises += [(str(each.annotation), escape(one_line(each.description))) for each in section.value]
        elif section.kind is Kind.returns:
            parts.returns = " ".join(escape(one_line(each.description)) for each in section.value)
        elif section.kind is Kind.examples:
            parts.example += "\n\n".join(paragraphs(value) for _, value in section.value)
        elif section.kind is Kind.admonition and str(section.value.kind).startswith("example"):
            parts.example += paragraphs(section.value.description)
    first, _, rest = parts.text.partition("\n\n")
    parts.summary, parts.text = escape(one_line(first)), paragraphs(rest) if rest.strip() else ""
    return parts


@cache
def documented(part: Any) -> Parts:
    """Return what the docstring of a part says; what it does not say of an option, the classes above it do."""
    parts = parse(part.__doc__)
    for text in above(part):
        more = parse(text)
        parts.options |= {name: line for name, line in more.options.items() if name not in parts.options}
        parts.raises += [line for line in more.raises if line not in parts.raises and text is own_init(part)]
    return parts


def own_init(part: Any) -> str | None:
    """Return the docstring of a class's own `__init__`."""
    return vars(part)["__init__"].__doc__ if inspect.isclass(part) and "__init__" in vars(part) else None


def above(part: Any) -> Iterator[str]:
    """Yield the docstrings that may say more about the options of a class."""
    for each in inspect.getmro(part) if inspect.isclass(part) else ():
        if each.__module__.startswith("seg_"):
            yield from filter(None, (own_init(each), each.__doc__ if each is not part else None))
