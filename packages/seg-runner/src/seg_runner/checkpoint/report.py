"""The resume contract: what was restored, what was not, what changed since; and how configs are compared."""

from __future__ import annotations

import ast
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from seg_runner.__about__ import __version__
from seg_runner.process.device import accelerator

__all__ = [
    "ResumeError",
    "ResumeReport",
    "class_changes",
    "config_changes",
    "config_text",
    "fill_version_changes",
    "versions",
]


class ResumeError(RuntimeError):
    """`strict_resume=True`, and the resumed run would not be the same run."""


@dataclass
class ResumeReport:
    """What resuming did.

    Attributes:
        restored: Parts that stand where they stood.
        not_restored: Parts that do not, each with the reason.
        changed: Differences that the user made: config keys.
        unexplained: Differences that no config key explains: versions, ranks, data.
        warnings: What of all this changes the numbers, or what they mean, in a way that is easily not seen.
    """

    restored: list[str] = field(default_factory=list)
    not_restored: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"restored: {', '.join(self.restored) or 'nothing'}"]
        for title, items in (("not restored", self.not_restored), ("changed since", self.changed + self.unexplained)):
            lines.append(f"{title}: {'nothing' if not items else ''}".rstrip())
            lines += [f"  {item}" for item in items]
        return "\n".join(lines)

    def check(self) -> None:
        """Refuse what is not the same run (`strict_resume=True`).

        Raises:
            ResumeError: Anything not restored, or changed without a config key that says so.
        """
        if self.not_restored or self.unexplained:
            raise ResumeError(f"strict_resume=True, but the run would not be the same:\n{self}")


#: What a resumed run always says otherwise.
EXPECTED = ("resume",)


def versions() -> dict[str, str]:
    """Return what decides the numbers: versions, and torch's threads where these compute, as sums depend on them."""
    found = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "seg_runner": __version__,
    }
    return found if accelerator() else found | {"torch's threads": str(torch.get_num_threads())}


def config_text(cfg: object) -> str:
    """Return the config as python text; empty where there is none."""
    if cfg is None:
        return ""
    pretty = getattr(cfg, "pretty_text", None)
    if isinstance(pretty, str):
        return pretty
    if isinstance(cfg, Mapping):
        return "\n".join(f"{key} = {value!r}" for key, value in cfg.items())
    return str(cfg)


def config_changes(old: str, new: str) -> list[str]:
    """Return the differences of two configs, given as python text, by key.

    >>> config_changes("lr = 1\\nmodel = dict(depth=5)", "lr = 2\\nmodel = dict(depth=5, width=3)")
    ['lr: 1 -> 2', 'model.width: (absent) -> 3']
    """
    before, after = _parsed(old), _parsed(new)
    if before is None or after is None:
        return [] if old == new else ["the config text differs (it could not be compared by key)"]
    absent = "(absent)"
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in EXPECTED]
    for key in keys:  # a run writes of its own keys, which a config may use as names, that they are not set
        if key.startswith("seg."):
            before.setdefault(key, "None")
            after.setdefault(key, "None")
    return [
        f"{key}: {before.get(key, absent)} -> {after.get(key, absent)}"
        for key in keys
        if before.get(key, absent) != after.get(key, absent)
    ]


def _parsed(text: str) -> dict[str, str] | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found.update(_leaves(statement.targets[0].id, statement.value))
    return found


def _leaves(path: str, node: ast.expr) -> Iterator[tuple[str, str]]:
    items: list[tuple[str, ast.expr]] = []
    if isinstance(node, ast.Dict):
        items = [(_word(key), value) for key, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        items = [(keyword.arg or "**", keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.List | ast.Tuple) and any(isinstance(e, ast.Dict | ast.Call) for e in node.elts):
        items = [(str(number), value) for number, value in enumerate(node.elts)]
    if not items:
        yield path, ast.unparse(node)
    for name, value in items:
        yield from _leaves(f"{path}.{name}", value)


def _word(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant):
        return str(key.value)
    return "**" if key is None else ast.unparse(key)


def fill_version_changes(report: ResumeReport, before: Mapping[str, object]) -> None:
    """Add the versions that differ."""
    now = versions()
    for name, version in now.items():
        if before.get(name, version) != version:
            report.unexplained.append(f"{name}: {before[name]} -> {version}")


def class_changes(before: object, now: object) -> str:
    """Say where two data sets, by what they tell of themselves, have other classes; empty where they do not.

    Weights of another order of classes go on under wrong names, and nothing else would show it.

    >>> class_changes({"classes": ("road", "sky")}, {"classes": ("sky", "road")})
    "classes of the training data: 2 -> 2; class 0 was 'road', and is 'sky' now"
    """
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return ""
    old, new = (list(one.get("classes") or ()) for one in (before, now))
    if not old or not new or old == new:
        return ""
    where = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    a, b = (repr(one[where]) if where < len(one) else "none" for one in (old, new))
    return f"classes of the training data: {len(old)} -> {len(new)}; class {where} was {a}, and is {b} now"
