"""Checkpoints of several ranks: one chosen for all, and sets whose parts each rank writes."""
