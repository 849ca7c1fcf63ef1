"""Data sets, reading and transforms."""
