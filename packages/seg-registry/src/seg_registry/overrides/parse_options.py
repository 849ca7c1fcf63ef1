"""The text of one override as a value: `KEY=VALUE` as MMEngine reads it, with what it gets wrong put right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from seg_registry.errors import OverrideError

__all__ = ["DELETE", "join_key", "parse_options", "parse_value", "split_key"]

_MAX_DEPTH = 50
_QUOTED = r"""(?:"[^"]*"|'[^']*')"""
_BARE = r"""[^.\[\]"']+"""
_PART = rf"(?:{_QUOTED}|{_BARE})"
_STEP = re.compile(rf"(?:(?P<first>{_PART})|\.({_PART})|\[({_PART})\])(?![^.\[])")
_CLOSING = {"(": ")", "[": "]"}


class _Delete:
    """The value of `key=_delete_`: the key goes away."""

    def __repr__(self) -> str:
        return "<deleted>"

    def __reduce__(self) -> str:
        return "DELETE"


DELETE = _Delete()


def parse_options(options: Iterable[str]) -> dict[str, Any]:
    """Return `KEY=VALUE` texts as a dict for `Config.merge_from_dict`; the later one wins.

    A key that has a dot in it is quoted: `model."a.b"=1` or `model["a.b"]=1`. `KEY=_delete_` removes a key;
    `KEY=` makes it the empty text.

    >>> parse_options(["lr=1e-3", "model.name='a b'", "scales=(1,2),(3,4)", "classes[0]=sky"])
    {'lr': 0.001, 'model.name': 'a b', 'scales': [(1, 2), (3, 4)], 'classes.0': 'sky'}
    """
    parsed: dict[str, Any] = {}
    for option in options:
        found = re.fullmatch(rf"\s*(\+?)((?:{_QUOTED}|[^=\"'])*?)\s*=(.*)", option, re.DOTALL)
        if found is None or not found[2] or re.search(r"[\s,()+]", re.sub(_QUOTED, "", found[2])):
            raise OverrideError(f"{option!r} is not of the form KEY=VALUE")
        key, value = found[1] + join_key(split_key(found[2])), found[3]
        parsed.pop(key, None)
        parsed[key] = DELETE if value.strip() == "_delete_" else parse_value(value)
    return parsed


def split_key(key: str) -> list[str]:
    """Return the parts of a dotted key; quoted ones may hold dots, and brackets stand for a dot.

    Raises:
        OverrideError: A part is empty, or quotes and brackets are not closed.

    >>> split_key("a.b[0]"), split_key('a."b.c".d'), split_key("a['b.c']")
    (['a', 'b', '0'], ['a', 'b.c', 'd'], ['a', 'b.c'])
    """
    steps: list[str] = []
    place = 0
    while place < len(key):
        found = _STEP.match(key, place)
        if found is None or bool(steps) is (found["first"] is not None):
            raise OverrideError(f"{key!r} is not a dotted key; quote a part that has dots or brackets in it")
        step = next(part for part in found.groups() if part is not None)
        steps.append(step[1:-1] if step[0] in "'\"" else step)
        place = found.end()
    if not steps or not all(steps):
        raise OverrideError(f"{key!r} is not a dotted key")
    return steps


def join_key(steps: Iterable[str]) -> str:
    """Return a dotted key of its parts, those quoted that need it."""
    return ".".join(step if re.fullmatch(_BARE, step) else _quoted(step) for step in steps)


def _quoted(step: str) -> str:
    return f"'{step}'" if '"' in step else f'"{step}"'


def parse_value(text: str) -> Any:
    """Return one value: number, bool, None, quoted or bare string, list `[1,2]` or `1,2`, tuple `(1,2)`, nested.

    Quotes round a whole list or tuple are a shell's, as in MMSegmentation's help: `"[1,2]"` is the list. A text that
    looks like one is quoted twice.

    >>> parse_value("1,2"), parse_value("(1,)"), parse_value("'1'"), parse_value("hello world")
    ([1, 2], (1,), '1', 'hello world')
    """
    text = text.strip()
    inner = text[1:-1].strip() if _is_quoted(text) else ""
    if _is_quoted(inner) and _is_enclosed(inner[1:-1]):
        return inner[1:-1]
    return _value(inner if _is_enclosed(inner) else text, text, 0)


def _value(text: str, whole: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise OverrideError(f"brackets are nested more than {_MAX_DEPTH} deep in {whole[:60]!r}")
    if _is_quoted(text):
        return text[1:-1]
    if "," not in text and not _is_enclosed(text):
        return _scalar(text)
    if _is_enclosed(text):
        items = [_value(part, whole, depth + 1) for part in _split(text[1:-1], whole)]
        return tuple(items) if text[0] == "(" else items
    parts = _split(text, whole)
    if len(parts) == 1 and not text.endswith(","):
        return text
    return [_value(part, whole, depth + 1) for part in parts]


def _is_quoted(text: str) -> bool:
    return len(text) >= 2 and text[0] in "'\"" and text.find(text[0], 1) == len(text) - 1


def _is_enclosed(text: str) -> bool:
    """Tell whether one pair of brackets goes round the whole text."""
    if len(text) < 2 or text[0] not in _CLOSING or text[-1] != _CLOSING[text[0]]:
        return False
    depth = 0
    for position, char in enumerate(_outside_quotes(text)):
        depth += (char in "([") - (char in ")]")
        if depth == 0:
            return position == len(text) - 1
    return False


def _outside_quotes(text: str) -> str:
    """Return the text with blanks for what is quoted; a quote counts where a value begins, and only if closed."""
    shown, position, begins = "", 0, True
    while position < len(text):
        char = text[position]
        end = text.find(char, position + 1) if begins and char in "'\"" else -1
        if end != -1:
            shown += " " * (end + 1 - position)
            position, begins = end + 1, False
            continue
        shown += char
        begins = char in ",([" or (begins and char == " ")
        position += 1
    return shown


def _split(text: str, whole: str) -> list[str]:
    """Return the text cut at the commas that lie in no brackets and no quotes; a comma at the end adds nothing."""
    if not text.strip():
        return []
    parts, start, open_brackets = [], 0, []
    for position, char in enumerate(_outside_quotes(text)):
        if char in _CLOSING:
            open_brackets.append(_CLOSING[char])
        elif char in ")]" and (not open_brackets or open_brackets.pop() != char):
            raise OverrideError(f"unbalanced brackets in {whole!r}; put quotes round a text that has brackets")
        elif char == "," and not open_brackets:
            parts.append(text[start:position].strip())
            start = position + 1
    if open_brackets:
        raise OverrideError(f"unbalanced brackets in {whole!r}; put quotes round a text that has brackets")
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _scalar(text: str) -> Any:
    text = text.strip("'\"")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return None if text == "None" else text
