"""Schedules of learning rate, momentum and other options."""
