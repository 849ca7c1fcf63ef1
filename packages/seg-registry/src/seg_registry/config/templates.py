"""The second step of loading: filling in `{{ fileDirname }}` and its family, `{{$ENV:default}}`, `{{_base_.x}}`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from seg_registry.config.read import Source
from seg_registry.errors import ConfigKeyError, LimitError

if TYPE_CHECKING:
    import re

__all__ = ["Filled", "fill_in"]

_FILE = r"\{\{\s*(fileDirname|fileBasenameNoExtension|fileBasename|fileExtname)\s*\}\}"
_ENV = r"""\{\{\s*(['"]?)\$(\w+)\s*:\s*([^\s]{0,500}?)\1\s*\}\}"""
_BASE = r"\{\{\s*_base_\.([\w.]+)\s*\}\}"
_MOST = 200  # templates that read from a base


class Filled(NamedTuple):
    """The text of a file whose templates are filled in.

    A template that reads from a base became a name, because the base is not loaded yet.
    """

    source: Source
    text: str
    placeholders: dict[str, str]
    """Name -> path in the base."""
    variables: dict[str, str]
    """Environment variables that were read."""
    has_templates: bool


def fill_in(source: Source, *, predefined: bool, environment: bool) -> Filled:
    """Replace the templates of a file; `predefined` and `environment` say which kinds."""
    text = source.text()
    filled = Filled(source, text, {}, {}, "{{" in text)
    if not filled.has_templates:
        return filled
    import re

    if predefined:
        text = re.sub(_FILE, lambda match: _of_file(source.path, match[1]), text)
    if environment:
        text = re.sub(_ENV, lambda match: _of_environment(match, filled), text)
    return filled._replace(text=re.sub(_BASE, lambda match: _of_base(match, filled), text))


def _of_file(path: str, name: str) -> str:
    base = os.path.basename(path)
    stem, suffix = os.path.splitext(base)
    values = {
        "fileDirname": os.path.dirname(path),
        "fileBasename": base,
        "fileBasenameNoExtension": stem,
        "fileExtname": suffix,
    }
    return values[name].replace("\\", "/")


def _of_environment(match: re.Match[str], filled: Filled) -> str:
    name, default = match[2], match[3]
    value = os.environ.get(name, default)
    if name not in os.environ and not default:
        raise ConfigKeyError(
            f"the environment variable {name} is not set, and the template {match[0]} has no default",
            file=filled.source.path,
            line=match.string.count("\n", 0, match.start()) + 1,
        )
    filled.variables[name] = value
    return value


def _of_base(match: re.Match[str], filled: Filled) -> str:
    """Return the name that stands for a value of the base, quoted where JSON or YAML needs quotes."""
    if len(filled.placeholders) >= _MOST:
        raise LimitError(f"more than {_MOST} {{{{_base_...}}}} templates", file=filled.source.path, line=1)
    name = f"__seg_base_{len(filled.placeholders)}__"
    filled.placeholders[name] = match[1]
    python = filled.source.path.lower().endswith(".py")
    return name if python or not _stands_alone(match.string, match.start()) else f'"{name}"'


def _stands_alone(text: str, position: int) -> bool:
    """Tell whether a template in JSON or YAML is a value of its own, not a part of a text."""
    before = text[text.rfind("\n", 0, position) + 1 : position]
    inside = before.count('"') % 2 or before.count("'") % 2
    return not inside and before.strip()[-1:] in ("", ":", "-", ",", "[", "{")
