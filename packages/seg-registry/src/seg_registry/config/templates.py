"""Textual templates: `{{ fileDirname }}` and its family, `{{$ENV:default}}`, `{{_base_.x}}`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seg_registry.errors import ConfigKeyError, LimitError

if TYPE_CHECKING:
    import re

__all__ = ["Templates"]

_FILE = r"\{\{\s*(fileDirname|fileBasenameNoExtension|fileBasename|fileExtname)\s*\}\}"
_ENV = r"""\{\{\s*(['"]?)\$(\w+)\s*:\s*([^\s]{0,500}?)\1\s*\}\}"""
_BASE = r"\{\{\s*_base_\.([\w.]+)\s*\}\}"


class Templates:
    """Replaces the templates of one file; keeps which environment variables and base values were asked for."""

    def __init__(self, path: str, *, predefined: bool = True, environment: bool = True) -> None:
        self.path = path
        self.predefined = predefined
        self.environment = environment
        self.variables: dict[str, str] = {}
        self.placeholders: dict[str, str] = {}

    def fill(self, text: str, *, quote: bool = False) -> str:
        """The text with the templates replaced; base values become names (`quote`: quoted ones, for JSON and YAML)."""
        if "{{" not in text:
            return text
        import re

        if self.predefined:
            text = re.sub(_FILE, lambda match: self._of_file(match[1]), text)
        if self.environment:
            text = re.sub(_ENV, lambda match: self._of_environment(match, text), text)
        return re.sub(_BASE, lambda match: self._of_base(match, text, quote), text)

    def _of_file(self, name: str) -> str:
        base = os.path.basename(self.path)
        stem, suffix = os.path.splitext(base)
        values = {
            "fileDirname": os.path.dirname(self.path),
            "fileBasename": base,
            "fileBasenameNoExtension": stem,
            "fileExtname": suffix,
        }
        return values[name].replace("\\", "/")

    def _of_environment(self, match: re.Match[str], text: str) -> str:
        name, default = match[2], match[3]
        value = os.environ.get(name, default)
        if name not in os.environ and not default:
            raise ConfigKeyError(
                f"the environment variable {name} is not set and the template {match[0]} has no default",
                file=self.path,
                line=text.count("\n", 0, match.start()) + 1,
            )
        self.variables[name] = value
        return value

    def _of_base(self, match: re.Match[str], text: str, quote: bool) -> str:
        if len(self.placeholders) >= 200:
            raise LimitError("more than 200 {{_base_...}} templates", file=self.path, line=1)
        name = f"__seg_base_{len(self.placeholders)}__"
        self.placeholders[name] = match[1]
        return f'"{name}"' if quote and _stands_alone(text, match.start()) else name


def _stands_alone(text: str, position: int) -> bool:
    """Whether a template in JSON or YAML is a value of its own, not a part of a text."""
    before = text[text.rfind("\n", 0, position) + 1 : position]
    inside = before.count('"') % 2 or before.count("'") % 2
    return not inside and before.strip()[-1:] in ("", ":", "-", ",", "[", "{")
