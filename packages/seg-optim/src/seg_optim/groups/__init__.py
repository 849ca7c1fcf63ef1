"""Which options each parameter gets, and the groups that the optimizer receives."""
