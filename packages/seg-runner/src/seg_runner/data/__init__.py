"""Batches in an order that a resumed run can take up again."""
