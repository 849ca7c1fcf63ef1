"""The table of hooks, the default hooks, and the fallback hooks that stand in for them."""
