"""This process among several: who started it, the group that it belongs to, and what the ranks tell one another."""
