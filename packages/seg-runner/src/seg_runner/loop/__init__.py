"""The loops that train, validate and test."""
