"""The language of configs, evaluated without running it."""

from seg_registry.evaluator import expressions, statements
from seg_registry.evaluator.evaluator import MODULE_NAME, Evaluator, parse_python

__all__ = ["MODULE_NAME", "Evaluator", "expressions", "parse_python", "statements"]
