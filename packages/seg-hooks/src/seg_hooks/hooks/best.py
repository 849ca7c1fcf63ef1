"""What is best: scores read from metrics, which of them is better, and the best so far."""

from __future__ import annotations

import ast
import logging
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

from seg_hooks.checks import did_you_mean, names, one_of
from seg_hooks.files import file_name

__all__ = [
    "GREATER",
    "LESS",
    "BestOf",
    "infer_rule",
    "is_better",
    "pick_auto",
    "read_best",
    "read_score",
    "rule_doubt",
]

GREATER = ("acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
LESS = ("loss",)
# What MMEngine cannot tell; looked at last, so that nothing which it can tell changes.
ALSO_GREATER = ("iou", "dice", "fscore", "f1", "recall", "psnr", "ssim")
ALSO_LESS = ("rmse", "mae", "mse", "abs_rel", "sq_rel", "silog", "error")

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
OWN = "CheckpointHook"


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
        """Tell whether nobody said which is better."""
        return self.rules[0] is None

    def score(self, metrics: Mapping[str, Any]) -> float | None:
        """Return this metric's score; an error where it is not there, None where it is None."""
        if not self.key:
            self._settle(pick_auto(metrics))
        if metrics.get(self.key, 0.0) is None:
            return None
        score = read_score(metrics, self.key)
        if score is None:
            raise KeyError(missing_text(f"{OWN}: save_best", self.key, metrics))
        return score

    def judge(
        self, metrics: Mapping[str, Any], folder: Path, count: int, logger: logging.Logger
    ) -> tuple[str, float, bool]:
        """Return this metric's name and score, and whether the score is the best; NaN where there is none."""
        score = self.score(metrics) if metrics else None
        if score is None:
            return self.key, math.nan, False
        if not math.isfinite(score):
            text = "%s: %s is %s at %d, so this checkpoint cannot be the best."
            logger.warning(text, OWN, self.key, score, count)
        if self.writing is not None and not (folder / self.writing[1]).exists():
            self.writing = None  # the disk did not take it
        return self.key, score, self.is_beaten_by(score)

    def name(self, key: str) -> None:
        """Take over what `'auto'` means, where another rank has found out."""
        if key and not self.key:
            self._settle(key)

    def is_beaten_by(self, score: float) -> bool:
        """Tell whether `score` is better than the best so far, that being written included."""
        best = self.best_score if self.writing is None else self.writing[0]
        return is_better(score, best, self.rule)

    def forget(self) -> None:
        """Forget the best so far."""
        self.best_score = self.best_file = self.writing = None

    def done(self, score: float, file: str) -> str | None:
        """Note that the file is complete: it is the best now; return the name of the one before."""
        earlier = self.best_file
        self.best_score, self.best_file = score, file
        if self.writing == (score, file):
            self.writing = None
        return earlier if earlier != file else None

    def state_dict(self) -> dict[str, Any]:
        """Return plain values; what is being written counts, since it holds this state."""
        score, file = self.writing or (self.best_score, self.best_file)
        return {"option": self.option, "key": self.key, "score": score, "file": file}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the best so far."""
        if state["key"]:
            self._settle(state["key"])
        self.best_score, self.best_file = state["score"], state["file"] and file_name(state["file"])

    def _settle(self, key: str) -> None:
        rule, greater, less = self.rules
        self.key, self.rule = key, rule or infer_rule(f"{OWN}: save_best", key, greater, less)


def read_best(owner: str, save_best: object, rule: object, greater_keys: object, less_keys: object) -> list[BestOf]:
    """Check the options `save_best`, `rule`, `greater_keys` and `less_keys`."""
    if save_best is None:
        if rule is not None and not isinstance(rule, str):
            raise ValueError(f"{owner}: rule={rule!r} has no effect without save_best; give save_best.")
        one_of(owner, "rule", rule, (None, "greater", "less"))
        return []
    keys = names(owner, "save_best", save_best)
    if "auto" in keys and len(keys) > 1:
        raise ValueError(f"{owner}: save_best={save_best!r}: 'auto' cannot be combined with other metrics.")
    each = list(rule) if isinstance(rule, list | tuple) else [rule]
    if len(each) not in (1, len(keys)):
        raise ValueError(
            f"{owner}: rule={rule!r} has {len(each)} entries for {len(keys)} metrics in save_best; give one rule for "
            "all metrics, or one for each."
        )
    rules: list[str | None] = [one_of(owner, "rule", one, (None, "greater", "less")) for one in each]
    greater = GREATER if greater_keys is None else tuple(names(owner, "greater_keys", greater_keys))
    less = LESS if less_keys is None else tuple(names(owner, "less_keys", less_keys))
    rules = rules * len(keys) if len(rules) == 1 else rules
    return [BestOf(key, (one, greater, less)) for key, one in zip(keys, rules, strict=True)]


def infer_rule(owner: str, key: str, greater: Sequence[str] = GREATER, less: Sequence[str] = LESS) -> str:
    """Return 'greater' or 'less' from the name of a metric, or from all names of an expression.

    Exact names come first, then names contained in it, 'greater' before 'less', in any case; then a few more names.

    Example:
        >>> infer_rule("CheckpointHook", "0.5*mIoU + 0.5*mDice")
        'greater'
    """
    rules = {_infer_one(name, greater, less) for name in _names(key)}
    if len(rules) == 1 and None not in rules:
        return str(rules.pop())
    raise ValueError(
        f"{owner}: cannot tell from {key!r} whether greater or less is better.{did_you_mean(key, (*greater, *less))} "
        "For a metric of your own, give rule='greater' or rule='less'."
    )


def rule_doubt(key: str, greater: Sequence[str] = GREATER, less: Sequence[str] = LESS) -> str | None:
    """Say why the rule inferred for `key` may be wrong; None where nothing speaks against it."""
    if _infer_one(key, greater, less) != "greater" or key.lower() in {name.lower() for name in greater}:
        return None
    odd = [part for part in (*less, "error", "err") if part.lower() in key.lower()]
    if not odd:
        return None
    return f"{key!r} also contains {odd[0]!r}, but counts as 'greater is better'; give rule='less' if that is wrong."


def _infer_one(key: str, greater: Sequence[str], less: Sequence[str]) -> str | None:
    key = key.lower()
    higher, lower = [name.lower() for name in greater], [name.lower() for name in less]
    if key in higher:
        return "greater"
    if key in lower:
        return "less"
    if any(name in key for name in higher):
        return "greater"
    if any(name in key for name in (*lower, *ALSO_LESS)):
        return "less"
    return "greater" if any(name in key for name in ALSO_GREATER) else None


def _names(key: str) -> list[str]:
    """List the names in an expression; the key itself where it is none."""
    tree = _parse(key)
    if tree is None or not re.search(r"[+*()]", key):
        return [key]
    return [ast.unparse(node) for node in _leaves(tree)] or [key]


def _leaves(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
    else:
        for child in ast.iter_child_nodes(node):
            yield from _leaves(child)


def _parse(key: str) -> ast.expr | None:
    """Return the syntax tree of an expression of names, numbers and + - * / ( ); None for anything else."""
    try:
        tree = ast.parse(key.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if _is_arithmetic(tree) else None


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return type(node.op) in _OPERATORS and _is_arithmetic(node.left) and _is_arithmetic(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd) and _is_arithmetic(node.operand)
    if isinstance(node, ast.Attribute):
        return _is_arithmetic(node.value)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return isinstance(node, ast.Name)


def read_score(metrics: Mapping[str, Any], key: str) -> float | None:
    """Return the number that `key` stands for in `metrics`; None where a metric that it names is missing.

    A key is the name of a metric, a path into nested metrics (`IoU.road`), or an expression of these.

    Example:
        >>> read_score({"mIoU": 50.0, "mDice": 60.0, "IoU": {"road": 90.0}}, "0.5*mIoU + 0.5*mDice + IoU.road")
        145.0
    """
    found = _find(metrics, key)
    if found is not None:
        return _as_float(found, key)
    tree = _parse(key)
    return None if tree is None else _compute(tree, metrics)


def _find(metrics: Mapping[str, Any], path: str) -> Any:
    if path in metrics:
        return metrics[path]
    for cut in (position for position, sign in enumerate(path) if sign == "."):
        inner = metrics.get(path[:cut])
        if isinstance(inner, Mapping):
            found = _find(inner, path[cut + 1 :])
            if found is not None:
                return found
    return None


def _compute(node: ast.expr, metrics: Mapping[str, Any]) -> float | None:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        value = _compute(node.operand, metrics)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.BinOp):
        left, right = _compute(node.left, metrics), _compute(node.right, metrics)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Div) and right == 0:
            return float("nan")
        return float(_OPERATORS[type(node.op)](left, right))
    name = ast.unparse(node)
    found = _find(metrics, name)
    return None if found is None else _as_float(found, name)


def _as_float(value: SupportsFloat | str, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        raise TypeError(f"the metric {key!r} is a {kind} and not one number; name one of its parts.") from error


def pick_auto(metrics: Mapping[str, Any]) -> str:
    """Return the metric that `save_best='auto'` means: mIoU where it is there, else the first."""
    for name in metrics:
        if name == "mIoU" or name.endswith("/mIoU"):
            return name
    return next((name for name, value in metrics.items() if _is_number(value)), next(iter(metrics)))


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def is_better(score: float, best: float | None, rule: str) -> bool:
    """Tell whether a score is strictly better; any finite one is better than none, and no other one is ever better."""
    if not math.isfinite(score):
        return False
    if best is None or not math.isfinite(best):
        return True
    return score > best if rule == "greater" else score < best


def missing_text(owner: str, key: str, metrics: Mapping[str, Any]) -> str:
    """Say that a metric is not there, and which ones are."""
    known = sorted(_paths(metrics))
    return f"{owner}: {key!r} cannot be read from the metrics {known}.{did_you_mean(key, known)}"


def _paths(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of all metrics, nested ones with dots."""
    for name, value in metrics.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
