"""What CheckpointHook can be told: names and rules of the best, the name of files, the local disk."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_hooks.checks import names, one_of
from seg_hooks.files import file_name
from seg_hooks.hooks import best as judge

__all__ = ["BestOf", "read_best", "refuse_remote", "template"]

OWN = "CheckpointHook"
LONGEST_NAME = 255
"""Bytes that file systems allow a name, and the widest that a number in one is written."""


@dataclass
class BestOf:
    """One thing to be best at: what was asked for, what it is, its rule, and the best so far."""

    option: str
    rules: tuple[str | None, Sequence[str], Sequence[str]]
    key: str = ""
    rule: str = ""
    best_score: float | None = None
    best_file: str | None = None
    writing: tuple[float, str] | None = None

    def __post_init__(self) -> None:
        """Fix key and rule, unless they wait for the first metrics."""
        if self.option != "auto":
            self._settle(self.option)

    @property
    def rule_was_inferred(self) -> bool:
        """Whether nobody said which is better."""
        return self.rules[0] is None

    def score(self, metrics: Mapping[str, Any]) -> float | None:
        """This metric's score; an error where it is not there, None where it is None."""
        if not self.key:
            self._settle(judge.pick_auto(metrics))
        if metrics.get(self.key, 0.0) is None:
            return None
        score = judge.read_score(metrics, self.key)
        if score is None:
            raise KeyError(judge.missing_text(f"{OWN}: save_best", self.key, metrics))
        return score

    def is_beaten_by(self, score: float) -> bool:
        """Whether `score` is better than the best so far, that being written included."""
        best = self.best_score if self.writing is None else self.writing[0]
        return judge.is_better(score, best, self.rule)

    def forget(self) -> None:
        """Begin anew."""
        self.best_score = self.best_file = self.writing = None

    def done(self, score: float, file: str) -> str | None:
        """The file is complete: it is the best now; the name of the one before."""
        earlier = self.best_file
        self.best_score, self.best_file = score, file
        if self.writing == (score, file):
            self.writing = None
        return earlier if earlier != file else None

    def state_dict(self) -> dict[str, Any]:
        """Plain values; what is being written counts, since it holds this state."""
        score, file = self.writing or (self.best_score, self.best_file)
        return {"option": self.option, "key": self.key, "score": score, "file": file}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the best so far."""
        if state["key"]:
            self._settle(state["key"])
        self.best_score, self.best_file = state["score"], state["file"] and file_name(state["file"])

    def _settle(self, key: str) -> None:
        rule, greater, less = self.rules
        self.key, self.rule = key, rule or judge.infer_rule(f"{OWN}: save_best", key, greater, less)


def read_best(owner: str, save_best: object, rule: object, greater_keys: object, less_keys: object) -> list[BestOf]:
    """Check the options `save_best`, `rule`, `greater_keys` and `less_keys`."""
    if save_best is None:
        if rule is not None and not isinstance(rule, str):
            raise ValueError(f"{owner}: rule={rule!r} is for save_best, which is None; name the metrics there.")
        one_of(owner, "rule", rule, (None, "greater", "less"))
        return []
    keys = names(owner, "save_best", save_best)
    if "auto" in keys and len(keys) > 1:
        raise ValueError(f"{owner}: save_best={save_best!r}: 'auto' stands alone, not among other metrics.")
    each = list(rule) if isinstance(rule, list | tuple) else [rule]
    if len(each) not in (1, len(keys)):
        raise ValueError(f"{owner}: rule={rule!r} has {len(each)} entries for {len(keys)} metrics in save_best.")
    rules: list[str | None] = [one_of(owner, "rule", one, (None, "greater", "less")) for one in each]
    greater = judge.GREATER if greater_keys is None else tuple(names(owner, "greater_keys", greater_keys))
    less = judge.LESS if less_keys is None else tuple(names(owner, "less_keys", less_keys))
    rules = rules * len(keys) if len(rules) == 1 else rules
    return [BestOf(key, (one, greater, less)) for key, one in zip(keys, rules, strict=True)]


def template(owner: str, given: str | None, by_epoch: bool) -> str:
    """The name of files, with exactly one `{}`; `{:06d}` writes the count with six digits."""
    if given is None:
        return "epoch_{}.pth" if by_epoch else "iter_{}.pth"
    try:
        parsed = [(field, spec or "") for _, field, spec, _ in string.Formatter().parse(given) if field is not None]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{owner}: filename_tmpl={given!r} is no template; write e.g. 'iter_{{}}.pth'.") from error
    if [field for field, _ in parsed] != [""] or "/" in given or "\0" in given:
        raise ValueError(
            f"{owner}: filename_tmpl={given!r} must be a file name with exactly one {{}}: 'iter_{{}}.pth'."
        )
    _try_name(owner, given, parsed[0][1])
    return given


def _try_name(owner: str, given: str, spec: str) -> None:
    """Refuse a template that cannot name a file, before a number as wide as it asks for is written."""
    told = f"{owner}: filename_tmpl={given[:LONGEST_NAME]!r}"
    digits = re.findall("[0-9]+", spec)
    if len(given) > LONGEST_NAME or any(len(one.lstrip("0")) > 3 or int(one) > LONGEST_NAME for one in digits):
        raise ValueError(f"{told} makes names longer than the {LONGEST_NAME} bytes that a file name may have.")
    try:
        size = len(os.fsencode(f"best_{given.format(10**9)}"))
    except (ValueError, LookupError, OverflowError) as error:
        raise ValueError(f"{told} cannot write a count: {error}; write e.g. 'iter_{{:06d}}.pth'.") from error
    if size > LONGEST_NAME:
        raise ValueError(f"{told} makes names longer than the {LONGEST_NAME} bytes that a file name may have.")


def refuse_remote(owner: str, file_client_args: object, backend_args: object) -> None:
    """Refuse all but the local disk, the only one that is written to."""
    if file_client_args is not None and backend_args is not None:
        raise ValueError(f"{owner}: file_client_args is the old name of backend_args; give only backend_args.")
    args = file_client_args if backend_args is None else backend_args
    if args is None:
        return
    if not isinstance(args, Mapping):
        raise TypeError(f"{owner}: backend_args={args!r} is a {type(args).__name__}; give a dict or None.")
    one_of(owner, "backend_args['backend']", args.get("backend", "local"), ("local", "disk"))
