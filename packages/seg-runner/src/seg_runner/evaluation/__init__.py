"""Metrics, and the evaluator that drives them."""
