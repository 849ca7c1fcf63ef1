"""The language of configs, evaluated without running it."""
