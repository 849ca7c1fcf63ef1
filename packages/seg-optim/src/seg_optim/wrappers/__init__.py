"""OptimWrapper and its kinds: one update, with accumulation, clipping and mixed precision."""
