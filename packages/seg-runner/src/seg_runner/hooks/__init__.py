"""The table of hooks, the default hooks, and the plain ones that stand in for them."""
